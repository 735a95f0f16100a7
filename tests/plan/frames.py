"""Pictures made by hand: metadata with known motion, residual and texture."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from ovstream.types import (
    BLOCK_DTYPE,
    FLAG_SPLIT,
    SPLIT_DTYPE,
    BlockClass,
    BoolArray,
    FloatArray,
    FrameMetadata,
    SliceType,
)

FPS = 25
CHANGE_ENERGY = 256 * 30.0**2  # 30 grey levels over a whole cell


def cell_positions(rows: int, cols: int) -> tuple[FloatArray, FloatArray]:
    """(rows, cols) x and y of the cells' centres, from the centre of the picture, in samples."""
    y, x = np.mgrid[:rows, :cols]
    return (x - (cols - 1) / 2) * np.float32(16), (y - (rows - 1) / 2) * np.float32(16)


@dataclass
class PictureMaker:
    """Makes the pictures of one stream in order; the texture of intra pictures stays the same."""

    width: int = 640
    height: int = 360
    seed: int = 0
    index: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.shape = -(-self.height // 16), -(-self.width // 16)
        self.texture = np.exp(self.rng.uniform(np.log(5e2), np.log(2e5), self.shape)).astype(np.float32)

    def blocks(self, kind: BlockClass) -> npt.NDArray[np.void]:
        blocks = np.zeros(self.shape, BLOCK_DTYPE)
        blocks["block_class"] = kind
        intra = kind in (BlockClass.INTRA, BlockClass.UNKNOWN)
        blocks["ref_idx"] = (-1, -1) if intra else (0, -1)
        return blocks

    def intra(self, *, texture: FloatArray | None = None, noise: float = 0.03) -> FrameMetadata:
        """A keyframe; each cell's energy wobbles by the part `noise`."""
        blocks = self.blocks(BlockClass.INTRA)
        wobble = 1 + noise * self.rng.standard_normal(self.shape)
        blocks["residual_energy"] = (self.texture if texture is None else texture) * wobble
        blocks["bit_cost"] = blocks["residual_energy"] / 100
        return self.frame(blocks, slice_type="I")

    def inter(
        self,
        *,
        content_px: tuple[FloatArray | float, FloatArray | float] = (0.0, 0.0),
        energy: FloatArray | float = 0.0,
        **options: object,
    ) -> FrameMetadata:
        """A P picture whose content moved by (x, y) samples; cells with no energy and no motion are skipped."""
        blocks = self.blocks(BlockClass.INTER)
        for axis, moved in enumerate(content_px):
            blocks["mv"][:, :, 0, axis] = np.rint(np.asarray(moved) * -4)
        blocks["residual_energy"] = energy
        quiet = (blocks["residual_energy"] == 0) & (blocks["mv"][:, :, 0] == 0).all(axis=-1)
        blocks["block_class"][quiet] = BlockClass.SKIP
        blocks["bit_cost"][~quiet] = 40
        return self.frame(blocks, slice_type="P", **options)

    def quiet(self) -> FrameMetadata:
        return self.inter()

    def change(self, cells: BoolArray) -> FrameMetadata:
        """A P picture with a strong residual in some cells."""
        return self.inter(energy=np.where(cells, np.float32(CHANGE_ENERGY), np.float32(0)))

    def frame(
        self,
        blocks: npt.NDArray[np.void],
        *,
        slice_type: SliceType,
        splits: npt.NDArray[np.void] | None = None,
        reference: bool = True,
        coverage: float = 1.0,
        timed: bool = True,
        seconds: float | None = None,
    ) -> FrameMetadata:
        pts = self.index if seconds is None else round(seconds * FPS)
        self.index += 1
        return FrameMetadata(
            codec="h264",
            width=self.width,
            height=self.height,
            pts=pts if timed else None,
            time_base=Fraction(1, FPS),
            keyframe=slice_type == "I",
            reference=reference,
            slice_type=slice_type,
            poc=2 * self.index,
            coverage=coverage,
            origin="bitstream",
            bits=int(blocks["bit_cost"].sum()),
            blocks=blocks,
            splits=np.zeros(0, SPLIT_DTYPE) if splits is None else splits,
        )


def split_cell(
    blocks: npt.NDArray[np.void], row: int, col: int, part_mvs: npt.NDArray[np.int16]
) -> npt.NDArray[np.void]:
    """Divides one cell: `part_mvs` is (16, 2) in raster order; returns the split records of the picture."""
    splits = np.zeros(1, SPLIT_DTYPE)
    splits["mv"][0, 0] = part_mvs
    splits["ref_idx"][0] = ((0, 0, 0, 0), (-1, -1, -1, -1))
    blocks["flags"][row, col] |= FLAG_SPLIT
    blocks["split"][row, col] = 0
    blocks["mv"][row, col, 0] = part_mvs[0]
    return splits
