"""How much each patch changed, in absolute units, from what the codec spent on it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ovstream.config import PlanConfig
from ovstream.plan.grid import CELL_PX, PatchGrid
from ovstream.types import BlockClass, BoolArray, FloatArray, FrameMetadata

# What one cell must show to count 1.0 where the floor is low.
RESIDUAL_RMS = 2.0  # grey levels, root mean square over the cell
MOTION_PX = 0.25  # the finest vector
BITS = 96.0
MAX_MOTION_EVIDENCE = 1.5  # the length of a vector says little about how much changed: it only speaks up
INTRA_EVIDENCE = 2.0  # a cell coded anew, unlike when it was last coded anew
UNKNOWN_EVIDENCE = 1e3


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
    Real objects cannot teach a cell to ignore them: a floor ends at `CAP` times what is usual in the picture.

    Args:
        cells_shape: (mb_rows, mb_cols).
        percentile: Of a quiet cell's evidence, 0..100.
    """

    CAP = 4.0
    LOWEST = 0.05
    STEP = 0.12  # natural logarithm, per picture
    FIRST_FRAMES = 12  # while nothing is known steps are longer
    FIRST_STEP = 0.6
    USUAL_RATE = 0.1  # per picture

    def __init__(self, cells_shape: tuple[int, int], *, percentile: float) -> None:
        self._part = percentile / 100.0
        self._floor = np.full(cells_shape, self.LOWEST, np.float32)
        self._usual = 0.0
        self._frames = 0

    @property
    def level(self) -> FloatArray:
        """(mb_rows, mb_cols) float32, in units of evidence."""
        return self._floor

    def learn(self, evidence: FloatArray) -> None:
        """Takes the evidence, (mb_rows, mb_cols), of one more picture."""
        self._frames += 1
        first = self._frames <= self.FIRST_FRAMES
        step = self.FIRST_STEP if first else self.STEP
        sample = evidence.ravel()[:: max(1, evidence.size // 1024)]
        usual = float(np.partition(sample, sample.size // 2)[sample.size // 2])
        rate = max(self.USUAL_RATE, 1.0 / self._frames)
        self._usual += rate * (usual - self._usual)
        down, up = np.exp(-step * (1 - self._part)), np.exp(step * self._part)
        self._floor *= np.float32(down) + (evidence > self._floor) * np.float32(up - down)
        np.clip(self._floor, self.LOWEST, self.CAP * max(1.0, self._usual), out=self._floor)


class SaliencyMeter:
    """Fuses motion beside the camera's, residual energy and bits into change per patch.

    Units are absolute (grey levels, samples, bits) over a floor learnt per cell, never relative to the picture's
    own maximum: in a quiet picture noise stays small.

    Args:
        grid: Of the stream.
        config: `noise_percentile` and `sensitivity` are read.
    """

    GAIN = 2.0  # a change stands this far above the floor
    FOCUS = 0.5

    def __init__(self, grid: PatchGrid, config: PlanConfig) -> None:
        self._grid = grid
        self._sensitivity = config.sensitivity
        self._floor = NoiseFloor(grid.cells_shape, percentile=config.noise_percentile)
        self._recoded = RecodedProfile(grid.cells_shape)
        self._none = np.zeros(grid.shape, np.bool_)

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
        energy = np.ascontiguousarray(blocks["residual_energy"])
        recoded = kind >= BlockClass.INTRA
        unknown = kind == BlockClass.UNKNOWN
        if frame.slice_type == "I":
            evidence = np.zeros((rows, cols), np.float32)
        else:
            evidence = energy * np.float32(1 / (RESIDUAL_RMS**2 * CELL_PX**2))
            evidence += np.minimum(moved_px * np.float32(1 / MOTION_PX), np.float32(MAX_MOTION_EVIDENCE))
        evidence[recoded] = 0
        novelty = self._recoded.compare(energy, recoded)
        if frame.slice_type != "I" and learn:
            self._floor.learn(evidence)
        evidence *= np.float32(self._sensitivity)
        evidence /= np.maximum(self._floor.level * np.float32(self.GAIN), 1)
        evidence[recoded] = novelty * np.float32(INTRA_EVIDENCE)
        evidence[unknown] = UNKNOWN_EVIDENCE
        return Evidence(
            saliency=self._to_patches(evidence),
            unknown=self._grid.to_patches_max(unknown) > 0 if unknown.any() else self._none,
            recoded_share=novelty.size / recoded.size,
            novel_share=float(np.mean(novelty > 1)) if novelty.size else 0.0,
        )

    def _to_patches(self, cells: FloatArray) -> FloatArray:
        """Geometric mean of a patch's average and its strongest cell: small things count, single bits do not."""
        average, strongest = self._grid.to_patches_mean(cells), self._grid.to_patches_max(cells)
        fused: FloatArray = np.sqrt(average * strongest)
        return fused


class RecodedProfile:
    """Remembers what each cell's texture cost when it was last coded without reference to other pictures.

    A keyframe of a still camera, or the moving column of a periodic intra refresh, codes the same texture again:
    that is no change.

    Args:
        cells_shape: (mb_rows, mb_cols).
    """

    SMALL = 2.0 * CELL_PX  # amplitude under which differences do not count: 2 grey levels RMS
    NOISE_RATE = 0.2
    MIN_NOISE = 0.06
    GAIN = 6.0

    def __init__(self, cells_shape: tuple[int, int]) -> None:
        self._amplitude = np.full(cells_shape, np.nan, np.float32)
        self._noise: float | None = None

    def compare(self, energy: FloatArray, recoded: BoolArray) -> FloatArray:
        """Compares and remembers.

        Args:
            energy: (mb_rows, mb_cols) float32, `residual_energy`.
            recoded: (mb_rows, mb_cols) bool, cells coded without reference.

        Returns:
            (n,) float32 for the n recoded cells: relative difference from before, 1.0 = beyond noise; 1.0 for
            cells that were never seen so.
        """
        amplitude = np.sqrt(energy[recoded])
        before = self._amplitude[recoded]
        self._amplitude[recoded] = amplitude
        ratio = np.abs(amplitude - before) / ((amplitude + before) * 0.5 + self.SMALL)
        usual = float(np.median(ratio)) if ratio.size else np.nan
        if not np.isnan(usual):
            noise = usual if self._noise is None else self._noise
            self._noise = noise + self.NOISE_RATE * (usual - noise)
        scale = 1 / (self.GAIN * max(self._noise or 0.0, self.MIN_NOISE))
        return np.nan_to_num(ratio * np.float32(scale), copy=False, nan=1.0)

