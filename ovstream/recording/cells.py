"""What the planner reads of a picture's cells, in a few bits each.

A cell is one byte: its class, whether it is divided, which lists it refers to, whether it has a residual, whether it took
bits. What it has goes to columns of its own: vectors as differences from the cell before, residual energy and bits in
steps of an eighth of their power of two.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ovstream.recording.columns import Columns
from ovstream.types import BLOCK_DTYPE, FLAG_SPLIT, SPLIT_DTYPE, FloatArray, FrameMetadata

_KIND, _SPLIT, _LIST_0, _LIST_1, _ENERGY, _BITS = 7, 8, 16, 32, 64, 128
_DROPPED_BITS = 20  # of a float32: three bits of the fraction stay
_BELOW = (127 - 2 << 3) - 1  # the step below 1/4, where the scale begins
_LEVELS: FloatArray = ((np.arange(256, dtype=np.uint32) + _BELOW) << _DROPPED_BITS).view(np.float32)
_LEVELS[0] = 0
_ESCAPE = 255


def coarse(frame: FrameMetadata) -> FrameMetadata:
    """The same picture with residual energy and bits as `put_cells` keeps them: at most 6 % off."""
    blocks = frame.blocks.copy()
    blocks["residual_energy"] = _LEVELS[_steps(blocks["residual_energy"])]
    blocks["bit_cost"] = _LEVELS[_steps(blocks["bit_cost"])].astype(np.uint32)
    return replace(frame, blocks=blocks)


def put_cells(frame: FrameMetadata, columns: Columns) -> None:
    """Writes what the planner reads of a coarse picture."""
    blocks, splits = frame.blocks.ravel(), frame.splits
    references, vectors = blocks["ref_idx"], blocks["mv"].astype(np.int32)
    energy, bits = _steps(blocks["residual_energy"]), _steps(blocks["bit_cost"])
    past = references[:, 0] >= 0
    future = ~past & (references[:, 1] >= 0)
    divided = (blocks["flags"] & FLAG_SPLIT) != 0
    cells = blocks["block_class"] & _KIND
    for mark, where in (
        (_SPLIT, divided), (_LIST_0, past), (_LIST_1, future), (_ENERGY, energy > 0), (_BITS, bits > 0),
    ):  # fmt: skip
        cells |= where.astype(np.uint8) * np.uint8(mark)
    columns.put("cell", cells)
    columns.put("energy", energy[energy > 0])
    columns.put("bits", bits[bits > 0])
    columns.put("reference", references[past, 0])
    _put_vectors("vector", np.diff(vectors[past, 0], axis=0, prepend=0), columns)
    _put_vectors("future", np.diff(vectors[future, 1], axis=0, prepend=0), columns)
    numbers = blocks["split"][divided]
    own = np.where(past[divided, None], vectors[divided, 0], 0)
    parts = splits["mv"][numbers, 0].astype(np.int32)
    _put_vectors("part", np.diff(parts, axis=1, prepend=own[:, None]), columns)
    columns.put("quadrant", splits["ref_idx"][numbers, 0])


def take_cells(rows: int, cols: int, columns: Columns) -> tuple[npt.NDArray[np.void], npt.NDArray[np.void]]:
    """(rows, cols) blocks and (n,) splits; what the planner does not read is 0.

    Raises:
        ValueError: They are not there.
    """
    cells = columns.take("cell", np.uint8, rows * cols)
    blocks = np.zeros(rows * cols, BLOCK_DTYPE)
    blocks["ref_idx"] = -1
    blocks["block_class"] = cells & _KIND
    for name, mark, column in (("residual_energy", _ENERGY, "energy"), ("bit_cost", _BITS, "bits")):
        where = (cells & mark) != 0
        blocks[name][where] = _LEVELS[columns.take(column, np.uint8, _count(where))]
    past, future, divided = ((cells & mark) != 0 for mark in (_LIST_0, _LIST_1, _SPLIT))
    blocks["ref_idx"][past, 0] = columns.take("reference", np.int8, _count(past))
    blocks["ref_idx"][future, 1] = 0
    for name, where, number in (("vector", past, 0), ("future", future, 1)):
        blocks["mv"][where, number] = _take_vectors(name, (_count(where),), columns).cumsum(axis=0)
    count = _count(divided)
    splits = np.zeros(count, SPLIT_DTYPE)
    blocks["flags"][divided] = FLAG_SPLIT
    blocks["split"][divided] = np.arange(count)
    parts = _take_vectors("part", (count, 16), columns).cumsum(axis=1)
    splits["mv"][:, 0] = parts + blocks["mv"][divided, 0][:, None]
    splits["ref_idx"][:, 0] = columns.take("quadrant", np.int8, 4 * count).reshape(count, 4)
    return blocks.reshape(rows, cols), splits


def _count(where: npt.NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(where))


def _steps(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Number of the nearest level."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    steps = (bits + np.uint32(1 << _DROPPED_BITS - 1)) >> np.uint32(_DROPPED_BITS)
    return np.clip(steps.astype(np.int32) - _BELOW, 0, 255).astype(np.uint8)


def _put_vectors(name: str, steps: npt.NDArray[np.int32], columns: Columns) -> None:
    """Differences as small unsigned numbers, x and y apart; large ones stand behind a mark."""
    folded = (steps << 1 ^ steps >> 31).astype(np.uint32).reshape(-1, 2)
    for axis in range(2):
        values = folded[:, axis]
        columns.put(f"{name}.{'xy'[axis]}", np.minimum(values, _ESCAPE).astype(np.uint8))
        columns.put("large", values[values >= _ESCAPE])


def _take_vectors(name: str, shape: tuple[int, ...], columns: Columns) -> npt.NDArray[np.int32]:
    steps = np.empty((int(np.prod(shape)), 2), np.int32)
    for axis in range(2):
        values = columns.take(f"{name}.{'xy'[axis]}", np.uint8, len(steps)).astype(np.uint32)
        marked = values == _ESCAPE
        values[marked] = columns.take("large", np.uint32, _count(marked))
        steps[:, axis] = (values >> 1).astype(np.int32) ^ -(values & 1).astype(np.int32)
    return steps.reshape(*shape, 2)
