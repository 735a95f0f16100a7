"""Cuts patches out of YUV planes, scaled and normalised, without touching the rest of the picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from ovstream.decode.picture import Picture, Plane, yuv_to_rgb
from ovstream.types import FloatArray, Patches

# Weights are multiples of 1 / 256 on both axes: a scaled sample is then an integer below 2^24, which float32
# holds exactly, so sums do not depend on their order, and a patch not on which others are cropped with it.
WEIGHT_ONE = 256
STRIPS = 4  # a patch is filtered in strips: shorter windows, fewer multiplications by zero
CHUNK = 64  # patches at a time: what lies between the steps stays in the cache


@dataclass(frozen=True, slots=True, eq=False)
class _Axis:
    """Scales one axis of one plane, part by part; a part is a patch, or a strip of one.

    Attributes:
        starts: (parts,) intp, first sample that the part reads.
        weights: (parts, part_px, window) float32: integers, each row sums to `WEIGHT_ONE`.
    """

    starts: npt.NDArray[np.intp]
    weights: FloatArray = field(repr=False)

    @property
    def window(self) -> int:
        """Samples that a part reads."""
        return int(self.weights.shape[2])

    @classmethod
    def build(cls, samples: int, extent: float, parts: int, part_px: int) -> _Axis:
        """Makes the filter: area average when shrinking, bilinear when enlarging.

        Args:
            samples: In the plane.
            extent: Length of the picture in samples; half a sample less than `samples` in chroma of odd sizes.
            parts: Along the axis.
            part_px: Length of a part in model pixels.
        """
        scale = extent / (parts * part_px)
        first, taps = (_area if scale >= 1 else _bilinear)(samples, scale, parts * part_px)
        whole = _round_rows(taps).reshape(parts, part_px, -1)
        first = first.reshape(parts, part_px)
        last = first + whole.shape[2]
        window = min(samples, int((last.max(axis=1) - first.min(axis=1)).max()))
        starts = np.minimum(first.min(axis=1), samples - window)
        weights = np.zeros((parts, part_px, window + whole.shape[2]), np.float32)
        columns = (first - starts[:, None])[:, :, None] + np.arange(whole.shape[2])
        np.put_along_axis(weights, columns, whole, axis=2)
        return cls(starts, np.ascontiguousarray(weights[:, :, :window]))


class PatchCropper:
    """Makes the encoder's input for any patches of a picture.

    Patch (r, c) covers luma samples c * width / cols .. (c + 1) * width / cols and rows likewise, edges between
    samples counted by area. The planes are scaled first, then converted to RGB, clipped and normalised.
    A patch comes out bit for bit the same, whichever others are cropped with it.

    Args:
        grid: (rows, cols) of patches.
        size: (width, height) of the picture in luma samples.
        patch_px: Side of a patch in model pixels.
        mean: RGB mean, in 0..1.
        std: RGB standard deviation, in 0..1.
    """

    def __init__(
        self,
        grid: tuple[int, int],
        size: tuple[int, int],
        *,
        patch_px: int,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        if min(*grid, *size, patch_px) < 1:
            raise ValueError(f"no patches of {patch_px} px in a {grid} grid over {size} samples")
        self.grid = grid
        self.size = size
        self.patch_px = patch_px
        self._mean = np.asarray(mean, np.float32)
        self._std = np.asarray(std, np.float32)
        (rows, cols), (width, height) = grid, size
        strips = math.gcd(patch_px, STRIPS)
        self._luma = (
            _Axis.build(height, height, rows * strips, patch_px // strips),
            _Axis.build(width, width, cols, patch_px),
        )
        self._chroma = (
            _Axis.build((height + 1) // 2, height / 2, rows * strips, patch_px // strips),
            _Axis.build((width + 1) // 2, width / 2, cols, patch_px),
        )

    def crop(self, picture: Picture, indices: npt.NDArray[np.int32]) -> Patches:
        """Cuts some patches.

        Args:
            picture: Of the size given at construction.
            indices: (n,) int32, flat patch numbers (row * cols + col).

        Raises:
            ValueError: The picture has another size, or an index is outside the grid.
        """
        if (picture.width, picture.height) != self.size:
            raise ValueError(
                f"the picture is {picture.width}x{picture.height}, the cropper {self.size[0]}x{self.size[1]}"
            )
        indices = np.asarray(indices, np.int32)
        if indices.size and (indices.min() < 0 or indices.max() >= self.grid[0] * self.grid[1]):
            raise ValueError(f"patch index outside 0..{self.grid[0] * self.grid[1] - 1}")
        pixels = np.empty((indices.size, 3, self.patch_px, self.patch_px), np.float32)
        for start in range(0, indices.size, CHUNK):
            rows, cols = np.divmod(indices[start : start + CHUNK], self.grid[1])
            y = _scale(picture.y, *self._luma, rows, cols)
            u = _scale(picture.u, *self._chroma, rows, cols)
            v = _scale(picture.v, *self._chroma, rows, cols)
            self._normalise(picture, y, u, v, out=pixels[start : start + CHUNK])
        return Patches(indices, pixels, self.grid)

    def _normalise(
        self, picture: Picture, y: FloatArray, u: FloatArray, v: FloatArray, *, out: FloatArray
    ) -> None:
        matrix, offset = yuv_to_rgb(picture.matrix, full_range=picture.full_range)
        matrix = matrix / np.float32(WEIGHT_ONE * WEIGHT_ONE)
        for channel, (by, bu, bv) in enumerate(matrix):  # one operation at a time: the same on every CPU
            colour = out[:, channel]
            np.multiply(y, by, out=colour)
            colour += offset[channel]
            if bu:
                colour += u * bu
            if bv:
                colour += v * bv
        np.clip(out, 0.0, 1.0, out=out)
        out -= self._mean[:, None, None]
        out /= self._std[:, None, None]


def _scale(
    plane: Plane, vertical: _Axis, horizontal: _Axis, rows: npt.NDArray[np.int32], cols: npt.NDArray[np.int32]
) -> FloatArray:
    """Gathers the windows of every patch and filters both axes: (n, patch_px, patch_px), times WEIGHT_ONE^2."""
    patch_px = horizontal.weights.shape[1]
    strips = patch_px // vertical.weights.shape[1]
    at = rows[:, None] * strips + np.arange(strips)  # (n, strips)
    windows = sliding_window_view(plane, (vertical.window, horizontal.window))
    blocks = windows[vertical.starts[at], horizontal.starts[cols][:, None]].astype(np.float32)
    half = (vertical.weights[at] @ blocks).reshape(rows.size, patch_px, horizontal.window)
    scaled: FloatArray = half @ horizontal.weights[cols].transpose(0, 2, 1)
    return scaled


def _area(samples: int, scale: float, pixels: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """First sample and weights of the area average: pixel k covers k * scale .. (k + 1) * scale."""
    edges = np.arange(pixels + 1) * scale
    first = np.minimum(np.floor(edges[:-1] + 1e-9).astype(np.intp), samples - 1)
    count = int(np.ceil(scale)) + 1
    at = first[:, None] + np.arange(count)
    shared = np.minimum(edges[1:, None], at + 1) - np.maximum(edges[:-1, None], at)
    shared[at >= samples] = 0
    return first, shared.clip(0) / shared.clip(0).sum(axis=1, keepdims=True)


def _bilinear(
    samples: int, scale: float, pixels: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """First sample and two weights: pixel k samples at (k + 0.5) * scale - 0.5, edges repeated."""
    centre = ((np.arange(pixels) + 0.5) * scale - 0.5).clip(0, samples - 1)
    first = np.floor(centre).astype(np.intp)
    share = centre - first
    return first, np.stack([1 - share, share], axis=1)


def _round_rows(weights: npt.NDArray[np.float64]) -> FloatArray:
    """Rounds each row to integers that sum to `WEIGHT_ONE`: the largest remainders are rounded up."""
    scaled = weights * WEIGHT_ONE
    whole = np.floor(scaled)
    missing = np.rint(WEIGHT_ONE - whole.sum(axis=1)).astype(np.intp)
    order = np.argsort(np.argsort(whole - scaled, axis=1, kind="stable"), axis=1)
    rounded: FloatArray = (whole + (order < missing[:, None])).astype(np.float32)
    return rounded
