"""Building blocks of an ONNX graph whose weights lie in a safetensors file. Needs numpy alone."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ovstream.errors import ModelError
from ovstream.model import protobuf

OPSET = 23  # the first with Attention
IR_VERSION = 11
_DTYPES = {"F32": protobuf.FLOAT, "I8": protobuf.INT8}


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Place of a tensor in a safetensors file."""

    dtype: str
    shape: tuple[int, ...]
    offset_bytes: int
    length_bytes: int


def stored_tensors(path: Path) -> dict[str, StoredTensor]:
    """Reads the header of a safetensors file: a little-endian u64 length and that much JSON.

    Raises:
        ModelError: It cannot be read, or is no such file.
    """
    try:
        with path.open("rb") as file:
            (header_bytes,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(header_bytes, path.stat().st_size)))
        header.pop("__metadata__", None)
        table = {}
        for key, entry in header.items():
            begin, end = entry["data_offsets"]
            table[key] = StoredTensor(
                entry["dtype"], tuple(entry["shape"]), 8 + header_bytes + begin, end - begin
            )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise ModelError(f"{path}: {error}: no safetensors file") from error
    return table


class Nodes:
    """A graph under construction; every method that adds a node returns the name of its output."""

    def __init__(self, weights: Path) -> None:
        self._file_name = weights.name
        self.stored = stored_tensors(weights)
        self.nodes: list[bytes] = []
        self.inputs: list[bytes] = []
        self.outputs: list[bytes] = []
        self.initializers: list[bytes] = []
        self._declared: set[str] = set()
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def op(self, kind: str, *inputs: str, name: str = "", **attributes: protobuf.Attribute) -> str:
        """Adds a node with one output."""
        return self.ops(kind, *inputs, outputs=1, name=name, **attributes)[0]

    def ops(
        self, kind: str, *inputs: str, outputs: int, name: str = "", **attributes: protobuf.Attribute
    ) -> list[str]:
        """Adds a node with several outputs."""
        base = name or f"{kind}_{len(self.nodes)}"
        names = [base] if outputs == 1 else [f"{base}_{i}" for i in range(outputs)]
        self.nodes.append(protobuf.node(kind, inputs, names, base, attributes))
        return names

    def constant(self, values: npt.NDArray[np.generic]) -> str:
        """Declares an array inside the graph; equal arrays are kept once."""
        content = (str(values.dtype), values.shape, values.tobytes())
        if content not in self._constants:
            self._constants[content] = f"const_{len(self._constants)}"
            self.initializers.append(protobuf.tensor(self._constants[content], values))
        return self._constants[content]

    def ints(self, *values: int) -> str:
        """Declares a (len(values),) int64 constant."""
        return self.constant(np.array(values, np.int64))

    def stored_tensor(self, key: str) -> str:
        """Declares a tensor of the weight file, once.

        Raises:
            ModelError: The file has none of that name.
        """
        if key not in self._declared:
            if key not in self.stored:
                raise ModelError(f"{self._file_name} lacks '{key}'")
            self._declared.add(key)
            entry = self.stored[key]
            place: dict[str, str | int] = {"location": self._file_name}
            place |= {"offset": entry.offset_bytes, "length": entry.length_bytes}
            self.initializers.append(protobuf.external_tensor(key, _DTYPES[entry.dtype], entry.shape, place))
        return key

    def input(self, name: str, shape: list[int | str], dtype: int = protobuf.FLOAT) -> str:
        """Declares an input of the graph."""
        self.inputs.append(protobuf.value_info(name, dtype, shape))
        return name

    def output(self, name: str, shape: list[int | str], dtype: int = protobuf.FLOAT) -> str:
        """Declares that a value is an output of the graph."""
        self.outputs.append(protobuf.value_info(name, dtype, shape))
        return name

    def cached(
        self, name: str, shape: list[int | str], where: str, rows: str, dtype: int = protobuf.FLOAT
    ) -> str:
        """Writes rows into a cache; its only reader is the ScatterND made here."""
        cache = self.input(name, shape, dtype)
        return self.output(self.op("ScatterND", cache, where, rows, name=f"{name}.out"), shape, dtype)

    def model(self) -> bytes:
        """Puts everything together: the content of an ONNX file."""
        return protobuf.model(
            nodes=self.nodes,
            initializers=self.initializers,
            inputs=self.inputs,
            outputs=self.outputs,
            name="encoder",
            opset=OPSET,
            ir_version=IR_VERSION,
        )
