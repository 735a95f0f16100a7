"""Polygons over a picture, as shares of its patches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ovstream.types import BoolArray, FloatArray

_SAMPLES = 8  # points per side of a patch: shares are known to 1 / 64


def covered_share(polygon: Sequence[tuple[float, float]], shape: tuple[int, int]) -> FloatArray:
    """Tells how much of each patch lies inside a polygon, by the even-odd rule.

    Args:
        polygon: Corners (x, y) as fractions of the picture, from the upper left.
        shape: (rows, cols) of patches.

    Returns:
        (rows, cols) float32, 0..1.
    """
    rows, cols = shape
    y = ((np.arange(rows * _SAMPLES) + 0.5) / (rows * _SAMPLES))[:, None]
    x = ((np.arange(cols * _SAMPLES) + 0.5) / (cols * _SAMPLES))[None, :]
    inside = np.zeros((y.size, x.size), np.bool_)
    corners = np.asarray(polygon, np.float64)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y0 != y1:
            crossed = (y0 > y) != (y1 > y)
            inside ^= crossed & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    blocks = inside.reshape(rows, _SAMPLES, cols, _SAMPLES)
    share: FloatArray = blocks.mean(axis=(1, 3), dtype=np.float32)
    return share


def touched(polygons: Iterable[Sequence[tuple[float, float]]], shape: tuple[int, int]) -> BoolArray:
    """(rows, cols) bool: patches of which any polygon covers at least a corner."""
    found = np.zeros(shape, np.bool_)
    for polygon in polygons:
        found |= covered_share(polygon, shape) > 0
    return found


def mostly_covered(polygon: Sequence[tuple[float, float]], shape: tuple[int, int]) -> BoolArray:
    """(rows, cols) bool: patches at least half inside; of a polygon smaller than that, the patches it covers most."""
    share = covered_share(polygon, shape)
    chosen: BoolArray = share >= 0.5
    return chosen if chosen.any() else (share == share.max()) & (share > 0)
