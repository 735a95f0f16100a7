"""The only module of `encode` that talks to torch: the graph of `ovstream.model.graph`, line by line, on any device.

Caches have the same order and the same meaning as in the graph, so a snapshot made by one backend goes on in the other.
On the CPU they are the state's own memory; on another device a `_Mirror` holds them there, and the state asks it when
somebody wants to see, save or correct them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from torch import Tensor

from ovstream.encode.backend import Job
from ovstream.encode.batcher import batches
from ovstream.encode.state import EncoderState
from ovstream.errors import ConfigError, ModelError
from ovstream.model.config import VisionConfig
from ovstream.model.folder import SCALE_SUFFIX
from ovstream.model.nodes import stored_tensors
from ovstream.model.rope import frequencies, pair_split
from ovstream.types import FloatArray

Arrays = Mapping[str, npt.NDArray[Any]]
_KINDS = {"F32": np.float32, "I8": np.int8}


def read_weights(path: Path) -> dict[str, FloatArray]:
    """Reads an exported weight file; int8 rows are multiplied by their scales.

    Raises:
        ModelError: It is no safetensors file of ours.
    """
    stored = stored_tensors(path)
    try:
        raw = {
            key: np.memmap(path, _KINDS[entry.dtype], "r", entry.offset_bytes, entry.shape)
            for key, entry in stored.items()
        }
    except (KeyError, ValueError, OSError) as error:
        raise ModelError(f"{path}: {error}") from error
    return {key: _widened(key, raw) for key in raw if not key.endswith(SCALE_SUFFIX)}


def _widened(key: str, raw: Arrays) -> FloatArray:
    value = np.array(raw[key], np.float32)
    if raw[key].dtype == np.int8:
        value *= raw[key + SCALE_SUFFIX].reshape(-1, *[1] * (value.ndim - 1))
    return value


class TorchBackend:
    """A model in float32 torch, shared by all states of an encoder.

    Args:
        config: Shape of the model.
        weights: By official key.
        device: As torch names it, say "cpu" or "cuda:0".
        lanes: Most streams in a run.
        in_place: Whether caches are the states' own memory; by default where the device can reach it.

    Raises:
        ConfigError: This torch has no such device.
    """

    def __init__(
        self,
        config: VisionConfig,
        weights: Mapping[str, FloatArray],
        *,
        device: str,
        lanes: int = 1,
        in_place: bool | None = None,
    ) -> None:
        try:
            self.device = torch.device(device)
            torch.empty(1, device=self.device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ConfigError(
                f"this torch ({torch.__version__}) cannot use the device '{device}': {reason}"
            ) from error
        self.lanes = lanes
        self._in_place = self.device.type == "cpu" if in_place is None else in_place
        self._config = config
        self._frequencies = frequencies(config)[:, pair_split(config.head_dim)]
        self._weights = {key: self._put(value) for key, value in _prepared(config, weights).items()}

    def bind(self, state: EncoderState) -> Binding:
        """See `Backend`."""
        return Binding(state, self.device, in_place=self._in_place)

    def run(self, jobs: Sequence[Job]) -> None:
        """See `Backend`."""
        try:
            with torch.inference_mode():
                for batch in batches(jobs, lanes=self.lanes):
                    self._run(batch)
        except RuntimeError as error:
            raise ModelError(f"torch: {error}") from error

    def _run(self, jobs: list[Job]) -> None:
        lanes = [_Lane(job, self.device) for job in jobs]
        table = self._rotation(np.concatenate([job.positions for job in jobs]))
        patches = self._put(np.concatenate([job.patches for job in jobs]))
        x = F.linear(patches, self._weights["embed"], self._weights.get("embeddings.patch_embedding.bias"))
        x = self._norm(x, "layernorm_pre") if self._config.pre_norm else x
        for index in range(self._config.num_hidden_layers):
            x = self._layer(x, index, table, lanes)
        if not self._config.use_head:
            for lane, tokens in zip(lanes, _split(x, lanes, axis=0), strict=True):
                lane.finish(tokens, None)
            return
        x = self._norm(x, "layernorm_post")
        scenes = self._pooled(x, lanes)
        for lane, tokens, scene in zip(lanes, _split(x, lanes, axis=0), scenes, strict=True):
            lane.finish(tokens, scene)

    def _rotation(self, positions: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Cosine and sine, (n, h); the sine carries the partner's sign."""
        angles = (positions.astype(np.float32)[:, :, None] * self._frequencies).sum(axis=1)
        sign = np.repeat(np.array([-1, 1], np.float32), self._config.head_dim // 2)
        return self._put(np.cos(angles)), self._put(np.sin(angles) * sign)

    def _layer(self, x: Tensor, index: int, table: tuple[Tensor, Tensor], lanes: list[_Lane]) -> Tensor:
        """(n, D) -> (n, D)."""
        heads, key = self._config.num_attention_heads, f"encoder.layers.{index}."
        cos, sin = table
        qkv = self._heads(self._linear(self._norm(x, f"{key}layer_norm1"), f"{key}qkv"), 3)
        qk, v = qkv[: 2 * heads], qkv[2 * heads :]
        first, second = qk.chunk(2, dim=2)
        q, k = (qk * cos + torch.cat([second, first], dim=2) * sin).chunk(2)
        parts = zip(lanes, *(_split(one, lanes, axis=1) for one in (q, k, v)), strict=True)
        seen = [lane.attend(index, q, k, v) for lane, q, k, v in parts]
        x = x + self._linear(self._beside(seen), f"{key}self_attn.out_proj")
        return x + self._mlp(self._norm(x, f"{key}layer_norm2"), f"{key}mlp.")

    def _pooled(self, x: Tensor, lanes: list[_Lane]) -> Tensor:
        """(n, D) -> (lanes, D)."""
        k, v = self._heads(self._linear(x, "head.kv"), 2).chunk(2)
        parts = zip(lanes, *(_split(one, lanes, axis=1) for one in (k, v)), strict=True)
        y = self._beside([lane.pool(self._weights["head.query"], k, v) for lane, k, v in parts])
        y = self._linear(y, "head.attention.out_proj")
        normal = F.rms_norm(y, y.shape[-1:], self._weights["head.norm.weight"], self._config.layer_norm_eps)
        return y + self._mlp(normal, "head.mlp.")

    def _mlp(self, x: Tensor, key: str) -> Tensor:
        return self._linear(F.gelu(self._linear(x, f"{key}fc1")), f"{key}fc2")

    def _norm(self, x: Tensor, key: str) -> Tensor:
        weight, bias = self._weights[f"{key}.weight"], self._weights[f"{key}.bias"]
        return F.layer_norm(x, x.shape[-1:], weight, bias, self._config.layer_norm_eps)

    def _linear(self, x: Tensor, key: str) -> Tensor:
        return F.linear(x, self._weights[f"{key}.weight"], self._weights[f"{key}.bias"])

    def _heads(self, x: Tensor, parts: int) -> Tensor:
        """(n, parts * D) -> (parts * H, n, h)."""
        return x.view(len(x), parts * self._config.num_attention_heads, -1).transpose(0, 1)

    def _beside(self, parts: list[Tensor]) -> Tensor:
        """[(H, b, h), ...] -> (n, D)."""
        return torch.cat(parts, dim=1).transpose(0, 1).flatten(1)

    def _put(self, array: npt.NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)


class Binding:
    """The caches of one state as tensors: views of its memory on the CPU, else a copy that the state knows about.

    Attributes:
        caches: All of the following.
        keys: (layers, H, N, h).
        values: (layers, H, N, h).
        head: Keys and values of the pooling head, (H, N, h) each; empty without one.
    """

    def __init__(self, state: EncoderState, device: torch.device, *, in_place: bool) -> None:
        self.scene, self.tokens, self.mask, self.alive = state.scene, state.tokens, state.mask, state.alive
        head = [one for one in (state.head_keys, state.head_values) if one is not None]
        arrays = [state.keys, state.values, *head]
        views = [torch.from_numpy(one) for one in arrays]
        self.caches = views if in_place else [one.to(device, copy=True) for one in views]
        self.keys, self.values, *self.head = self.caches
        if not in_place:
            state.mirror = _Mirror(self, arrays)


class _Mirror:
    """Caches of a state that live on a device; see `ovstream.encode.state.Mirror`."""

    def __init__(self, binding: Binding, arrays: list[npt.NDArray[Any]]) -> None:
        self._binding = binding
        self._arrays = arrays

    def pull(self) -> None:
        for array, tensor in zip(self._arrays, self._binding.caches, strict=True):
            array[:] = tensor.cpu().numpy()

    def push(self) -> None:
        for array, tensor in zip(self._arrays, self._binding.caches, strict=True):
            tensor.copy_(torch.from_numpy(array))

    def read_values(self, first_layer: int, slots: npt.NDArray[np.int64]) -> FloatArray:
        return _numpy(self._binding.values[first_layer:, :, self._index(slots)])

    def add_values(self, first_layer: int, weights: FloatArray, moved: FloatArray) -> None:
        values = self._binding.values
        values[first_layer:] += (self._put(weights) @ self._put(moved)).to(values.dtype)

    def read_head(self, slots: npt.NDArray[np.int64]) -> list[FloatArray]:
        return [_numpy(cache[:, self._index(slots)]) for cache in self._binding.head]

    def add_head(self, weights: FloatArray, moved: list[FloatArray]) -> None:
        for cache, part in zip(self._binding.head, moved, strict=True):
            cache += (self._put(weights) @ self._put(part)).to(cache.dtype)

    def _index(self, slots: npt.NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(slots).to(self._binding.values.device)

    def _put(self, array: FloatArray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._binding.values.device)


class _Lane:
    """One stream's part of a run."""

    def __init__(self, job: Job, device: torch.device) -> None:
        self._binding: Binding = job.binding
        self._job = job
        self._slots = torch.from_numpy(np.ascontiguousarray(job.slots)).to(device)
        whole = bool(self._binding.alive.all())
        self._mask = None if whole else torch.from_numpy(self._binding.mask).to(device)

    def __len__(self) -> int:
        return len(self._job)

    def attend(self, index: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(H, b, h) three times -> (H, b, h)."""
        return self._attend(q, k, v, self._binding.keys[index], self._binding.values[index])

    def pool(self, query: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(H, 1, h) and (H, b, h) twice -> (H, 1, h)."""
        return self._attend(query, k, v, *self._binding.head)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        keys.index_copy_(1, self._slots, k.to(keys.dtype))
        values.index_copy_(1, self._slots, v.to(values.dtype))
        seen, told = keys.to(q.dtype)[None], values.to(q.dtype)[None]
        return F.scaled_dot_product_attention(q[None], seen, told, attn_mask=self._mask)[0]

    def finish(self, tokens: Tensor, scene: Tensor | None) -> None:
        """Brings home the tokens of this stream, and the scene; without a head it is the mean of all that live."""
        binding = self._binding
        binding.tokens[self._job.slots] = tokens.cpu().numpy()
        mean = binding.tokens[binding.alive].mean(axis=0) if scene is None else scene.cpu().numpy()
        binding.scene[:] = mean


def _prepared(config: VisionConfig, weights: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """Joins and reorders what the graph joins and reorders; the rest keeps its key."""
    heads, width, dim = config.num_attention_heads, config.hidden_size, config.head_dim
    pairs = (np.arange(2 * heads)[:, None] * dim + pair_split(dim)).reshape(-1)
    rows = np.concatenate([pairs, np.arange(2 * width, 3 * width)])
    out = {key: value for key, value in weights.items() if "_proj" not in key or "out_proj" in key}
    out["embed"] = out.pop("embeddings.patch_embedding.weight").reshape(width, -1)
    for index in range(config.num_hidden_layers):
        key = f"encoder.layers.{index}."
        for kind in ("weight", "bias"):
            parts = [weights[f"{key}self_attn.{part}_proj.{kind}"] for part in "qkv"]
            out[f"{key}qkv.{kind}"] = np.concatenate(parts)[rows]
    if config.use_head:
        matrix, bias = weights["head.attention.in_proj_weight"], weights["head.attention.in_proj_bias"]
        query = matrix[:width] @ out.pop("head.probe").reshape(-1) + bias[:width]
        out["head.query"] = query.reshape(heads, 1, dim)
        out["head.kv.weight"], out["head.kv.bias"] = matrix[width:], bias[width:]
    return out


def _split(x: Tensor, lanes: list[_Lane], *, axis: int) -> Sequence[Tensor]:
    return torch.split(x, [len(lane) for lane in lanes], dim=axis)


def _numpy(tensor: Tensor) -> FloatArray:
    array: FloatArray = tensor.float().cpu().numpy()
    return array
