"""A decoded picture: planes, and what their numbers mean as colour."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.uint8]
Matrix = Literal["bt601", "bt709", "fcc", "smpte240m", "bt2020"]

# (Kr, Kb) by matrix: ITU-T H.273 table 4.
LUMA_WEIGHTS: dict[Matrix, tuple[float, float]] = {
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "fcc": (0.30, 0.11),
    "smpte240m": (0.212, 0.087),
    "bt2020": (0.2627, 0.0593),
}


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One decoded picture, 8-bit 4:2:0.

    The planes are read-only views on the decoder's buffer; it lives as long as one of them.

    Attributes:
        y: (height, width) uint8.
        u: (ceil(height / 2), ceil(width / 2)) uint8.
        v: The same as `u`.
        pts: Of the access unit.
        full_range: Luma 0..255 is black to white, else 16..235.
        matrix: How RGB became YUV.
        damaged: The decoder made up parts of a picture that this one may refer to.
    """

    y: Plane = field(repr=False)
    u: Plane = field(repr=False)
    v: Plane = field(repr=False)
    pts: int | None
    full_range: bool
    matrix: Matrix
    damaged: bool = False

    @property
    def width(self) -> int:
        """Luma samples."""
        return int(self.y.shape[1])

    @property
    def height(self) -> int:
        """Luma samples."""
        return int(self.y.shape[0])

    def shrunk(self, factor: int) -> Picture:
        """Averages squares of `factor` samples, for a preview; what does not fill a square at the end is left out."""
        if factor == 1:
            return self
        rows, cols = self.height // factor, self.width // factor
        halves = (rows + 1) // 2, (cols + 1) // 2
        y = _averaged(self.y, (rows, cols), factor)
        u, v = (_averaged(plane, halves, factor) for plane in (self.u, self.v))
        return Picture(y, u, v, self.pts, self.full_range, self.matrix, self.damaged)

    def to_rgb(self) -> npt.NDArray[np.uint8]:
        """Converts the whole picture, for people: (height, width, 3) uint8."""
        height, width = self.y.shape
        matrix, offset = yuv_to_rgb(self.matrix, full_range=self.full_range)
        yuv = np.empty((3, height, width), np.float32)
        yuv[0] = self.y
        for plane, target in ((self.u, yuv[1]), (self.v, yuv[2])):
            target[:] = plane.repeat(2, axis=0)[:height].repeat(2, axis=1)[:, :width]
        rgb = np.tensordot(yuv, matrix, axes=(0, 1)) + offset
        return (rgb * 255.0 + 0.5).clip(0, 255).astype(np.uint8)


def _averaged(plane: Plane, shape: tuple[int, int], factor: int) -> Plane:
    """Means over squares; a last square that reaches over the edge repeats the samples there."""
    wanted = shape[0] * factor, shape[1] * factor
    missing = [max(0, side - have) for side, have in zip(wanted, plane.shape, strict=True)]
    if any(missing):
        plane = np.pad(plane, [(0, missing[0]), (0, missing[1])], mode="edge")
    squares = plane[: wanted[0], : wanted[1]].reshape(shape[0], factor, shape[1], factor)
    means: Plane = squares.mean(axis=(1, 3), dtype=np.float32).astype(np.uint8)
    return means


def yuv_to_rgb(
    matrix: Matrix, *, full_range: bool
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Builds the affine map from 8-bit YUV to RGB in 0..1 (ITU-T H.273 8.3, solved for RGB).

    Returns:
        matrix: (3, 3) float32, rows R, G, B over columns Y, U, V.
        offset: (3,) float32: `rgb = matrix @ yuv + offset`.
    """
    kr, kb = LUMA_WEIGHTS[matrix]
    kg = 1.0 - kr - kb
    luma, chroma, black = (255.0, 255.0, 0.0) if full_range else (219.0, 224.0, 16.0)
    weights = np.array(
        [
            [1.0, 0.0, 2 * (1 - kr)],
            [1.0, -2 * kb * (1 - kb) / kg, -2 * kr * (1 - kr) / kg],
            [1.0, 2 * (1 - kb), 0.0],
        ]
    ) / [luma, chroma, chroma]
    offset = -weights @ [black, 128.0, 128.0]
    return weights.astype(np.float32), offset.astype(np.float32)
