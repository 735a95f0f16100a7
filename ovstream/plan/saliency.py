"""How much each patch changed, in absolute units, from what the codec spent on it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ovstream.config import PlanConfig
from ovstream.plan.grid import CELL_PX, PatchGrid
from ovstream.types import BlockClass, BoolArray, FloatArray, FrameMetadata

# What makes evidence of 1.0 in a cell. Fitted on surveillance streams of several encoders: one threshold finds 95 %
# of the patches that really changed between two pictures.
RESIDUAL_RMS = 3.0  # grey levels, root mean square over the cell
MOTION_PX = 3.3  # but no more than MAX_MOTION: long vectors say little about how much changed
MAX_MOTION = 0.9
BITS = 200.0
OLDER_REFERENCE = 0.7  # background that comes back from behind an object is fetched from an older picture
RECODED = 0.7  # coded without reference in a picture that has them, plus ...
NOVEL = 2.7  # ... this for a texture twice or half as strong as when the cell was last coded so
NOVEL_AMPLITUDE = 0.4  # relative difference of texture between two I pictures, beyond noise
SMALL_AMPLITUDE = 2.0 * CELL_PX  # texture of 2 grey levels RMS, to which differences are relative in flat cells
UNKNOWN = 1e3
FOCUS = 0.3  # weight of a patch's strongest cell against its average


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What one picture says about its patches.

    Attributes:
        saliency: (rows, cols) float32, 1.0 = changed.
        unknown: (rows, cols) bool, patches with cells that the parser does not know.
        recoded_share: Share of cells coded without reference to other pictures.
        novel_share: Share of those cells that look unlike when they were last coded so.
    """

    saliency: FloatArray = field(repr=False)
    unknown: BoolArray = field(repr=False)
    recoded_share: float
    novel_share: float


class NoiseFloor:
    """Running percentile of each cell's evidence, learnt from the pictures themselves.

    A step up when the evidence lies above the floor, a smaller one down when below: the steps balance at the
    percentile. The logarithm is stepped, so that floors follow a change of the gain (day to night) in seconds.
    Whether a strong signal was noise only pixels can tell: where somebody looked, `teach` moves the floor quickly.

    Args:
        cells_shape: (mb_rows, mb_cols).
        percentile: Of a quiet cell's evidence, 0..100.
    """

    CAP = 1.3  # noise above this, a real change must be: objects cannot teach a cell to ignore them
    LOWEST = 0.1
    STEP = 0.03  # natural logarithm, per picture
    NOISE_STEP = 0.4
    CHANGE_STEP = -0.3

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
        step = self._down + (evidence > self.level) * (self._up - self._down)
        np.multiply(self.level, step, out=self.level, where=quiet)
        np.clip(self.level, self.LOWEST, self.CAP, out=self.level)

    def teach(self, cells: BoolArray, *, noise: bool) -> None:
        """Learns from pixels whether the evidence of the last picture was noise, in `cells`."""
        step = np.float32(np.exp(self.NOISE_STEP if noise else self.CHANGE_STEP))
        where = cells & (self._evidence > self.level) if noise else cells
        np.multiply(self.level, step, out=self.level, where=where)


class SaliencyMeter:
    """Fuses motion beside the camera's, residual energy and bits into change per patch.

    Units are absolute (grey levels, samples, bits) over a floor learnt per cell, never relative to the picture's
    own maximum: in a quiet picture noise stays small.

    Args:
        grid: Of the stream.
        config: `noise_percentile` and `sensitivity` are read.
    """

    GAIN = 1.5  # a change stands this far above the floor

    def __init__(self, grid: PatchGrid, config: PlanConfig) -> None:
        self._grid = grid
        self._sensitivity = np.float32(config.sensitivity)
        self._floor = NoiseFloor(grid.cells_shape, percentile=config.noise_percentile)
        self._texture = np.full(grid.cells_shape, np.nan, np.float32)
        self._nothing = np.zeros(grid.shape, np.bool_)

    def measure(self, frame: FrameMetadata, moved_px: FloatArray, *, learn: bool = True) -> Evidence:
        """Measures one picture.

        Args:
            frame: Of the size of the grid.
            moved_px: (mb_rows, mb_cols) float32, from `MotionReader.read`.
            learn: False while the camera moves: what is seen then is no noise.
        """
        rows, cols = self._grid.cells_shape
        blocks = frame.blocks[:rows, :cols]
        kind = np.ascontiguousarray(blocks["block_class"])
        amplitude = np.sqrt(blocks["residual_energy"])
        recoded = kind >= BlockClass.INTRA
        unknown = kind == BlockClass.UNKNOWN
        novelty = self._compare_texture(amplitude, recoded)
        if frame.slice_type == "I":
            cells = np.zeros((rows, cols), np.float32)
            cells[recoded] = novelty * np.float32(1 / NOVEL_AMPLITUDE)
        else:
            evidence = self._inter_evidence(blocks, amplitude, moved_px)
            evidence[recoded] = np.float32(RECODED) + np.float32(NOVEL) * novelty
            cells = evidence / np.maximum(self._floor.level * np.float32(self.GAIN), 1)
        cells *= self._sensitivity
        cells[unknown] = UNKNOWN
        saliency = self._to_patches(cells)
        if learn and frame.slice_type != "I":
            self._floor.learn(evidence, self._grid.to_cells(saliency < 1))
        return Evidence(
            saliency=saliency,
            unknown=self._grid.to_patches_max(unknown) > 0 if unknown.any() else self._nothing,
            recoded_share=novelty.size / recoded.size,
            novel_share=float(np.mean(novelty >= NOVEL_AMPLITUDE)) if novelty.size else 0.0,
        )

    def teach(self, patches: BoolArray, *, noise: bool) -> None:
        """Learns from pixels whether what the last picture showed in `patches`, (rows, cols), was noise."""
        self._floor.teach(self._grid.to_cells(patches), noise=noise)

    @staticmethod
    def _inter_evidence(
        blocks: npt.NDArray[np.void], amplitude: FloatArray, moved_px: FloatArray
    ) -> FloatArray:
        """(mb_rows, mb_cols) float32, without the floor."""
        evidence = np.square(amplitude * np.float32(1 / (RESIDUAL_RMS * CELL_PX)))
        evidence += np.minimum(moved_px * np.float32(1 / MOTION_PX), np.float32(MAX_MOTION))
        evidence += blocks["bit_cost"] * np.float32(1 / BITS)
        evidence += (blocks["ref_idx"][:, :, 0] > 0) * np.float32(OLDER_REFERENCE)
        return evidence

    def _compare_texture(self, amplitude: FloatArray, recoded: BoolArray) -> FloatArray:
        """Compares the cells coded without reference with the last time they were, and remembers them.

        A keyframe of a still camera, or the moving column of a periodic intra refresh, codes the same texture
        again: that is no change.

        Args:
            amplitude: (mb_rows, mb_cols) float32, root of `residual_energy`.
            recoded: (mb_rows, mb_cols) bool.

        Returns:
            (n,) float32, relative difference 0..2 of the n recoded cells; cells never seen so count as novel.
        """
        now, before = amplitude[recoded], self._texture[recoded]
        self._texture[recoded] = now
        difference = np.abs(now - before) / ((now + before) * np.float32(0.5) + np.float32(SMALL_AMPLITUDE))
        np.nan_to_num(difference, copy=False, nan=NOVEL_AMPLITUDE)
        return difference

    def _to_patches(self, cells: FloatArray) -> FloatArray:
        """Weighted geometric mean of a patch's average and its strongest cell: small things count too."""
        average, strongest = self._grid.to_patches_mean(cells), self._grid.to_patches_max(cells)
        fused: FloatArray = average ** np.float32(1 - FOCUS) * strongest ** np.float32(FOCUS)
        return fused
