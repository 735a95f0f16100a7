"""Reads what FFmpeg exports beside a decoded frame into the planes of `FrameMetadata`."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ovstream.types import BLOCK_DTYPE, FLAG_SPLIT, SPLIT_DTYPE, BlockClass

CELL_PX = 16
QUARTERS = 4  # mv units per luma sample
SUB = 4  # 4x4 blocks per cell and axis
Blocks = npt.NDArray[Any]  # (mb_rows, mb_cols) of BLOCK_DTYPE
Splits = npt.NDArray[Any]  # (n,) of SPLIT_DTYPE


def new_blocks(width: int, height: int, block_class: BlockClass = BlockClass.UNKNOWN) -> Blocks:
    """Allocates cells without motion: (mb_rows, mb_cols) of `BLOCK_DTYPE`."""
    blocks = np.zeros((-(-height // CELL_PX), -(-width // CELL_PX)), BLOCK_DTYPE)
    blocks["ref_idx"] = -1
    blocks["block_class"] = block_class
    return blocks


def fill_motion(blocks: Blocks, exported: npt.NDArray[Any]) -> Splits:
    """Writes exported vectors (FFmpeg's AVMotionVector) into cells, and marks those cells INTER.

    Vectors come per block of 16x16, 16x8, 8x16, 8x8 or smaller; a cell whose 4x4 blocks differ gets a split.
    The reference index is not exported: it is 0 where a list is used. Vectors that do not fit 16 bits or lie
    outside the picture are left out.

    Args:
        blocks: (mb_rows, mb_cols), changed in place.
        exported: (n,) records with dst_x, dst_y (centre), w, h, source, motion_x, motion_y, motion_scale.

    Returns:
        (splits,) of `SPLIT_DTYPE`.
    """
    rows, cols = blocks.shape
    mv = np.zeros((2, rows * SUB, cols * SUB, 2), np.int16)
    used = np.zeros((2, rows * SUB, cols * SUB), np.bool_)
    for width, height in _sizes(exported):
        some = exported[(exported["w"] == width) & (exported["h"] == height)]
        _paint(mv, used, some, max(1, width // SUB), max(1, height // SUB))
    # (cells, lists, 16 blocks, xy) and (cells, lists, 16 blocks)
    in_cells = (
        mv.reshape(2, rows, SUB, cols, SUB, 2).transpose(1, 3, 0, 2, 4, 5).reshape(rows, cols, 2, 16, 2)
    )
    used_in_cells = used.reshape(2, rows, SUB, cols, SUB).transpose(1, 3, 0, 2, 4).reshape(rows, cols, 2, 16)
    blocks["mv"] = in_cells[:, :, :, 0]
    blocks["ref_idx"] = np.where(used_in_cells[:, :, :, 0], 0, -1)
    blocks["block_class"][used_in_cells.any(axis=(2, 3))] = BlockClass.INTER
    differs = (in_cells != in_cells[:, :, :, :1]).any(axis=(2, 3, 4))
    differs |= (used_in_cells != used_in_cells[:, :, :, :1]).any(axis=(2, 3))
    splits = np.zeros(int(differs.sum()), SPLIT_DTYPE)
    splits["mv"] = in_cells[differs]
    splits["ref_idx"] = np.where(used_in_cells[differs][:, :, [0, 2, 8, 10]], 0, -1)
    blocks["split"][differs] = np.arange(splits.size)
    blocks["flags"][differs] |= FLAG_SPLIT
    return splits


def fill_qp(blocks: Blocks, raw: bytes) -> bool:
    """Writes the quantisers of FFmpeg's AVVideoEncParams side data into cells.

    Layout (libavutil/video_enc_params.h): nb_blocks u32, blocks_offset u64, block_size u64, type u32, qp i32,
    then per block src_x, src_y, w, h, delta_qp, all i32.

    Returns:
        Whether there was one for each macroblock.
    """
    if len(raw) < 32:
        return False
    count = int(np.frombuffer(raw, "<u4", 1)[0])
    offset, size = (int(value) for value in np.frombuffer(raw, "<u8", 2, offset=8))
    qp = int(np.frombuffer(raw, "<i4", 1, offset=28)[0])
    if count != blocks.size or size < 20 or offset + count * size > len(raw):
        return False
    records = np.frombuffer(raw, np.uint8, count * size, offset=offset).reshape(count, size)
    values = np.ascontiguousarray(records[:, :20]).view("<i4")
    blocks["qp"][values[:, 1] // CELL_PX, values[:, 0] // CELL_PX] = (qp + values[:, 4]).clip(-128, 127)
    return True


def spread_bits(blocks: Blocks, bits: int) -> None:
    """Estimates `bit_cost`: shares the bits of a picture among its cells in proportion to their energy."""
    energy = blocks["residual_energy"].astype(np.float64)
    total = energy.sum()
    share = energy / total if total > 0 else np.full(energy.shape, 1 / energy.size)
    blocks["bit_cost"] = np.minimum(share * bits, 2**32 - 1).astype(np.uint32)


def difference_energy(
    luma: npt.NDArray[np.uint8], previous: npt.NDArray[np.uint8]
) -> npt.NDArray[np.float32]:
    """Sums squared differences of two luma planes per cell.

    Args:
        luma: (height, width) uint8.
        previous: The same shape.

    Returns:
        (mb_rows, mb_cols) float32, squared sample units.
    """
    distance = (np.maximum(luma, previous) - np.minimum(luma, previous)).astype(np.float32)
    distance *= distance
    height, width = luma.shape
    by_row = np.add.reduceat(distance, np.arange(0, height, CELL_PX), axis=0)
    energy: npt.NDArray[np.float32] = np.add.reduceat(by_row, np.arange(0, width, CELL_PX), axis=1)
    return energy


def _sizes(exported: npt.NDArray[Any]) -> list[tuple[int, int]]:
    codes = np.unique(exported["w"].astype(np.int32) << 8 | exported["h"])
    return [(int(code) >> 8, int(code) & 255) for code in codes[::-1]]


def _paint(
    mv: npt.NDArray[np.int16], used: npt.NDArray[np.bool_], some: npt.NDArray[Any], wide: int, high: int
) -> None:
    """Writes vectors of blocks of one size into the 4x4 planes."""
    scale = np.maximum(some["motion_scale"].astype(np.int32), 1)
    x = some["motion_x"].astype(np.int32) * QUARTERS // scale
    y = some["motion_y"].astype(np.int32) * QUARTERS // scale
    left = some["dst_x"].astype(np.int32) // SUB - wide // 2
    top = some["dst_y"].astype(np.int32) // SUB - high // 2
    fits = (np.abs(x) < 2**15) & (np.abs(y) < 2**15) & (left >= 0) & (top >= 0)
    fits &= (left + wide <= mv.shape[2]) & (top + high <= mv.shape[1])
    lists = (some["source"] > 0).astype(np.intp)[fits]
    vectors = np.stack([x, y], axis=1)[fits].astype(np.int16)
    left, top = left[fits], top[fits]
    for down in range(high):
        for right in range(wide):
            mv[lists, top + down, left + right] = vectors
            used[lists, top + down, left + right] = True
