"""What cells looked like when they were last coded without reference to other pictures."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ovstream.plan.grid import CELL_PX
from ovstream.types import BoolArray, FloatArray

NOVEL = 0.4  # relative difference of amplitude: beyond the noise of the same scene coded twice
SMALL_AMPLITUDE = 2.0 * CELL_PX  # 2 grey levels RMS, to which differences are relative in flat cells
CUT_SHARE = 0.5  # of the cells coded without reference, and of those that are novel


@dataclass(frozen=True, slots=True, eq=False)
class Novelty:
    """How the cells coded without reference compare with before.

    Attributes:
        difference: (n,) float32 for the n cells, relative, 0..2; cells never seen so count as just novel.
        cut: Most cells of the picture were coded so, and show another scene.
    """

    difference: FloatArray = field(repr=False)
    cut: bool = False


NOTHING_RECODED = Novelty(np.zeros(0, np.float32))


class TextureMemory:
    """Tells new textures from old ones that are coded again.

    A keyframe of a still camera, or the moving column of a periodic intra refresh, codes the same texture again:
    that is no change.

    Args:
        cells_shape: (mb_rows, mb_cols).
    """

    def __init__(self, cells_shape: tuple[int, int]) -> None:
        self._amplitude = np.full(cells_shape, np.nan, np.float32)

    def compare(self, amplitude: FloatArray, recoded: BoolArray) -> Novelty:
        """Compares with before, and remembers.

        Args:
            amplitude: (mb_rows, mb_cols) float32, root of `residual_energy`.
            recoded: (mb_rows, mb_cols) bool, cells coded without reference.
        """
        now, before = amplitude[recoded], self._amplitude[recoded]
        if not now.size:
            return NOTHING_RECODED
        self._amplitude[recoded] = now
        difference = np.abs(now - before) / ((now + before) * np.float32(0.5) + np.float32(SMALL_AMPLITUDE))
        np.nan_to_num(difference, copy=False, nan=NOVEL)
        novel = int(np.count_nonzero(difference >= NOVEL))
        cut = now.size > CUT_SHARE * recoded.size and novel > CUT_SHARE * now.size
        return Novelty(difference.astype(np.float32, copy=False), cut)
