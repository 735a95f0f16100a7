"""Changes too small to be seen in one picture, summed until they count."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ovstream.types import BoolArray, FloatArray


class Pressure:
    """A cumulative sum (CUSUM) of each patch's saliency since it was last planned.

    Slow objects, fades and the trail of an object stay below the threshold picture by picture. What is usual for a
    patch, its running median, is taken off first: noise then sums to nothing.

    Args:
        patches: In the grid.
    """

    ENOUGH = 4.0  # summed saliency that is a change by itself
    DOUBT = 1.0  # summed saliency worth a look when the picture is decoded anyway
    MOST_USUAL = 0.5
    STEP = 0.02  # of the running median, per picture
    MARGIN = 0.05

    def __init__(self, patches: int) -> None:
        self._sum = np.zeros(patches, np.float32)
        self._usual = np.zeros(patches, np.float32)

    def add(self, saliency: FloatArray) -> BoolArray:
        """Takes the saliency, (patches,), of one more picture; returns where the sum became a change."""
        self._usual += np.where(saliency > self._usual, np.float32(self.STEP), np.float32(-self.STEP))
        np.clip(self._usual, 0, self.MOST_USUAL, out=self._usual)
        self._sum += np.minimum(saliency, 1) - self._usual - np.float32(self.MARGIN)
        np.maximum(self._sum, 0, out=self._sum)
        return self._sum >= self.ENOUGH

    def doubtful(self, count: int) -> npt.NDArray[np.intp]:
        """Gives up to `count` patches in doubt, the most doubtful first."""
        found = np.flatnonzero(self._sum >= self.DOUBT)
        return found[np.argsort(-self._sum[found], kind="stable")[:count]]

    def release(self, indices: npt.NDArray[np.integer]) -> None:
        """Starts the sums of planned patches again."""
        self._sum[indices] = 0
