"""`FrameMetadata` in columns: all that the bitstream said, or what the planner reads of it."""

from __future__ import annotations

from dataclasses import fields
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from ovstream.recording.cells import put_cells, take_cells
from ovstream.recording.columns import Columns
from ovstream.types import BLOCK_DTYPE, SPLIT_DTYPE, FrameMetadata

_LISTS = {"list_ends": np.dtype("<u4"), "list_pocs": np.dtype("<i4")}
_APART = ("time_base", "blocks", "splits", *_LISTS)
_PLAIN = tuple(one.name for one in fields(FrameMetadata) if one.name not in _APART)
_MAX_CELLS = 1 << 20  # 16384 x 16384 luma samples


def pack_frame(frame: FrameMetadata, columns: Columns, *, whole: bool) -> list[Any]:
    """Puts the cells into columns and returns the rest as plain values.

    Args:
        frame: Coarse (`cells.coarse`), unless `whole`.
        columns: To be filled.
        whole: All that the bitstream said, exactly.
    """
    rows, cols = frame.mb_shape
    base = frame.time_base
    counts = []
    if whole:
        counts = [len(frame.splits), *(len(getattr(frame, name)) for name in _LISTS)]
        for name, records in (("block", frame.blocks), ("split", frame.splits)):
            for part in records.dtype.names or ():
                columns.put(f"{name}.{part}", records[part])
        for name, dtype in _LISTS.items():
            columns.put(name, getattr(frame, name).astype(dtype))
    else:
        put_cells(frame, columns)
    plain = [getattr(frame, name) for name in _PLAIN]
    return [plain, [base.numerator, base.denominator], [rows, cols], counts]


def unpack_frame(found: list[Any], columns: Columns) -> FrameMetadata:
    """Reads what `pack_frame` gave.

    Raises:
        ValueError: It is something else.
    """
    plain, (over, under), (rows, cols), counts = found
    if not 0 < rows * cols <= _MAX_CELLS:
        raise ValueError(f"a picture of {rows}x{cols} cells")
    lists: dict[str, Any] = {}
    if counts:
        split_count, *list_counts = counts
        blocks = _records("block", BLOCK_DTYPE, rows * cols, columns).reshape(rows, cols)
        splits = _records("split", SPLIT_DTYPE, split_count, columns)
        for (name, dtype), count in zip(_LISTS.items(), list_counts, strict=True):
            lists[name] = columns.take(name, dtype, count)
    else:
        blocks, splits = take_cells(rows, cols, columns)
    return FrameMetadata(
        **dict(zip(_PLAIN, plain, strict=True)),
        time_base=Fraction(over, under),
        blocks=blocks,
        splits=splits,
        **lists,
    )


def _records(name: str, dtype: np.dtype[Any], count: int, columns: Columns) -> npt.NDArray[Any]:
    records: npt.NDArray[Any] = np.empty(count, dtype)
    for part in dtype.names or ():
        column = records[part]
        records[part] = columns.take(f"{name}.{part}", column.dtype, column.size).reshape(column.shape)
    return records
