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
IntArray = npt.NDArray[np.intp]


def new_blocks(width: int, height: int, block_class: BlockClass = BlockClass.UNKNOWN) -> Blocks:
    """Allocates cells without motion: (mb_rows, mb_cols) of `BLOCK_DTYPE`."""
    blocks = np.zeros((-(-height // CELL_PX), -(-width // CELL_PX)), BLOCK_DTYPE)
    blocks["ref_idx"] = -1
    blocks["block_class"] = block_class
    return blocks


def fill_motion(blocks: Blocks, exported: npt.NDArray[Any]) -> Splits:
    """Writes exported vectors (FFmpeg's AVMotionVector) into cells, and marks those cells INTER.

    Vectors come per block of 16x16, 16x8, 8x16, 8x8 or smaller; a cell of several blocks gets a split.
    The reference index is not exported: it is 0 where a list is used. Vectors that do not fit 16 bits or lie
    outside the picture are left out.

    Args:
        blocks: (mb_rows, mb_cols), changed in place.
        exported: (n,) records with dst_x, dst_y (centre), w, h, source, motion_x, motion_y, motion_scale.

    Returns:
        (splits,) of `SPLIT_DTYPE`.
    """
    vectors, left, top = _vectors(exported)
    wide, high = exported["w"].astype(np.intp) // SUB, exported["h"].astype(np.intp) // SUB
    rows, cols = top // SUB, left // SUB
    inside = (left >= 0) & (top >= 0) & (rows < blocks.shape[0]) & (cols < blocks.shape[1])
    inside &= (np.abs(vectors) < 2**15).all(axis=1) & (wide >= 1) & (high >= 1)
    lists = (exported["source"] > 0).astype(np.intp)
    whole = inside & (wide == SUB) & (high == SUB)
    at = rows[whole], cols[whole]
    blocks["mv"][*at, lists[whole]] = vectors[whole]
    blocks["ref_idx"][*at, lists[whole]] = 0
    blocks["block_class"][at] = BlockClass.INTER
    parts = inside & ~whole
    cells, slots = np.unique(rows[parts] * blocks.shape[1] + cols[parts], return_inverse=True)
    corner = top[parts] % SUB, left[parts] % SUB
    divided = _divide(cells.size, slots, lists[parts], corner, (high[parts], wide[parts]), vectors[parts])
    blocks["mv"].reshape(-1, 2, 2)[cells] = divided["mv"][:, :, 0]
    blocks["ref_idx"].reshape(-1, 2)[cells] = divided["ref_idx"][:, :, 0]
    blocks["block_class"].reshape(-1)[cells] = BlockClass.INTER
    blocks["flags"].reshape(-1)[cells] = FLAG_SPLIT
    blocks["split"].reshape(-1)[cells] = np.arange(cells.size)
    return divided


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
    energy = blocks["residual_energy"].astype(np.float64).ravel()
    total = energy.sum()
    share = energy / total if total > 0 else np.full(energy.size, 1 / energy.size)
    upto = np.rint(np.cumsum(share) * bits)  # rounding the running sum keeps the whole exact
    blocks["bit_cost"] = np.diff(upto, prepend=0).reshape(blocks.shape).astype(np.uint32)


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
    height, width = luma.shape
    columns = np.arange(0, width, CELL_PX)
    energy = np.empty((-(-height // CELL_PX), columns.size), np.float32)
    band = np.empty((CELL_PX, width), np.float32)  # one row of cells: stays in the cache
    for row, start in enumerate(range(0, height, CELL_PX)):
        stop = min(start + CELL_PX, height)
        distance = np.subtract(
            luma[start:stop], previous[start:stop], out=band[: stop - start], dtype=np.float32
        )
        np.multiply(distance, distance, out=distance)
        energy[row] = np.add.reduceat(distance.sum(axis=0), columns)
    return energy


def _vectors(exported: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], IntArray, IntArray]:
    """Vectors (n, 2) in quarter samples, and the corners (left, top) of their blocks in 4x4 units."""
    scale = np.maximum(exported["motion_scale"].astype(np.int64), 1)
    x, y = (exported[name].astype(np.int64) * QUARTERS // scale for name in ("motion_x", "motion_y"))
    left = (exported["dst_x"].astype(np.intp) - exported["w"] // 2) // SUB
    top = (exported["dst_y"].astype(np.intp) - exported["h"] // 2) // SUB
    return np.stack([x, y], axis=1), left, top


def _divide(
    count: int,
    slots: IntArray,
    lists: IntArray,
    corner: tuple[IntArray, IntArray],
    size: tuple[IntArray, IntArray],
    vectors: npt.NDArray[np.int64],
) -> Splits:
    """Paints blocks smaller than a cell into the 4x4 blocks of `count` cells."""
    mv = np.zeros((count, 2, SUB, SUB, 2), np.int16)
    used = np.zeros((count, 2, SUB, SUB), np.bool_)
    (top, left), (high, wide) = corner, size
    for down in range(SUB):
        for right in range(SUB):
            covers = (high > down) & (wide > right) & (top + down < SUB) & (left + right < SUB)
            at = slots[covers], lists[covers], top[covers] + down, left[covers] + right
            mv[at], used[at] = vectors[covers], True
    splits = np.zeros(count, SPLIT_DTYPE)
    splits["mv"] = mv.reshape(count, 2, SUB * SUB, 2)
    splits["ref_idx"] = np.where(used[:, :, ::2, ::2].reshape(count, 2, 4), 0, -1)
    return splits
