"""Vectors and masks as bytes; the usual ones, of 16 bits, by the native core in one step."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from ovstream._native import ffi, lib
from ovstream.errors import WireError
from ovstream.types import BoolArray, FloatArray

VectorDtype = Literal["float16", "float32"]

_CODES: dict[str, str] = {"float16": "<f2", "float32": "<f4"}
DTYPES: dict[str, np.dtype[Any]] = {"<f2": np.dtype("<f2"), "<f4": np.dtype("<f4")}
_MAX_FLOAT16 = float(np.finfo(np.float16).max)
_FLOAT32, _BOOL = np.dtype(np.float32), np.dtype(np.bool_)
_FLOATS = ffi.typeof("float[]")
_from_buffer, _pack, _unpack, _OK = ffi.from_buffer, lib.ovbits_pack, lib.ovbits_unpack, lib.OVBITS_OK


def to_bytes(vector: FloatArray, changed: BoolArray, dtype: VectorDtype) -> tuple[str, bytes, bytes]:
    """Turns a vector and a mask into their code ("<f2", "<f4") and bytes.

    Args:
        vector: Of any shape; one with a value beyond float16 goes as float32.
        changed: (rows, cols) bool; patch i becomes bit i % 8, lowest first, of byte i // 8.
        dtype: Of the bytes.

    Raises:
        WireError: An element of `vector` is not finite, or there is none.
    """
    count, patches = vector.size, changed.size
    if not count:
        raise WireError("a vector without elements")
    if vector.dtype != _FLOAT32 or not (vector.flags.c_contiguous and vector.flags.aligned):
        vector = np.require(vector, _FLOAT32, ("C", "A"))
    if changed.dtype != _BOOL or not changed.flags.c_contiguous:
        changed = np.ascontiguousarray(changed, _BOOL)
    halves, bits = bytearray(2 * count), bytearray((patches + 7) >> 3)
    peak = _pack(
        _from_buffer(_FLOATS, vector),
        count,
        _from_buffer(changed),
        patches,
        _from_buffer(halves),
        _from_buffer(bits),
    )
    if not math.isfinite(peak):
        raise WireError("the vector holds values that are not finite")
    if peak > _MAX_FLOAT16 or dtype != "float16":
        return "<f4", vector.astype(DTYPES["<f4"]).tobytes(), bytes(bits)
    return _CODES[dtype], bytes(halves), bytes(bits)


def to_arrays(
    payload: bytes, code: str, shape: tuple[int, ...], bits: bytes, grid: tuple[int, int]
) -> tuple[FloatArray, BoolArray]:
    """Turns bytes back into a vector and a mask, owned by the caller.

    Raises:
        WireError: They are not as long as the shapes say, or hold what they must not.
    """
    count, patches = math.prod(shape), grid[0] * grid[1]
    expected_bytes = count * DTYPES[code].itemsize
    if len(payload) != expected_bytes:
        raise WireError(f"vector of {len(payload)} bytes where 'sh' and 'dt' say {expected_bytes}")
    if len(bits) != (patches + 7) >> 3:
        raise WireError(f"a mask of {len(bits)} bytes for {patches} patches")
    if patches % 8 and bits[-1] >> patches % 8:
        raise WireError("the mask marks patches outside the grid")
    vector, changed = np.empty(shape, _FLOAT32), np.empty(grid, _BOOL)
    halves = payload if code == "<f2" else b""
    finite = _unpack(
        halves,
        len(halves) >> 1,
        bits,
        patches,
        _from_buffer(_FLOATS, vector),
        _from_buffer(changed),
    )
    if code == "<f4":
        vector[...] = np.frombuffer(payload, DTYPES[code]).reshape(shape)
        finite = _OK if np.isfinite(vector).all() else not _OK
    if finite != _OK:
        raise WireError("the vector holds values that are not finite")
    return vector, changed
