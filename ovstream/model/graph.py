"""The ONNX graph of an encoder: n tokens against caches of N slots, dense (n = N) and sparse with the same graph.

```
patches (n, P), positions (n, 3), slots (n,), mask (1, N)
                                │
keys_l, values_l (1, H, N, h) ──ScatterND──▶ keys_l', values_l' ──Attention(n queries)──▶ every layer
tokens (N, D)                 ──ScatterND──▶ tokens'
head_keys, head_values        ──ScatterND──▶ head_keys', head_values' ──Attention(probe)──▶ scene (D,)
```

Every cache is read by its ScatterND alone, so the caller may bind input and output of a cache to the same memory and
the update happens in place; a second reader would see the memory before or after the update, silently, as the
scheduler likes. `tests/model/test_graph.py` holds that line.

Weights are not copied: initialisers point into the safetensors file, and whatever turns an official tensor into
the operand of a product (joining q, k and v, reordering heads, transposing, dequantising) is constant and folded by
onnxruntime when the session opens.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from ovstream.model.config import VisionConfig
from ovstream.model.folder import Precision
from ovstream.model.rope import frequencies, pair_split

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


def build_graph(config: VisionConfig, weights: Path, *, precision: Precision) -> onnx.ModelProto:
    """Builds the graph over a weight file that lies in the same folder as the graph will.

    Args:
        config: Shape of the model.
        weights: safetensors file with official keys; matrices float32 or int8 rows with scales.
        precision: "float32" computes in float32; "int8" multiplies int8 by activations that are quantised on the
            fly, and needs int8 rows.

    Returns:
        A checked model. Inputs and outputs as drawn above; an output has the name of its input with ".out".
    """
    graph = _Graph(config, weights, precision)
    graph.body()
    model = helper.make_model(
        helper.make_graph(graph.nodes, "encoder", graph.inputs, graph.outputs, graph.initializers),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="ovstream",
    )
    return model


class _Graph:
    """Nodes under construction. Comments give shapes."""

    def __init__(self, config: VisionConfig, weights: Path, precision: Precision) -> None:
        self.config = config
        self.precision = precision
        self.file_name = weights.name
        self.stored = stored_tensors(weights)
        self.nodes: list[onnx.NodeProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.known: set[str] = set()
        self.constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    # -- pieces

    def op(self, kind: str, *inputs: str, outputs: int = 1, name: str = "", **attributes: object) -> str:
        return self.ops(kind, *inputs, outputs=outputs, name=name, **attributes)[0]

    def ops(self, kind: str, *inputs: str, outputs: int, name: str = "", **attributes: object) -> list[str]:
        base = name or f"{kind}_{len(self.nodes)}"
        names = [base] if outputs == 1 else [f"{base}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, name=base, **attributes))
        return names

    def constant(self, values: npt.NDArray[np.generic]) -> str:
        content = (str(values.dtype), values.shape, values.tobytes())
        if content not in self.constants:
            self.constants[content] = f"const_{len(self.constants)}"
            self.initializers.append(numpy_helper.from_array(values, self.constants[content]))
        return self.constants[content]

    def ints(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def stored_tensor(self, key: str) -> str:
        """Declares a tensor of the weight file, once."""
        if key not in self.known:
            self.known.add(key)
            entry = self.stored[key]
            tensor = TensorProto(name=key, data_type=_DTYPES[entry.dtype], dims=entry.shape)
            tensor.data_location = TensorProto.EXTERNAL
            place = {"location": self.file_name, "offset": entry.offset_bytes, "length": entry.length_bytes}
            for name, value in place.items():
                tensor.external_data.add(key=name, value=str(value))
            self.initializers.append(tensor)
        return key

    def input(self, name: str, shape: list[int | str], dtype: int = TensorProto.FLOAT) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def output(self, name: str, shape: list[int | str]) -> str:
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return name

    def cached(self, name: str, shape: list[int | str], where: str, rows: str) -> str:
        """Writes rows into a cache; its only reader is the ScatterND made here."""
        cache = self.input(name, shape)
        return self.output(self.op("ScatterND", cache, where, rows, name=f"{name}.out"), shape)

    def is_int8(self, key: str) -> bool:
        return self.stored[key].dtype == "I8"

    def norm(self, x: str, key: str) -> str:
        weight, bias = (self.stored_tensor(f"{key}.{part}") for part in ("weight", "bias"))
        return self.op("LayerNormalization", x, weight, bias, axis=-1, epsilon=self.config.layer_norm_eps)

    def linear(
        self,
        x: str,
        keys: list[str],
        *,
        rows: npt.NDArray[np.int64] | None = None,
        bias: bool = True,
        precision: Precision | None = None,
    ) -> str:
        """Multiplies by the joined matrices of `keys`; `rows` picks and reorders their outputs."""
        weights = [self.stored_tensor(f"{key}weight") for key in keys]
        scales = [self.stored_tensor(f"{key}weight_scale") for key in keys if self.is_int8(f"{key}weight")]
        if scales and (precision or self.precision) == "int8":
            y = self.int8_product(x, self.matrix(weights, rows), self.joined(scales, rows))
        else:
            if scales:
                pairs = zip(weights, scales, strict=True)
                weights = [self.op("DequantizeLinear", weight, scale, axis=0) for weight, scale in pairs]
            y = self.op("MatMul", x, self.matrix(weights, rows))
        if not bias:
            return y
        return self.op("Add", y, self.joined([self.stored_tensor(f"{key}bias") for key in keys], rows))

    def joined(self, names: list[str], rows: npt.NDArray[np.int64] | None) -> str:
        joined = names[0] if len(names) == 1 else self.op("Concat", *names, axis=0)
        return joined if rows is None else self.op("Gather", joined, self.constant(rows), axis=0)

    def matrix(self, names: list[str], rows: npt.NDArray[np.int64] | None) -> str:
        """(out, in, ...) -> (in, out)."""
        flat = self.op("Reshape", self.joined(names, rows), self.ints(0, -1))
        return self.op("Transpose", flat, perm=[1, 0])

    def int8_product(self, x: str, matrix: str, scale: str) -> str:
        quantised, x_scale, x_zero = self.ops("DynamicQuantizeLinear", x, outputs=3)
        product = self.op("MatMulInteger", quantised, matrix, x_zero)
        return self.op("Mul", self.op("Cast", product, to=TensorProto.FLOAT), self.op("Mul", x_scale, scale))

    # -- the model

    def body(self) -> None:
        config = self.config
        patches = self.input("patches", ["n", config.patch_values])
        positions = self.input("positions", ["n", 3], TensorProto.INT64)
        slots = self.input("slots", ["n"], TensorProto.INT64)
        mask = self.input("mask", [1, "N"])
        self.rotation(positions)
        row = self.op("Unsqueeze", slots, self.ints(1))  # (n, 1)
        where = self.head_slots(row)
        every_mask = self.op(
            "Expand", mask, self.op("Shape", row)
        )  # (n, N): Attention does not broadcast rows
        x = self.linear(patches, ["embeddings.patch_embedding."], bias=False)
        x = self.norm(x, "layernorm_pre")  # (n, D)
        for index in range(config.num_hidden_layers):
            x = self.layer(x, index, where, every_mask)
        if config.use_head:
            x = self.norm(x, "layernorm_post")
        tokens = self.cached("tokens", ["N", config.hidden_size], row, x)
        scene = self.pooling(x, where, mask) if config.use_head else self.mean(tokens, mask)
        self.op("Reshape", scene, self.ints(-1), name="scene")  # (D,)
        self.output("scene", [config.hidden_size])

    def head_slots(self, row: str) -> str:
        """(1, H, n, 3): (0, head, slot) of every row that is written to a cache."""
        heads = self.config.num_attention_heads
        number = self.constant(np.arange(heads, dtype=np.int64).reshape(1, heads, 1, 1))
        shape = self.op("Concat", self.ints(1, heads), self.op("Shape", row), axis=0)  # 1, H, n, 1
        zero = self.constant(np.zeros((1, 1, 1, 1), np.int64))
        return self.op("Concat", *(self.op("Expand", part, shape) for part in (zero, number, row)), axis=3)

    def rotation(self, positions: str) -> None:
        """Makes cosine and sine, (n, h), in the order of `pair_split`; the sine carries the partner's sign."""
        half = self.config.head_dim // 2
        per_position = frequencies(self.config)[:, pair_split(self.config.head_dim)]
        sign = np.repeat(np.array([-1, 1], np.float32), half)
        angles = self.op(
            "MatMul", self.op("Cast", positions, to=TensorProto.FLOAT), self.constant(per_position)
        )
        self.cos = self.op("Cos", angles)
        self.sin = self.op("Mul", self.op("Sin", angles), self.constant(sign))

    def heads(self, x: str, count: int) -> str:
        """(n, count * h) -> (1, count, n, h)."""
        cells = self.op("Reshape", x, self.ints(1, -1, count, self.config.head_dim))
        return self.op("Transpose", cells, perm=[0, 2, 1, 3])

    def layer(self, x: str, index: int, where: str, mask: str) -> str:
        key = f"encoder.layers.{index}."
        y = self.attention(self.norm(x, f"{key}layer_norm1"), index, where, mask)
        x = self.op("Add", x, self.linear(y, [f"{key}self_attn.out_proj."]))
        return self.op("Add", x, self.mlp(self.norm(x, f"{key}layer_norm2"), f"{key}mlp."))

    def mlp(self, x: str, key: str) -> str:
        return self.linear(self.op("Gelu", self.linear(x, [f"{key}fc1."])), [f"{key}fc2."])

    def attention(self, x: str, index: int, where: str, mask: str) -> str:
        heads, width, dim = self.config.num_attention_heads, self.config.hidden_size, self.config.head_dim
        key = f"encoder.layers.{index}.self_attn."
        pairs = (np.arange(2 * heads)[:, None] * dim + pair_split(dim)).reshape(-1)
        rows = np.concatenate([pairs, np.arange(2 * width, 3 * width)])
        qkv = self.heads(self.linear(x, [f"{key}{part}_proj." for part in "qkv"], rows=rows), 3 * heads)
        qk, v = self.ops("Split", qkv, self.ints(2 * heads, heads), outputs=2, axis=1)
        first, second = self.ops("Split", qk, outputs=2, axis=3, num_outputs=2)
        partner = self.op("Concat", second, first, axis=3)
        qk = self.op("Add", self.op("Mul", qk, self.cos), self.op("Mul", partner, self.sin))
        q, k = self.ops("Split", qk, outputs=2, axis=1, num_outputs=2)
        shape: list[int | str] = [1, heads, "N", dim]
        keys = self.cached(f"keys_{index}", shape, where, k)
        values = self.cached(f"values_{index}", shape, where, v)
        return self.attend(q, keys, values, mask)

    def attend(self, q: str, keys: str, values: str, mask: str) -> str:
        """(1, H, n, h) against (1, H, N, h) twice -> (n, D)."""
        y = self.op("Transpose", self.op("Attention", q, keys, values, mask), perm=[0, 2, 1, 3])
        return self.op("Reshape", y, self.ints(-1, self.config.hidden_size))

    def pooling(self, x: str, where: str, mask: str) -> str:
        """(1, D): the probe looks at all tokens, whose keys and values are cached as well."""
        heads, width, dim = self.config.num_attention_heads, self.config.hidden_size, self.config.head_dim
        key = "head.attention.in_proj_"
        rows = np.arange(width, 3 * width)
        kv = self.heads(self.linear(x, [key], rows=rows), 2 * heads)
        k, v = self.ops("Split", kv, outputs=2, axis=1, num_outputs=2)
        shape: list[int | str] = [1, heads, "N", dim]
        keys = self.cached("head_keys", shape, where, k)
        values = self.cached("head_values", shape, where, v)
        query = self.op("Reshape", self.probe_query(), self.ints(1, heads, 1, dim))
        y = self.linear(self.attend(query, keys, values, mask), ["head.attention.out_proj."])
        return self.op("Add", y, self.mlp(self.rms_norm(y), "head.mlp."))

    def probe_query(self) -> str:
        """(1, D), constant: computed in float32 by every graph, when the session opens."""
        probe = self.op("Reshape", self.stored_tensor("head.probe"), self.ints(1, -1))
        rows = np.arange(self.config.hidden_size)
        return self.linear(probe, ["head.attention.in_proj_"], rows=rows, precision="float32")

    def rms_norm(self, x: str) -> str:
        square = self.op("ReduceMean", self.op("Mul", x, x), self.ints(-1))
        epsilon = self.constant(np.array([self.config.layer_norm_eps], np.float32))
        normal = self.op("Div", x, self.op("Sqrt", self.op("Add", square, epsilon)))
        return self.op("Mul", normal, self.stored_tensor("head.norm.weight"))

    def mean(self, tokens: str, mask: str) -> str:
        """(1, D): mean of the living tokens; the softmax of the mask is 1 / count where they live."""
        return self.op("MatMul", self.op("Softmax", mask, axis=-1), tokens)
