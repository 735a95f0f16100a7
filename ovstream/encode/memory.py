"""One block of memory for all arrays of a state."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ovstream.model.config import VisionConfig

Layout = dict[str, tuple[tuple[int, ...], npt.DTypeLike]]
"""Shape and type of every array, by name."""

_ALIGN = 64


def cache_layout(config: VisionConfig, slots: int, kind: np.dtype[Any]) -> Layout:
    """The arrays of `EncoderState`, but for those of a window.

    Args:
        config: Shape of the model.
        slots: Patches that the state holds.
        kind: Of keys and values.
    """
    heads, head_dim = config.num_attention_heads, config.head_dim
    cache = (heads, slots, head_dim)
    layout: Layout = {
        "keys": ((config.num_hidden_layers, *cache), kind),
        "values": ((config.num_hidden_layers, *cache), kind),
        "tokens": ((slots, config.hidden_size), np.float32),
        "reference": ((slots, config.patch_values), np.float32),
        "positions": ((slots, 3), np.int64),
        "ages": ((slots,), np.int32),
        "alive": ((slots,), np.bool_),
        "mask": ((1, slots), np.float32),
        "scene": ((config.hidden_size,), np.float32),
        "drift": ((1,), np.float32),
    }
    if config.use_head:
        layout |= {"head_keys": (cache, kind), "head_values": (cache, kind)}
    return layout


def allocate(layout: Layout) -> tuple[npt.NDArray[np.uint8], dict[str, npt.NDArray[Any]]]:
    """One block of zeros with a view for every array, each at a multiple of `_ALIGN` bytes."""
    offsets, end = {}, 0
    for name, (shape, dtype) in layout.items():
        offsets[name] = end
        end += -(-math.prod(shape) * np.dtype(dtype).itemsize // _ALIGN) * _ALIGN
    block = np.zeros(end + _ALIGN, np.uint8)
    start = -block.ctypes.data % _ALIGN
    memory = block[start : start + end]
    views = {
        name: memory[offsets[name] :][: math.prod(shape) * np.dtype(dtype).itemsize]
        .view(dtype)
        .reshape(shape)
        for name, (shape, dtype) in layout.items()
    }
    return memory, views
