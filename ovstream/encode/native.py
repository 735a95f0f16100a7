"""The native core as a backend: CPUs with AVX-512 VNNI, made for few tokens.

The same model folders and states as onnxruntime's: the core computes what the graphs do, in place. Where matrices are
rounded to int8 it rounds the activations of each token by themselves instead of all of a run together. So in every mode a
token's numbers do not depend on its company, and shared runs give what each stream alone would have got, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ovstream._native import ffi, lib
from ovstream.encode.backend import Job
from ovstream.encode.state import EncoderState
from ovstream.errors import ModelError
from ovstream.model.config import TEMPORAL_POSITIONS, VisionConfig
from ovstream.model.folder import SCALE_SUFFIX, Precision
from ovstream.model.nodes import stored_tensors
from ovstream.model.rope import frequencies, pair_split
from ovstream.types import FloatArray

PANEL = 16
"""Columns of a matrix that lie side by side."""


def supported(config: VisionConfig) -> bool:
    """Whether the core has kernels for this processor, and for this shape."""
    return bool(lib.ovbits_encode_supported()) and config.intermediate_size % PANEL == 0


class NativeBackend:
    """Runs of the native core; from several threads at a time.

    Args:
        config: Shape of the model.
        weights: safetensors file with the weights of the graph of that precision.
        precision: "float32" computes in float32; "int8" multiplies int8 by activations that are rounded on the fly.
        max_tokens: Most patches that a state may hold.
        lanes: Most jobs that one run takes.

    Raises:
        ModelError: The file lacks a tensor.
    """

    def __init__(
        self,
        config: VisionConfig,
        weights: Path,
        *,
        precision: Precision,
        max_tokens: int,
        lanes: int = 1,
    ) -> None:
        self._lanes = lanes
        self._packed = pack(config, weights, precision=precision, places=max(max_tokens, TEMPORAL_POSITIONS))
        packed = self._packed
        self._model = ffi.new(
            "OvbitsModel *",
            {
                "hidden": config.hidden_size,
                "layers": config.num_hidden_layers,
                "heads": config.num_attention_heads,
                "mlp": config.intermediate_size,
                "patch_values": config.patch_values,
                "places": packed.places,
                "epsilon": config.layer_norm_eps,
                "pre_norm": config.pre_norm,
                "patch_bias": config.patch_bias,
                "pooled": config.use_head,
                "floats": _pointer("float *", packed.floats),
                "floats_count": packed.floats.size,
                "bytes": _pointer("uint8_t *", packed.bytes),
                "bytes_count": packed.bytes.size,
                "kinds": _pointer("uint8_t *", packed.kinds),
                "kinds_count": packed.kinds.size,
                "axes": _pointer("uint8_t *", packed.axes),
            },
        )

    @property
    def lanes(self) -> int:
        """Most jobs that one run takes."""
        return self._lanes

    def bind(self, state: EncoderState) -> Binding:
        """Connects a state with the core, once for its life; the state must outlive the binding."""
        return Binding(state)

    def run(self, jobs: Sequence[Job]) -> None:
        """See `Backend`."""
        streams = jobs[0].binding.stream if len(jobs) == 1 else ffi.new("OvbitsStream[]", len(jobs))
        for number, job in enumerate(jobs):
            streams[number] = job.binding.stream[0]
            streams[number].count = len(job)
        patches = _joined([job.patches for job in jobs], np.float32)
        positions = _joined([job.positions for job in jobs], np.int64)
        slots = _joined([job.slots for job in jobs], np.int64)
        status = lib.ovbits_encode(
            self._model,
            streams,
            len(jobs),
            _pointer("float *", patches),
            _pointer("int64_t *", positions),
            _pointer("int64_t *", slots),
        )
        if status != lib.OVBITS_OK:
            raise ModelError(f"native core: {len(slots)} tokens of {len(jobs)} streams: status {status}")


class Binding:
    """Where the caches of a state are."""

    def __init__(self, state: EncoderState) -> None:
        self.stream = ffi.new("OvbitsStream[1]")
        record = self.stream[0]
        record.slots = state.alive.size
        for name in ("keys", "values", "head_keys", "head_values", "tokens", "scene", "mask"):
            cache = getattr(state, name)
            if cache is not None:
                setattr(record, name, _pointer("float *", cache))


@dataclass(frozen=True, slots=True)
class Packed:
    """Weights in the order in which the core reads them, see `native/src/encoder/model.rs`.

    Attributes:
        floats: float32, whatever is not a rounded matrix.
        bytes: uint8, rounded matrices.
        kinds: uint8 for each matrix, 0 float32, 1 rounded.
        axes: (head_dim,) uint8, which number of a position (t, h, w) turns it.
        places: Positions are below.
    """

    floats: FloatArray
    bytes: npt.NDArray[np.uint8]
    kinds: npt.NDArray[np.uint8]
    axes: npt.NDArray[np.uint8]
    places: int


def pack(config: VisionConfig, weights: Path, *, precision: Precision, places: int) -> Packed:
    """Reads and lays out the weights of a model.

    Raises:
        ModelError: The file lacks a tensor.
    """
    return _Packer(config, read_tensors(weights), precision).packed(places)


def read_tensors(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Views of all tensors of a safetensors file.

    Raises:
        ModelError: It is none.
    """
    table = stored_tensors(path)
    content = np.memmap(path, np.uint8, "r")
    kinds = {"F32": np.float32, "I8": np.int8}
    return {
        key: np.frombuffer(content[one.offset_bytes :][: one.length_bytes], kinds[one.dtype]).reshape(
            one.shape
        )
        for key, one in table.items()
    }


class _Packer:
    """Puts one thing after the other."""

    def __init__(
        self, config: VisionConfig, tensors: Mapping[str, npt.NDArray[Any]], precision: Precision
    ) -> None:
        self._config = config
        self._precision = precision
        self._tensors = tensors
        self._floats: list[npt.NDArray[Any]] = []
        self._bytes: list[npt.NDArray[Any]] = []
        self._kinds: list[int] = []

    def packed(self, places: int) -> Packed:
        config = self._config
        per_position = frequencies(config)[:, pair_split(config.head_dim)]
        angles = np.arange(places, dtype=np.float32)[:, None] * per_position.sum(axis=0)
        sign = np.repeat(np.array([-1, 1], np.float32), config.head_dim // 2)
        self._floats += [np.cos(angles), np.sin(angles) * sign]
        self._linear(["embeddings.patch_embedding."], bias=config.patch_bias)
        if config.pre_norm:
            self._norm("layernorm_pre")
        for index in range(config.num_hidden_layers):
            self._layer(f"encoder.layers.{index}.")
        if config.use_head:
            self._norm("layernorm_post")
            self._head()
        return Packed(
            _in_a_row(self._floats, np.float32),
            _in_a_row(self._bytes, np.uint8),
            np.array(self._kinds, np.uint8),
            np.argmax(per_position != 0, axis=0).astype(np.uint8),
            places,
        )

    def _layer(self, key: str) -> None:
        width, dim = self._config.hidden_size, self._config.head_dim
        pairs = (np.arange(2 * self._config.num_attention_heads)[:, None] * dim + pair_split(dim)).reshape(-1)
        rows = np.concatenate([pairs, np.arange(2 * width, 3 * width)])
        self._norm(f"{key}layer_norm1")
        self._linear([f"{key}self_attn.{part}_proj." for part in "qkv"], rows=rows)
        self._linear([f"{key}self_attn.out_proj."])
        self._norm(f"{key}layer_norm2")
        self._linear([f"{key}mlp.fc1."])
        self._linear([f"{key}mlp.fc2."])

    def _head(self) -> None:
        width = self._config.hidden_size
        key = "head.attention.in_proj_"
        query = self._matrix(f"{key}weight")[:width] @ self._tensor("head.probe").reshape(-1)
        self._floats.append((query + self._tensor(f"{key}bias")[:width]) / np.sqrt(self._config.head_dim))
        self._linear([key], rows=np.arange(width, 3 * width))
        self._linear(["head.attention.out_proj."])
        self._floats.append(self._tensor("head.norm.weight"))
        self._linear(["head.mlp.fc1."])
        self._linear(["head.mlp.fc2."])

    def _tensor(self, key: str) -> npt.NDArray[Any]:
        if key not in self._tensors:
            raise ModelError(f"the weights lack '{key}'")
        return self._tensors[key]

    def _matrix(self, key: str) -> npt.NDArray[Any]:
        """(out, in) float32."""
        matrix = self._tensor(key)
        if matrix.dtype == np.int8:
            matrix = matrix.reshape(len(matrix), -1) * self._tensor(key + SCALE_SUFFIX)[:, None]
        return matrix.reshape(len(matrix), -1)

    def _norm(self, key: str) -> None:
        self._floats += [self._tensor(f"{key}.weight"), self._tensor(f"{key}.bias")]

    def _linear(
        self, keys: list[str], *, rows: npt.NDArray[np.int64] | None = None, bias: bool = True
    ) -> None:
        """The joined matrices of `keys`; `rows` picks and reorders their outputs."""
        names = [f"{key}weight" for key in keys]
        chosen = slice(None) if rows is None else rows
        rounded = self._precision == "int8" and all(self._tensor(name).dtype == np.int8 for name in names)
        self._kinds.append(int(rounded))
        if rounded:
            matrix = np.concatenate(
                [self._tensor(name).reshape(len(self._tensor(name)), -1) for name in names]
            )
            scales = np.concatenate([self._tensor(name + SCALE_SUFFIX) for name in names])
            self._rounded(matrix[chosen], scales[chosen])
        else:
            matrix = np.concatenate([self._matrix(name) for name in names])[chosen]
            outputs, inputs = matrix.shape
            self._floats.append(matrix.reshape(outputs // PANEL, PANEL, inputs).transpose(0, 2, 1))
        if bias:
            self._floats.append(np.concatenate([self._tensor(f"{key}bias") for key in keys])[chosen])

    def _rounded(self, matrix: npt.NDArray[np.int8], scales: FloatArray) -> None:
        outputs, inputs = matrix.shape
        filled = np.full((outputs, -(-inputs // 4) * 4), 128, np.uint8)
        filled[:, :inputs] = matrix.view(np.uint8) + np.uint8(128)
        self._bytes.append(filled.reshape(outputs // PANEL, PANEL, -1, 4).transpose(0, 2, 1, 3))
        self._floats += [matrix.sum(axis=1, dtype=np.int64), scales]


def _in_a_row(parts: list[npt.NDArray[Any]], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """One array of all numbers; parts may be views in another order, which are copied once."""
    row = np.empty(sum(part.size for part in parts), dtype)
    start = 0
    for part in parts:
        row[start : start + part.size].reshape(part.shape)[...] = part
        start += part.size
    return row


def _pointer(kind: str, array: npt.NDArray[Any]) -> Any:
    return ffi.cast(kind, array.ctypes.data)


def _joined(parts: list[npt.NDArray[Any]], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    joined = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return np.ascontiguousarray(joined, dtype)
