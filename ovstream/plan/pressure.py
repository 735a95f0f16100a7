"""Changes too small to be seen in one picture, summed until they count."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ovstream.types import BoolArray, FloatArray


class Pressure:
    """Leaky sum of each patch's saliency since it was last planned, as far as it is more than usual there.

    Slow objects and fades stay below the threshold picture by picture. The usual is a running percentile of the
    patch's saliency: noise sums to little. Beside a strong change little is enough for doubt: an object leaves a
    patch by small steps, and what is missed then stays wrong.

    Args:
        shape: (rows, cols) of the grid.
    """

    ENOUGH = 3.5  # a change by itself
    DOUBT = 0.5  # worth a look when the picture is decoded anyway
    TRACE = 0.15  # the same, after a strong change in the patch or beside it
    PART = 0.85  # percentile that is usual
    MOST_USUAL = 0.6
    STEP = 0.03
    KEPT = 0.995  # per picture

    def __init__(self, shape: tuple[int, int]) -> None:
        self._sum = np.zeros(shape, np.float32)
        self._usual = np.zeros(shape, np.float32)
        self._shaken = np.zeros(shape, np.bool_)

    def add(self, saliency: FloatArray) -> BoolArray:
        """Takes the saliency of one more picture; returns where the sum became a change, both (rows, cols)."""
        self._sum *= np.float32(self.KEPT)
        self._sum += np.clip(saliency - self._usual, 0, 1)
        above = saliency > self._usual
        self._usual += np.float32(self.STEP) * (above - np.float32(1 - self.PART))
        np.clip(self._usual, 0, self.MOST_USUAL, out=self._usual)
        self._shaken |= _widened(saliency >= 1)
        changed: BoolArray = self._sum >= self.ENOUGH
        return changed

    def doubtful(self, count: int) -> npt.NDArray[np.int32]:
        """Gives up to `count` patches in doubt, the most doubtful first."""
        found = np.flatnonzero(self._sum >= np.where(self._shaken, self.TRACE, self.DOUBT))
        return found[np.argsort(-self._sum.ravel()[found], kind="stable")[:count]].astype(np.int32)

    def release(self, indices: npt.NDArray[np.integer]) -> None:
        """Starts the sums of planned patches again."""
        self._sum.ravel()[indices] = 0
        self._shaken.ravel()[indices] = False


def _widened(mask: BoolArray) -> BoolArray:
    """(rows, cols) bool, with the eight neighbours of each true element."""
    lines = mask.copy()
    lines[1:] |= mask[:-1]
    lines[:-1] |= mask[1:]
    wide = lines.copy()
    wide[:, 1:] |= lines[:, :-1]
    wide[:, :-1] |= lines[:, 1:]
    return wide
