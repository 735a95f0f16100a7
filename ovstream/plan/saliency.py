"""How much each patch changed, in absolute units, from what the codec spent on it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ovstream.config import PlanConfig
from ovstream.plan import texture
from ovstream.plan.grid import CELL_PX, PatchGrid
from ovstream.plan.noise_floor import NoiseFloor
from ovstream.plan.texture import TextureMemory
from ovstream.types import BlockClass, BoolArray, FloatArray, FrameMetadata

BlockClasses = npt.NDArray[np.uint8]

# What makes evidence of 1.0 in a cell. Fitted on surveillance streams of several encoders: one threshold finds 95 %
# of the patches that really changed between two pictures.
RESIDUAL_RMS = 3.0  # grey levels, root mean square over the cell
MOTION_PX = 3.3  # but no more than MAX_MOTION: long vectors say little about how much changed
MAX_MOTION = 0.9
BITS = 200.0
OLDER_REFERENCE = 0.7  # background that comes back from behind an object is fetched from an older picture
RECODED = 0.7  # coded without reference in a picture that has them, plus ...
RENEWED = 2.7  # ... this for a texture twice or half as strong as when the cell was last coded so
UNKNOWN = 1e3
FOCUS = 0.3  # weight of a patch's strongest cell against its average


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What one picture says about its patches.

    Attributes:
        saliency: (rows, cols) float32, 1.0 = changed.
        unknown: (rows, cols) bool, patches with cells that the parser does not know.
        cut: Another scene.
        texture_only: The picture has no motion: `saliency` compares textures with the I picture before.
        unread: The cells were not parsed: a costly picture counts as changed everywhere, others say nothing.
    """

    saliency: FloatArray = field(repr=False)
    unknown: BoolArray = field(repr=False)
    cut: bool = False
    texture_only: bool = False
    unread: bool = False


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
        self._textures = TextureMemory(grid.cells_shape)

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
        amplitude: FloatArray = np.sqrt(blocks["residual_energy"])
        if frame.unread and frame.slice_type != "I":
            return self._of_nothing(costly=frame.unread == "costly")
        if frame.origin != "bitstream":  # a decoder measured the difference to the picture before
            lost = np.full((rows, cols), frame.coverage < 1)
            return self._of_changes(_residual(amplitude), lost, learn=learn)
        if frame.slice_type == "I":
            return self._of_textures(amplitude, kind, unread=frame.unread != "")
        recoded = kind >= BlockClass.INTRA
        novelty = self._textures.compare(amplitude, recoded)
        evidence = _residual(amplitude)
        evidence += np.minimum(moved_px * np.float32(1 / MOTION_PX), np.float32(MAX_MOTION))
        evidence += blocks["bit_cost"].astype(np.float32) * np.float32(1 / BITS)
        evidence += (blocks["ref_idx"][:, :, 0] > 0) * np.float32(OLDER_REFERENCE)
        if novelty.difference.size:
            evidence[recoded] = np.float32(RECODED) + np.float32(RENEWED) * novelty.difference
        return self._of_changes(evidence, kind == BlockClass.UNKNOWN, learn=learn, cut=novelty.cut)

    def teach(self, patches: BoolArray, *, noise: bool) -> None:
        """Learns from pixels whether what the last picture showed in `patches`, (rows, cols), was noise."""
        self._floor.teach(self._grid.to_cells(patches), noise=noise)

    def _of_changes(
        self, evidence: FloatArray, unknown: BoolArray, *, learn: bool, cut: bool = False
    ) -> Evidence:
        cells: FloatArray = evidence / np.maximum(self._floor.level * np.float32(self.GAIN), 1)
        saliency = self._to_patches(cells, unknown)
        if learn:
            self._floor.learn(evidence, self._grid.to_cells(saliency < 1))
        return Evidence(saliency, self._unknown_patches(unknown), cut=cut)

    def _of_nothing(self, *, costly: bool) -> Evidence:
        """A picture whose cells were not parsed."""
        saliency = np.full(self._grid.shape, costly, np.float32)
        return Evidence(saliency, np.zeros(self._grid.shape, np.bool_), unread=True)

    def _of_textures(self, amplitude: FloatArray, kind: BlockClasses, *, unread: bool) -> Evidence:
        recoded = (kind >= BlockClass.INTRA) & (not unread)
        unknown = kind == BlockClass.UNKNOWN
        novelty = self._textures.compare(amplitude, recoded)
        cells = np.zeros(kind.shape, np.float32)
        cells[recoded] = novelty.difference * np.float32(1 / texture.NOVEL)
        saliency = self._to_patches(cells, unknown)
        return Evidence(
            saliency, self._unknown_patches(unknown), cut=novelty.cut, texture_only=True, unread=unread
        )

    def _unknown_patches(self, unknown: BoolArray) -> BoolArray:
        if not unknown.any():
            return np.zeros(self._grid.shape, np.bool_)
        patches: BoolArray = self._grid.to_patches_max(unknown) > 0
        return patches

    def _to_patches(self, cells: FloatArray, unknown: BoolArray) -> FloatArray:
        """Weighted geometric mean of a patch's average and its strongest cell: small things count too."""
        cells *= self._sensitivity
        if unknown.any():
            cells[unknown] = UNKNOWN
        average, strongest = self._grid.to_patches_mean(cells), self._grid.to_patches_max(cells)
        fused: FloatArray = average ** np.float32(1 - FOCUS) * strongest ** np.float32(FOCUS)
        return fused


def _residual(amplitude: FloatArray) -> FloatArray:
    """Evidence of a residual, from the root of its energy."""
    evidence: FloatArray = np.square(amplitude * np.float32(1 / (RESIDUAL_RMS * CELL_PX)))
    return evidence
