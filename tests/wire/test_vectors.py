"""Vectors and masks through the native core are what numpy makes of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovstream.errors import WireError
from ovstream.types import Embedding
from ovstream.wire.drafts import embedding_of
from ovstream.wire.vectors import CODES, Room, layout_of, room_of, widen

NONE = np.zeros((1, 1), np.bool_)
floats = st.floats(width=32, min_value=-65504, max_value=65504)


def to_bytes(vector: np.ndarray, changed: np.ndarray, dtype: str) -> tuple[str, bytes, bytes]:  # type: ignore[type-arg]
    """Code, vector and mask, as they are sent."""
    for code in (CODES[dtype], "<f4"):
        buffer = bytearray(3 + room_of(code, vector.size, changed.size)[1])
        room = Room(buffer, 3, code=code, count=vector.size, patches=changed.size)
        assert room.end == len(buffer)
        if room.fill(vector, changed):
            break
    return code, bytes(buffer[3 : room.mask_at]), bytes(buffer[room.mask_at :])


def to_arrays(
    payload: bytes, code: str, shape: tuple[int, ...], mask: bytes, grid: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """The reverse."""
    return layout_of(code, shape, grid).read(payload, mask)


@given(st.lists(floats, min_size=1, max_size=40))
def test_vectors_are_rounded_as_numpy_does(values: list[float]) -> None:
    vector = np.array(values, np.float32)
    code, payload, _ = to_bytes(vector, NONE, "float16")
    assert (code, payload) == ("<f2", vector.astype("<f2").tobytes())
    back, _ = to_arrays(payload, code, vector.shape, b"\0", (1, 1))
    assert back.dtype == np.float32
    assert back.tobytes() == vector.astype("<f2").astype(np.float32).tobytes()
    back[:] = 0  # owned


@given(st.integers(1, 9), st.integers(1, 9), st.randoms())
def test_masks_are_packed_as_numpy_does(rows: int, cols: int, random: st.DataObject) -> None:
    bits = np.array([random.random() < 0.4 for _ in range(rows * cols)])  # type: ignore[attr-defined]
    changed = bits.reshape(rows, cols)
    vector = np.ones(3, np.float32)
    code, payload, mask = to_bytes(vector, changed, "float16")
    assert mask == np.packbits(changed, axis=None, bitorder="little").tobytes()
    _, back = to_arrays(payload, code, (3,), mask, (rows, cols))
    assert back.dtype == np.bool_
    assert np.array_equal(back, changed)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_any_layout_in_memory_is_taken(dtype: str) -> None:
    tokens = np.arange(24, dtype=np.float32).reshape(4, 6)
    unaligned = np.frombuffer(b"\0" + tokens.tobytes(), np.float32, offset=1).reshape(4, 6)
    changed = np.eye(4, dtype=np.bool_)
    expected = to_bytes(tokens, changed, dtype)  # type: ignore[arg-type]
    for other in (
        np.asfortranarray(tokens),
        unaligned,
        tokens.astype(np.float64),
        tokens[::1, ::-1][:, ::-1],
    ):
        assert to_bytes(other, np.asfortranarray(changed), dtype) == expected  # type: ignore[arg-type]
    assert np.array_equal(to_arrays(*expected[1::-1], (4, 6), expected[2], (4, 4))[0], tokens)


def test_what_float16_cannot_hold_goes_as_float32() -> None:
    vector = np.array([1, 65505], np.float32)
    code, payload, _ = to_bytes(vector, NONE, "float16")
    assert (code, payload) == ("<f4", vector.tobytes())
    assert np.array_equal(to_arrays(payload, code, (2,), b"\0", (1, 1))[0], vector)


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [0, 8, 10])
def test_what_is_not_finite_goes_neither_way(odd: float, at: int) -> None:
    vector = np.ones(11, np.float32)
    vector[at] = odd
    with pytest.raises(WireError):
        to_bytes(vector, NONE, "float16")
    for code in ("<f2", "<f4"):
        with pytest.raises(WireError):
            to_arrays(vector.astype(code).tobytes(), code, (11,), b"\0", (1, 1))


def test_a_draft_becomes_an_embedding_like_any_other() -> None:
    values = {one.name: one.name for one in dataclasses.fields(Embedding)}
    made = embedding_of(*values.values())
    assert type(made) is Embedding
    assert {name: getattr(made, name) for name in values} == values
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.seq = 1  # type: ignore[misc]
    assert dataclasses.replace(made, seq=7).seq == 7


def test_every_number_of_16_bits_is_widened_as_numpy_does() -> None:
    halves = np.arange(1 << 16, dtype="<u2").view("<f2")
    expected = halves.astype(np.float32)
    found = widen(halves.tobytes())
    there = ~np.isnan(expected)
    assert np.array_equal(np.isnan(found), ~there)
    assert found[there].tobytes() == expected[there].tobytes()
    assert widen(b"").size == 0
