"""Vectors and masks as bytes; the usual ones, of 16 bits, by the native core in one step."""

from __future__ import annotations

import functools
import math
from typing import Any, Literal, cast

import numpy as np

from ovstream._native import ffi, lib
from ovstream.errors import WireError
from ovstream.types import BoolArray, FloatArray

VectorDtype = Literal["float16", "float32"]

CODES: dict[str, str] = {"float16": "<f2", "float32": "<f4"}
DTYPES: dict[str, np.dtype[Any]] = {"<f2": np.dtype("<f2"), "<f4": np.dtype("<f4")}
_MAX_FLOAT16 = float(np.finfo(np.float16).max)
_FLOAT32, _BOOL = np.dtype(np.float32), np.dtype(np.bool_)
_FLOATS = ffi.typeof("float[]")
_NO_MASK = ffi.from_buffer(bytearray(1))
_empty, _from_buffer, _pack, _unpack, _OK = (
    np.empty,
    ffi.from_buffer,
    lib.ovbits_pack,
    lib.ovbits_unpack,
    lib.OVBITS_OK,
)


class Room:
    """Where the bytes of a vector and of a mask go, again and again.

    Args:
        buffer: Of the caller; never resized.
        offset: Of the vector; the mask comes behind it.
        code: "<f2" or "<f4".
        count: Elements of the vector.
        patches: Of the mask.

    Attributes:
        mask_at: Offset of the mask.
        end: Offset behind it.
    """

    def __init__(self, buffer: bytearray, offset: int, *, code: str, count: int, patches: int) -> None:
        self.mask_at, self.end = room_of(code, count, patches, offset)
        self._patches = patches
        self._start = _from_buffer(buffer)  # keeps the buffer where it is
        self._halves, self._bits = self._start + offset, self._start + self.mask_at
        self._count = count if code == "<f2" else 0
        self._wide = None if self._count else np.frombuffer(buffer, DTYPES[code], count, offset)

    def fill(self, vector: FloatArray, changed: BoolArray) -> bool:
        """Puts both there; False: a value of the vector is beyond float16.

        Args:
            vector: Of any shape.
            changed: (rows, cols) bool; patch i becomes bit i % 8, lowest first, of byte i // 8.

        Raises:
            WireError: An element of `vector` is not finite.
        """
        if vector.dtype != _FLOAT32 or not (vector.flags.c_contiguous and vector.flags.aligned):
            vector = np.require(vector, _FLOAT32, ("C", "A"))
        if changed.dtype != _BOOL or not changed.flags.c_contiguous:
            changed = np.ascontiguousarray(changed, _BOOL)
        floats, mask = _from_buffer(_FLOATS, vector), _from_buffer(changed)
        peak = _pack(floats, self._count, mask, self._patches, self._halves, self._bits)
        if self._wide is not None:
            self._wide[:] = vector.reshape(-1)
            peak = 0.0 if np.isfinite(vector).all() else math.nan
        if not math.isfinite(peak):
            raise WireError("the vector holds values that are not finite")
        return cast(float, peak) <= _MAX_FLOAT16


def room_of(code: str, count: int, patches: int, offset: int = 0) -> tuple[int, int]:
    """Where the mask lies behind a vector, and where it ends."""
    mask_at = offset + count * DTYPES[code].itemsize
    return mask_at, mask_at + ((patches + 7) >> 3)


class Layout:
    """How the vectors and masks of one kind lie in their frames.

    Args:
        code: "<f2" or "<f4".
        shape: Of the vector.
        grid: (rows, cols) of the mask.
    """

    def __init__(self, code: str, shape: tuple[int, ...], grid: tuple[int, int]) -> None:
        self._code, self._shape, self._grid = code, shape, grid
        count, self._patches = math.prod(shape), grid[0] * grid[1]
        self._bytes, self._mask_bytes = count * DTYPES[code].itemsize, (self._patches + 7) >> 3
        self._spare = self._patches % 8  # bits of the last byte that may be set; 0: all of them
        self._halves = count if code == "<f2" else 0

    def read(self, payload: bytes, bits: bytes) -> tuple[FloatArray, BoolArray]:
        """Turns frames back into a vector and a mask, owned by the caller.

        Raises:
            WireError: They are not as long as the shapes say, or hold what they must not.
        """
        if len(payload) != self._bytes:
            raise WireError(f"vector of {len(payload)} bytes where 'sh' and 'dt' say {self._bytes}")
        if len(bits) != self._mask_bytes:
            raise WireError(f"a mask of {len(bits)} bytes for {self._patches} patches")
        if self._spare and bits[-1] >> self._spare:
            raise WireError("the mask marks patches outside the grid")
        vector, changed = _empty(self._shape, _FLOAT32), _empty(self._grid, _BOOL)
        finite = _unpack(
            payload, self._halves, bits, self._patches, _from_buffer(_FLOATS, vector), _from_buffer(changed)
        )
        if not self._halves:
            vector[...] = np.frombuffer(payload, DTYPES[self._code]).reshape(self._shape)
            finite = _OK if np.isfinite(vector).all() else not _OK
        if finite != _OK:
            raise WireError("the vector holds values that are not finite")
        return vector, changed


@functools.lru_cache(maxsize=1024)
def layout_of(code: str, shape: tuple[int, ...], grid: tuple[int, int]) -> Layout:
    """The layout for these shapes."""
    return Layout(code, shape, grid)


def widen(halves: bytes) -> FloatArray:
    """(n,) float32 of little-endian numbers of 16 bits; several times faster than numpy does it."""
    values = np.empty(len(halves) >> 1, _FLOAT32)
    _unpack(halves, values.size, b"", 0, _from_buffer(_FLOATS, values), _NO_MASK)
    return values
