"""Building blocks of an ONNX graph whose weights lie in a safetensors file."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 23  # the first with Attention
IR_VERSION = 11
_DTYPES = {"F32": TensorProto.FLOAT, "I8": TensorProto.INT8}


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Place of a tensor in a safetensors file."""

    dtype: str
    shape: tuple[int, ...]
    offset_bytes: int
    length_bytes: int


def stored_tensors(path: Path) -> dict[str, StoredTensor]:
    """Reads the header of a safetensors file: a little-endian u64 length and that much JSON."""
    with path.open("rb") as file:
        (header_bytes,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(header_bytes))
    header.pop("__metadata__", None)
    table = {}
    for key, entry in header.items():
        begin, end = entry["data_offsets"]
        table[key] = StoredTensor(
            entry["dtype"], tuple(entry["shape"]), 8 + header_bytes + begin, end - begin
        )
    return table


class Nodes:
    """A graph under construction; every method that adds a node returns the name of its output."""

    def __init__(self, weights: Path) -> None:
        self._file_name = weights.name
        self.stored = stored_tensors(weights)
        self.nodes: list[onnx.NodeProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._declared: set[str] = set()
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def op(self, kind: str, *inputs: str, name: str = "", **attributes: object) -> str:
        """Adds a node with one output."""
        return self.ops(kind, *inputs, outputs=1, name=name, **attributes)[0]

    def ops(self, kind: str, *inputs: str, outputs: int, name: str = "", **attributes: object) -> list[str]:
        """Adds a node with several outputs."""
        base = name or f"{kind}_{len(self.nodes)}"
        names = [base] if outputs == 1 else [f"{base}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, name=base, **attributes))
        return names

    def constant(self, values: npt.NDArray[np.generic]) -> str:
        """Declares an array inside the graph; equal arrays are kept once."""
        content = (str(values.dtype), values.shape, values.tobytes())
        if content not in self._constants:
            self._constants[content] = f"const_{len(self._constants)}"
            self.initializers.append(numpy_helper.from_array(values, self._constants[content]))
        return self._constants[content]

    def ints(self, *values: int) -> str:
        """Declares a (len(values),) int64 constant."""
        return self.constant(np.array(values, np.int64))

    def stored_tensor(self, key: str) -> str:
        """Declares a tensor of the weight file, once."""
        if key not in self._declared:
            self._declared.add(key)
            entry = self.stored[key]
            tensor = TensorProto(name=key, data_type=_DTYPES[entry.dtype], dims=entry.shape)
            tensor.data_location = TensorProto.EXTERNAL
            place = {"location": self._file_name, "offset": entry.offset_bytes, "length": entry.length_bytes}
            for name, value in place.items():
                tensor.external_data.add(key=name, value=str(value))
            self.initializers.append(tensor)
        return key

    def input(self, name: str, shape: list[int | str], dtype: int = TensorProto.FLOAT) -> str:
        """Declares an input of the graph."""
        self.inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def output(self, name: str, shape: list[int | str]) -> str:
        """Declares that a value is a float32 output of the graph."""
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return name

    def cached(self, name: str, shape: list[int | str], where: str, rows: str) -> str:
        """Writes rows into a cache; its only reader is the ScatterND made here."""
        cache = self.input(name, shape)
        return self.output(self.op("ScatterND", cache, where, rows, name=f"{name}.out"), shape)

    def model(self) -> onnx.ModelProto:
        """Puts everything together."""
        graph = helper.make_graph(self.nodes, "encoder", self.inputs, self.outputs, self.initializers)
        opset = helper.make_opsetid("", OPSET)
        return helper.make_model(
            graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="ovstream"
        )
