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
scheduler likes. `tests/model/test_export.py` holds that line.

Weights are not copied: initialisers point into the safetensors file, and whatever turns an official tensor into
the operand of a product (joining q, k and v, reordering heads, transposing, dequantising) is constant and folded by
onnxruntime when the session opens.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto

from ovstream.model.config import VisionConfig
from ovstream.model.folder import Precision
from ovstream.model.nodes import Nodes
from ovstream.model.rope import frequencies, pair_split
from ovstream.model.weights import SCALE_SUFFIX


def build_graph(config: VisionConfig, weights: Path, *, precision: Precision) -> onnx.ModelProto:
    """Builds the graph over a weight file that lies in the same folder as the graph will.

    Args:
        config: Shape of the model.
        weights: safetensors file with official keys; matrices float32 or int8 rows with scales.
        precision: "float32" computes in float32; "int8" multiplies int8 by activations that are quantised on the
            fly, and needs int8 rows.

    Returns:
        The model. Inputs and outputs as drawn above; an output has the name of its input with ".out".
    """
    graph = _EncoderGraph(config, weights, precision)
    graph.body()
    return graph.model()


@dataclass(frozen=True, slots=True)
class _Shared:
    """Names of what all layers use.

    Attributes:
        cos: (n, h).
        sin: (n, h).
        where: (1, H, n, 3), places in a cache.
        mask: (1, N).
        masks: (n, N).
    """

    cos: str
    sin: str
    where: str
    mask: str
    masks: str


class _EncoderGraph(Nodes):
    """The encoder as nodes; comments and docstrings give shapes."""

    def __init__(self, config: VisionConfig, weights: Path, precision: Precision) -> None:
        super().__init__(weights)
        self.config = config
        self.precision = precision

    def body(self) -> None:
        """Adds everything from the inputs to the scene."""
        config = self.config
        patches = self.input("patches", ["n", config.patch_values])
        positions = self.input("positions", ["n", 3], TensorProto.INT64)
        slots = self.input("slots", ["n"], TensorProto.INT64)
        mask = self.input("mask", [1, "N"])
        row = self.op("Unsqueeze", slots, self.ints(1))
        masks = self.op("Expand", mask, self.op("Shape", row))  # Attention does not broadcast rows
        shared = _Shared(*self.rotation(positions), where=self.head_slots(row), mask=mask, masks=masks)
        x = self.norm(self.linear(patches, ["embeddings.patch_embedding."], bias=False), "layernorm_pre")
        for index in range(config.num_hidden_layers):
            x = self.layer(x, index, shared)
        if config.use_head:
            x = self.norm(x, "layernorm_post")
        tokens = self.cached("tokens", ["N", config.hidden_size], row, x)
        scene = self.pooling(x, shared) if config.use_head else self.mean(tokens, mask)
        self.op("Reshape", scene, self.ints(-1), name="scene")
        self.output("scene", [config.hidden_size])

    def head_slots(self, row: str) -> str:
        """(1, H, n, 3): (0, head, slot) of every row that is written to a cache."""
        heads = self.config.num_attention_heads
        number = self.constant(np.arange(heads, dtype=np.int64).reshape(1, heads, 1, 1))
        shape = self.op("Concat", self.ints(1, heads), self.op("Shape", row), axis=0)  # 1, H, n, 1
        zero = self.constant(np.zeros((1, 1, 1, 1), np.int64))
        return self.op("Concat", *(self.op("Expand", part, shape) for part in (zero, number, row)), axis=3)

    def rotation(self, positions: str) -> tuple[str, str]:
        """Cosine and sine, (n, h), in the order of `pair_split`; the sine carries the partner's sign."""
        half = self.config.head_dim // 2
        per_position = frequencies(self.config)[:, pair_split(self.config.head_dim)]
        sign = np.repeat(np.array([-1, 1], np.float32), half)
        angles = self.op(
            "MatMul", self.op("Cast", positions, to=TensorProto.FLOAT), self.constant(per_position)
        )
        return self.op("Cos", angles), self.op("Mul", self.op("Sin", angles), self.constant(sign))

    def heads(self, x: str, count: int) -> str:
        """(n, count * h) -> (1, count, n, h)."""
        cells = self.op("Reshape", x, self.ints(1, -1, count, self.config.head_dim))
        return self.op("Transpose", cells, perm=[0, 2, 1, 3])

    def layer(self, x: str, index: int, shared: _Shared) -> str:
        """(n, D) -> (n, D)."""
        key = f"encoder.layers.{index}."
        y = self.attention(self.norm(x, f"{key}layer_norm1"), index, shared)
        x = self.op("Add", x, self.linear(y, [f"{key}self_attn.out_proj."]))
        return self.op("Add", x, self.mlp(self.norm(x, f"{key}layer_norm2"), f"{key}mlp."))

    def mlp(self, x: str, key: str) -> str:
        """(n, D) -> (n, D)."""
        return self.linear(self.op("Gelu", self.linear(x, [f"{key}fc1."])), [f"{key}fc2."])

    def attention(self, x: str, index: int, shared: _Shared) -> str:
        """(n, D) -> (n, D), before the output projection."""
        heads, width, dim = self.config.num_attention_heads, self.config.hidden_size, self.config.head_dim
        key = f"encoder.layers.{index}.self_attn."
        pairs = (np.arange(2 * heads)[:, None] * dim + pair_split(dim)).reshape(-1)
        rows = np.concatenate([pairs, np.arange(2 * width, 3 * width)])
        qkv = self.heads(self.linear(x, [f"{key}{part}_proj." for part in "qkv"], rows=rows), 3 * heads)
        qk, v = self.ops("Split", qkv, self.ints(2 * heads, heads), outputs=2, axis=1)
        first, second = self.ops("Split", qk, outputs=2, axis=3, num_outputs=2)
        partner = self.op("Concat", second, first, axis=3)
        qk = self.op("Add", self.op("Mul", qk, shared.cos), self.op("Mul", partner, shared.sin))
        q, k = self.ops("Split", qk, outputs=2, axis=1, num_outputs=2)
        shape: list[int | str] = [1, heads, "N", dim]
        keys = self.cached(f"keys_{index}", shape, shared.where, k)
        values = self.cached(f"values_{index}", shape, shared.where, v)
        return self.attend(q, keys, values, shared.masks)

    def attend(self, q: str, keys: str, values: str, mask: str) -> str:
        """(1, H, n, h) against (1, H, N, h) twice -> (n, D)."""
        y = self.op("Transpose", self.op("Attention", q, keys, values, mask), perm=[0, 2, 1, 3])
        return self.op("Reshape", y, self.ints(-1, self.config.hidden_size))

    def pooling(self, x: str, shared: _Shared) -> str:
        """(1, D): the probe looks at all tokens, whose keys and values are cached as well."""
        heads, width, dim = self.config.num_attention_heads, self.config.hidden_size, self.config.head_dim
        key = "head.attention.in_proj_"
        rows = np.arange(width, 3 * width)
        kv = self.heads(self.linear(x, [key], rows=rows), 2 * heads)
        k, v = self.ops("Split", kv, outputs=2, axis=1, num_outputs=2)
        shape: list[int | str] = [1, heads, "N", dim]
        keys = self.cached("head_keys", shape, shared.where, k)
        values = self.cached("head_values", shape, shared.where, v)
        query = self.op("Reshape", self.probe_query(), self.ints(1, heads, 1, dim))
        y = self.linear(self.attend(query, keys, values, shared.mask), ["head.attention.out_proj."])
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
        scales = [self.stored_tensor(key + SCALE_SUFFIX) for key in weights if self.stored[key].dtype == "I8"]
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
