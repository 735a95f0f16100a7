"""Bytes from strangers: a message or a WireError, quickly, and never much memory."""

from __future__ import annotations

import struct
import time
import tracemalloc
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovstream.errors import WireError
from ovstream.wire import decode, decode_checkpoint, encode, encode_checkpoint, parse
from ovstream.wire.limits import MAX_FRAMES, MAX_UINT
from tests.wire.samples import embedding, example

FRAMES = encode(example())
HEADER: dict[str, Any] = msgpack.unpackb(FRAMES[1])


def refused(frames: list[bytes]) -> str:
    with pytest.raises(WireError) as caught:
        parse(frames)
    return str(caught.value)


def with_header(**changes: Any) -> list[bytes]:
    return [FRAMES[0], msgpack.packb({**HEADER, **changes}), *FRAMES[2:]]


@given(st.lists(st.binary(max_size=64), max_size=10))
def test_noise_is_a_wire_error(frames: list[bytes]) -> None:
    for read in (parse, decode):
        with pytest.raises(WireError):
            read(frames)


@given(st.binary(max_size=512))
def test_noise_as_header_is_a_wire_error(header: bytes) -> None:
    for topic in (b"e/door/", b"h/door/", b"s/door/"):
        refused([topic, header, *FRAMES[2:]])
    with pytest.raises(WireError):
        decode_checkpoint(header)


@given(st.integers(0, 3), st.data())
def test_damaged_frames_give_a_message_or_a_wire_error(which: int, data: st.DataObject) -> None:
    frame = bytearray(FRAMES[which])
    for _ in range(data.draw(st.integers(1, 4))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    frames = list(FRAMES)
    frames[which] = bytes(frame[: data.draw(st.integers(0, len(frame)))])
    try:
        back = decode(frames)
    except WireError:
        return
    assert np.isfinite(back.vector).all()
    assert back.vector.size == len(frames[2]) // (2 if HEADER["dt"] == "<f2" else 4)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=8) | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(st.sampled_from(sorted(HEADER)), values)
def test_any_value_under_any_key_gives_a_message_or_a_wire_error(key: str, value: Any) -> None:
    try:
        back = decode(with_header(**{key: value}))
    except WireError:
        return
    decode(encode(back))  # whatever is believed can be said again


@pytest.mark.parametrize("key", sorted(HEADER.keys() - {"pq", "pts", "ct", "dr", "nu", "fl"}))
def test_every_required_key_is_required(key: str) -> None:
    header = {name: value for name, value in HEADER.items() if name != key}
    assert f"'{key}'" in refused([FRAMES[0], msgpack.packb(header), *FRAMES[2:]])


@pytest.mark.parametrize("key", ["pq", "pts", "ct", "dr", "nu", "fl"])
def test_optional_keys_may_be_missing(key: str) -> None:
    header = {name: value for name, value in HEADER.items() if name != key}
    parse([FRAMES[0], msgpack.packb(header), *FRAMES[2:]])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"v": 2}, "version 2"),
        ({"v": True}, "'v'"),
        ({"id": "other"}, "topic and stream id differ"),
        ({"id": "door\n"}, "'id'"),
        ({"q": -1}, "'q'"),
        ({"q": MAX_UINT + 1}, "'q'"),
        ({"q0": 75}, "'q0'"),
        ({"pq": 74}, "'pq'"),
        ({"pts": float("nan")}, "'pts'"),
        ({"kr": 1.5}, "'kr'"),
        ({"k": "mood"}, "'k'"),
        ({"a": "Sparse"}, "'a'"),
        ({"r": "\x1b[2J"}, "'r'"),
        ({"m": "x" * 257}, "msgpack"),
        ({"dt": "|O"}, "dtype"),
        ({"dt": "<f8"}, "dtype"),
        ({"sh": [5]}, "8 bytes where"),
        ({"sh": [4, 1]}, "shape"),
        ({"sh": [2**40]}, "'sh'"),
        ({"sh": [15, 16384], "k": "tokens"}, "bytes where"),
        ({"sh": [65536, 16384], "k": "tokens", "g": [256, 256]}, "larger than"),
        ({"sh": []}, "'sh'"),
        ({"g": [0, 5]}, "'g'"),
        ({"g": [1024, 1024]}, "'g'"),
        ({"g": [3, 6]}, "mask"),
        ({"g": [15]}, "'g'"),
        ({"dec": 1}, "'dec'"),
        ({"c": {"a-b": 1}}, "identifier"),
        ({"c": {"a": -1}}, "count"),
        ({"c": {f"a{n}": 1 for n in range(33)}}, "32"),
        ({"x": msgpack.ExtType(5, b"x")}, "msgpack"),
        ({"x": msgpack.ExtType(5, b"")}, "extension"),
        ({"x": msgpack.Timestamp(1)}, "msgpack"),
        ({"x": list(range(65))}, "msgpack"),
        ({f"x{n}": n for n in range(64)}, "msgpack"),
        ({"x": ["y" * 250] * 20}, "header of"),
    ],
    ids=repr,
)
def test_lies_are_refused_by_name(changes: dict[str, Any], expected: str) -> None:
    assert expected in refused(with_header(**changes))


def test_frames_that_do_not_fit_the_header_are_refused() -> None:
    topic, header, vector, mask = FRAMES
    nan = np.array([np.nan] * 4, "<f2").tobytes()
    outside = mask[:1] + bytes([mask[1] | 0x80])
    assert "finite" in refused([topic, header, nan, mask])
    assert "outside" in refused([topic, header, vector, outside])
    assert "bytes" in refused([topic, header, vector[:-1], mask])
    assert "mask" in refused([topic, header, vector, mask + b"\0"])
    assert "frames" in refused([topic, header, vector])
    assert "frames" in refused([*FRAMES, *[b""] * MAX_FRAMES])
    assert "topic" in refused([b"e/" + b"x" * 200 + b"/", header, vector, mask])
    assert "unknown topic" in refused([b"x/door/", header, vector, mask])


BOMBS = {
    "array of 4 billion": b"\xdd" + struct.pack(">I", 2**32 - 1),
    "map of 4 billion": b"\xdf" + struct.pack(">I", 2**32 - 1),
    "string of 4 GB": b"\xdb" + struct.pack(">I", 2**32 - 1),
    "binary of 4 GB": b"\xc6" + struct.pack(">I", 2**32 - 1),
    "extension of 4 GB": b"\xc9" + struct.pack(">I", 2**32 - 1) + b"\x05",
    "nested arrays": b"\x91" * 4096,
    "nested maps": b"\x81\xa1a" * 1300,
    "arrays of arrays": b"\xdc\x00\x40" * 1300,
    "a megabyte": b"\x80" * (1 << 20),
    "integer key": b"\x81\x01\x01",
    "binary key": b"\x81\xc4\x01v\x01",
    "bad UTF-8": b"\x81\xa1v\xa1\xff",
    "trailing bytes": encode(example())[1] + b"\x00",
}


@pytest.mark.parametrize("header", BOMBS.values(), ids=BOMBS.keys())
def test_bombs_cost_nothing(header: bytes) -> None:
    tracemalloc.start()
    started = time.process_time()
    try:
        refused([FRAMES[0], header, *FRAMES[2:]])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.process_time() - started < 0.5
    assert peak < 4 << 20


def test_a_claimed_shape_allocates_nothing() -> None:
    frames = with_header(sh=[65536, 64], g=[256, 256], k="tokens")
    tracemalloc.start()
    try:
        refused(frames)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


def test_a_checkpoint_is_no_message_and_a_message_no_checkpoint() -> None:
    with pytest.raises(WireError):
        decode_checkpoint(FRAMES[1])
    from fractions import Fraction

    from ovstream.types import Checkpoint

    refused(
        [FRAMES[0], encode_checkpoint(Checkpoint("door", 0, 0, None, Fraction(1, 90000), "")), *FRAMES[2:]]
    )


def test_whole_numbers_may_stand_for_real_ones() -> None:
    back = decode(with_header(pts=3, dr=0, kr=1))
    assert (back.pts_seconds, back.drift, back.keep_ratio) == (3.0, 0.0, 1.0)
    assert type(back.pts_seconds) is float


def test_an_embedding_owns_its_arrays() -> None:
    frames = encode(embedding(7))
    back = decode(frames)
    back.vector[:] = 1  # a view on the received bytes could not be written
    assert decode(frames).vector[0] == 7
