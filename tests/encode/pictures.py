"""Patches for the tests of the encoder."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ovstream.types import Patches

GRID = (4, 6)
SLOTS = GRID[0] * GRID[1]


def patches(slots: list[int] | npt.NDArray[np.int64], seed: int, *, grid: tuple[int, int] = GRID) -> Patches:
    """Noise at some slots."""
    pixels = np.random.default_rng(seed).standard_normal((len(slots), 3, 14, 14), np.float32)
    return Patches(np.asarray(slots, np.int32), pixels, grid)


def everything(seed: int, *, grid: tuple[int, int] = GRID) -> Patches:
    """Noise everywhere."""
    return patches(np.arange(grid[0] * grid[1]), seed, grid=grid)
