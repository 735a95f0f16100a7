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

A graph with several lanes takes the tokens of several streams, one after the other, and how many each has
(`counts`). All products with weights run over all tokens together, so the weights are read once; caches, masks and
attention are those of each lane alone, ragged as they come, and their names end in ".<lane>".

Weights are not copied: initialisers point into the safetensors file, and whatever turns an official tensor into
the operand of a product (joining q, k and v, reordering heads, transposing, dequantising) is constant and folded by
onnxruntime when the session opens.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ovstream.model import protobuf
from ovstream.model.config import VisionConfig
from ovstream.model.folder import SCALE_SUFFIX, CacheType, Precision
from ovstream.model.nodes import Nodes
from ovstream.model.rope import frequencies, pair_split


def build_graph(
    config: VisionConfig,
    weights: Path,
    *,
    precision: Precision,
    lanes: int = 1,
    cache: CacheType = "float32",
) -> bytes:
    """Builds the graph over a weight file that lies in the same folder as the graph will.

    Args:
        config: Shape of the model.
        weights: safetensors file with official keys; matrices float32 or int8 rows with scales.
        precision: "float32" computes in float32; "int8" multiplies int8 by activations that are quantised on the
            fly, and needs int8 rows.
        lanes: Streams that a run serves.
        cache: How keys and values are held; they are widened to float32 before they are used.

    Returns:
        Content of an ONNX file. Inputs and outputs as drawn above; an output has the name of its input with ".out".

    Raises:
        ModelError: The weight file lacks a tensor.
    """
    graph = EncoderGraph(config, weights, precision, lanes=lanes, cache=cache)
    graph.body()
    return graph.model()


@dataclass(frozen=True, slots=True)
class Lane:
    """Names of what belongs to one stream of a run, b being its tokens.

    Attributes:
        suffix: Of all inputs of this lane.
        row: (b, 1), slots.
        where: (1, H, b, 3), places in a cache.
        mask: (1, N).
        masks: (b, N).
    """

    suffix: str
    row: str
    where: str
    mask: str
    masks: str


@dataclass(frozen=True, slots=True)
class Shared:
    """Names of what all layers use.

    Attributes:
        cos: (n, h).
        sin: (n, h).
        lanes: Of all streams.
        counts: (lanes,), tokens of each; empty for a single lane.
    """

    cos: str
    sin: str
    lanes: list[Lane]
    counts: str


class EncoderGraph(Nodes):
    """The encoder as nodes; comments and docstrings give shapes. L lanes, n tokens of all of them."""

    def __init__(
        self,
        config: VisionConfig,
        weights: Path,
        precision: Precision,
        *,
        lanes: int = 1,
        cache: CacheType = "float32",
    ) -> None:
        super().__init__(weights)
        self.config = config
        self.precision = precision
        self.lanes = lanes
        self.cache = protobuf.FLOAT16 if cache == "float16" else protobuf.FLOAT

    def body(self) -> None:
        """Adds everything from the inputs to the scene."""
        config = self.config
        patches = self.input("patches", ["n", config.patch_values])
        positions = self.input("positions", ["n", 3], protobuf.INT64)
        slots = self.input("slots", ["n"], protobuf.INT64)
        counts = self.input("counts", [self.lanes], protobuf.INT64) if self.lanes > 1 else ""
        lanes = [self.lane(*one) for one in enumerate(self.split(slots, counts, axis=0))]
        shared = Shared(*self.rotation(positions), lanes, counts)
        x = self.embed(patches, slots)
        for index in range(config.num_hidden_layers):
            x = self.layer(x, index, shared)
        x = self.last_norm(x)
        parts = zip(shared.lanes, self.split(x, counts, axis=0), strict=True)
        shape: list[list[int | str]] = [[self.size("N", lane), config.hidden_size] for lane in lanes]
        tokens = [
            self.cached(f"tokens{lane.suffix}", shape[number], lane.row, part)
            for number, (lane, part) in enumerate(parts)
        ]
        pooled = self.pooling(x, shared) if config.use_head else self.means(tokens, lanes)
        self.op("Reshape", pooled, self.ints(-1), name="scene")
        self.output("scene", [self.lanes * config.hidden_size])

    def embed(self, patches: str, slots: str) -> str:
        """(n, P) -> (n, D); `slots`, (n,), are for models that add something to each place."""
        x = self.linear(patches, ["embeddings.patch_embedding."], bias=self.config.patch_bias)
        return self.norm(x, "layernorm_pre") if self.config.pre_norm else x

    def last_norm(self, x: str) -> str:
        """(n, D) -> (n, D), after all layers."""
        return self.norm(x, "layernorm_post") if self.config.use_head else x

    def lane(self, number: int, slots: str) -> Lane:
        """Declares what a stream brings with it."""
        suffix = f".{number}" if self.lanes > 1 else ""
        mask = self.input(f"mask{suffix}", [1, f"N{suffix}"])
        row = self.op("Unsqueeze", slots, self.ints(1))
        masks = self.op("Expand", mask, self.op("Shape", row))  # Attention does not broadcast rows
        return Lane(suffix, row, self.head_slots(row), mask, masks)

    def size(self, name: str, lane: Lane) -> str:
        """Name of a dimension."""
        return f"{name}{lane.suffix}"

    def split(self, x: str, counts: str, *, axis: int) -> list[str]:
        """Cuts the tokens of all streams into those of each."""
        return self.ops("Split", x, counts, outputs=self.lanes, axis=axis) if counts else [x]

    def join(self, parts: list[str], *, axis: int) -> str:
        """Undoes `split`."""
        return self.op("Concat", *parts, axis=axis) if len(parts) > 1 else parts[0]

    def head_slots(self, row: str) -> str:
        """(1, H, b, 3): (0, head, slot) of every row that is written to a cache."""
        heads = self.config.num_attention_heads
        number = self.constant(np.arange(heads, dtype=np.int64).reshape(1, heads, 1, 1))
        shape = self.op("Concat", self.ints(1, heads), self.op("Shape", row), axis=0)  # 1, H, b, 1
        zero = self.constant(np.zeros((1, 1, 1, 1), np.int64))
        return self.op("Concat", *(self.op("Expand", part, shape) for part in (zero, number, row)), axis=3)

    def rotation(self, positions: str) -> tuple[str, str]:
        """Cosine and sine, (n, h), in the order of `pair_split`; the sine carries the partner's sign."""
        half = self.config.head_dim // 2
        per_position = frequencies(self.config)[:, pair_split(self.config.head_dim)]
        sign = np.repeat(np.array([-1, 1], np.float32), half)
        angles = self.op("MatMul", self.op("Cast", positions, to=protobuf.FLOAT), self.constant(per_position))
        return self.op("Cos", angles), self.op("Mul", self.op("Sin", angles), self.constant(sign))

    def heads(self, x: str, count: int) -> str:
        """(n, count * h) -> (1, count, n, h)."""
        cells = self.op("Reshape", x, self.ints(1, -1, count, self.config.head_dim))
        return self.op("Transpose", cells, perm=[0, 2, 1, 3])

    def layer(self, x: str, index: int, shared: Shared) -> str:
        """(n, D) -> (n, D)."""
        key = f"encoder.layers.{index}."
        y = self.attention(self.norm(x, f"{key}layer_norm1"), index, shared)
        x = self.op("Add", x, self.linear(y, [f"{key}self_attn.out_proj."]))
        return self.op("Add", x, self.mlp(self.norm(x, f"{key}layer_norm2"), f"{key}mlp."))

    def mlp(self, x: str, key: str) -> str:
        """(n, D) -> (n, D)."""
        return self.linear(self.op("Gelu", self.linear(x, [f"{key}fc1."])), [f"{key}fc2."])

    def attention(self, x: str, index: int, shared: Shared) -> str:
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
        parts = zip(*(self.split(one, shared.counts, axis=2) for one in (q, k, v)), strict=True)
        seen = [
            self.attend(
                q, self.store(f"keys_{index}", lane, k), self.store(f"values_{index}", lane, v), lane.masks
            )
            for lane, (q, k, v) in zip(shared.lanes, parts, strict=True)
        ]
        return self.beside(self.join(seen, axis=2))

    def store(self, name: str, lane: Lane, rows: str) -> str:
        """Writes (1, H, b, h) into the cache of a lane; gives all of it in float32, (1, H, N, h)."""
        heads, dim = self.config.num_attention_heads, self.config.head_dim
        shape: list[int | str] = [1, heads, self.size("N", lane), dim]
        if self.cache != protobuf.FLOAT:
            rows = self.op("Cast", rows, to=self.cache)
        cached = self.cached(f"{name}{lane.suffix}", shape, lane.where, rows, self.cache)
        return cached if self.cache == protobuf.FLOAT else self.op("Cast", cached, to=protobuf.FLOAT)

    def attend(self, q: str, keys: str, values: str, mask: str) -> str:
        """(1, H, b, h) against (1, H, N, h) twice -> (1, H, b, h)."""
        return self.op("Attention", q, keys, values, mask)

    def beside(self, y: str) -> str:
        """(1, H, n, h) -> (n, D)."""
        moved = self.op("Transpose", y, perm=[0, 2, 1, 3])
        return self.op("Reshape", moved, self.ints(-1, self.config.hidden_size))

    def pooling(self, x: str, shared: Shared) -> str:
        """(L, D): the probe looks at all tokens of a lane, whose keys and values are cached as well."""
        heads, width, dim = self.config.num_attention_heads, self.config.hidden_size, self.config.head_dim
        key = "head.attention.in_proj_"
        rows = np.arange(width, 3 * width)
        kv = self.heads(self.linear(x, [key], rows=rows), 2 * heads)
        k, v = self.ops("Split", kv, outputs=2, axis=1, num_outputs=2)
        query = self.op("Reshape", self.probe_query(), self.ints(1, heads, 1, dim))
        parts = zip(*(self.split(one, shared.counts, axis=2) for one in (k, v)), strict=True)
        seen = [
            self.attend(
                query, self.store("head_keys", lane, k), self.store("head_values", lane, v), lane.mask
            )
            for lane, (k, v) in zip(shared.lanes, parts, strict=True)
        ]
        y = self.linear(self.beside(self.join(seen, axis=2)), ["head.attention.out_proj."])
        return self.op("Add", y, self.mlp(self.rms_norm(y), "head.mlp."))

    def probe_query(self) -> str:
        """(1, D), constant: computed in float32 by every graph, when the session opens."""
        probe = self.op("Reshape", self.stored_tensor("head.probe"), self.ints(1, -1))
        rows = np.arange(self.config.hidden_size)
        return self.linear(probe, ["head.attention.in_proj_"], rows=rows, precision="float32")

    def rms_norm(self, x: str) -> str:
        """(L, D) -> (L, D): that of the pooling head."""
        square = self.op("ReduceMean", self.op("Mul", x, x), self.ints(-1))
        epsilon = self.constant(np.array([self.config.layer_norm_eps], np.float32))
        normal = self.op("Div", x, self.op("Sqrt", self.op("Add", square, epsilon)))
        return self.op("Mul", normal, self.stored_tensor("head.norm.weight"))

    def means(self, tokens: list[str], lanes: list[Lane]) -> str:
        """(L, D): means of the living tokens; the softmax of a mask is 1 / count where they live."""
        means = [
            self.op("MatMul", self.op("Softmax", lane.mask, axis=-1), one)
            for one, lane in zip(tokens, lanes, strict=True)
        ]
        return self.join(means, axis=0)

    def norm(self, x: str, key: str) -> str:
        """LayerNorm with the weights of `key`."""
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
        """Tensors one below the other, and of these some rows in an order of choice."""
        joined = names[0] if len(names) == 1 else self.op("Concat", *names, axis=0)
        return joined if rows is None else self.op("Gather", joined, self.constant(rows), axis=0)

    def matrix(self, names: list[str], rows: npt.NDArray[np.int64] | None) -> str:
        """(out, in, ...) -> (in, out)."""
        flat = self.op("Reshape", self.joined(names, rows), self.ints(0, -1))
        return self.op("Transpose", flat, perm=[1, 0])

    def int8_product(self, x: str, matrix: str, scale: str) -> str:
        """(n, in) -> (n, out), in int8 with the activations' scale found on the fly."""
        quantised, x_scale, x_zero = self.ops("DynamicQuantizeLinear", x, outputs=3)
        product = self.op("MatMulInteger", quantised, matrix, x_zero)
        return self.op("Mul", self.op("Cast", product, to=protobuf.FLOAT), self.op("Mul", x_scale, scale))
