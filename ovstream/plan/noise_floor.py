"""What evidence is usual in each cell of a quiet picture."""

from __future__ import annotations

import numpy as np

from ovstream.types import BoolArray, FloatArray


class NoiseFloor:
    """Running percentile of each cell's evidence, learnt from the pictures themselves.

    A step up when the evidence lies above the floor, a smaller one down when below: the steps balance at the
    percentile. The logarithm is stepped, so that floors follow a change of the gain (day to night) in seconds.
    Whether a strong signal was noise only pixels can tell: where somebody looked, `teach` moves the floor quickly.

    Args:
        cells_shape: (mb_rows, mb_cols).
        percentile: Of a quiet cell's evidence, 0..100.
    """

    CAP = 2.5  # noise stays below, most real changes lie above: objects cannot teach a cell to ignore them
    LOWEST = 0.1
    STEP = 0.05  # natural logarithm, per picture
    NOISE_STEP = 0.5
    CHANGE_STEP = -0.8

    def __init__(self, cells_shape: tuple[int, int], *, percentile: float) -> None:
        part = percentile / 100.0
        self._down = np.float32(np.exp(-self.STEP * (1 - part)))
        self._up = np.float32(np.exp(self.STEP * part))
        self.level = np.full(cells_shape, self.LOWEST, np.float32)
        self._evidence = np.zeros(cells_shape, np.float32)

    def learn(self, evidence: FloatArray, quiet: BoolArray) -> None:
        """Takes one more picture.

        Args:
            evidence: (mb_rows, mb_cols) float32.
            quiet: (mb_rows, mb_cols) bool, where no change is going on.
        """
        self._evidence = evidence
        step = (evidence > self.level) * (self._up - self._down)
        step += self._down - np.float32(1)
        step *= quiet
        step += np.float32(1)
        self.level *= step
        np.clip(self.level, self.LOWEST, self.CAP, out=self.level)

    def teach(self, cells: BoolArray, *, noise: bool) -> None:
        """Learns from pixels whether the evidence of the last picture was noise, in `cells`."""
        step = np.float32(np.exp(self.NOISE_STEP if noise else self.CHANGE_STEP))
        where = cells & (self._evidence > self.level) if noise else cells
        np.multiply(self.level, step, out=self.level, where=where)
