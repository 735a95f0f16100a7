"""`FrameMetadata` as bytes that deflate well: field by field instead of cell by cell."""

from __future__ import annotations

from dataclasses import fields
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from ovstream.types import BLOCK_DTYPE, SPLIT_DTYPE, FrameMetadata

_LISTS = {"list_ends": np.dtype("<u4"), "list_pocs": np.dtype("<i4")}
_APART = ("time_base", "blocks", "splits", *_LISTS)
_PLAIN = tuple(one.name for one in fields(FrameMetadata) if one.name not in _APART)
_MAX_CELLS = 1 << 20  # 16384 x 16384 luma samples


def pack_frame(frame: FrameMetadata) -> list[Any]:
    """Turns a frame into plain values."""
    rows, cols = frame.mb_shape
    base = frame.time_base
    return [
        [getattr(frame, name) for name in _PLAIN],
        [base.numerator, base.denominator],
        [rows, cols],
        _by_field(frame.blocks),
        _by_field(frame.splits),
        [getattr(frame, name).astype(dtype).tobytes() for name, dtype in _LISTS.items()],
    ]


def unpack_frame(found: list[Any]) -> FrameMetadata:
    """Reads what `pack_frame` gave.

    Raises:
        ValueError: It is something else.
    """
    plain, (over, under), (rows, cols), blocks, splits, lists = found
    if not 0 < rows * cols <= _MAX_CELLS:
        raise ValueError(f"a picture of {rows}x{cols} cells")
    return FrameMetadata(
        **dict(zip(_PLAIN, plain, strict=True)),
        time_base=Fraction(over, under),
        blocks=_by_cell(blocks, BLOCK_DTYPE, rows * cols).reshape(rows, cols),
        splits=_by_cell(splits, SPLIT_DTYPE, len(splits) // SPLIT_DTYPE.itemsize),
        list_ends=np.frombuffer(lists[0], _LISTS["list_ends"]),
        list_pocs=np.frombuffer(lists[1], _LISTS["list_pocs"]),
    )


def _by_field(records: npt.NDArray[Any]) -> bytes:
    """All values of the first field, then all of the second; the bytes of a number apart, high ones together."""
    parts = []
    for name in records.dtype.names or ():
        column = np.ascontiguousarray(records[name])
        planes = column.reshape(-1).view(np.uint8).reshape(-1, column.dtype.itemsize)
        parts.append(np.ascontiguousarray(planes.T).tobytes())
    return b"".join(parts)


def _by_cell(data: bytes, dtype: np.dtype[Any], count: int) -> npt.NDArray[Any]:
    if len(data) != count * dtype.itemsize:
        raise ValueError(f"{len(data)} bytes for {count} records of {dtype.itemsize}")
    records: npt.NDArray[Any] = np.empty(count, dtype)
    at = 0
    for name in dtype.names or ():
        column = records[name]
        size = column.dtype.itemsize
        taken = np.frombuffer(data, np.uint8, column.nbytes, at).reshape(size, -1)
        records[name] = np.ascontiguousarray(taken.T).view(column.dtype).reshape(column.shape)
        at += column.nbytes
    return records
