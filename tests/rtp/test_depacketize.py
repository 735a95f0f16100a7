"""Payload formats: round trips through every form, known bytes, and what breaks the rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovstream.nal import recovery_frame_cnt
from ovstream.rtp import BUILDERS, MalformedPacket
from ovstream.rtp.h264 import H264Builder
from ovstream.rtp.h265 import H265Builder, unwrap_paci
from ovstream.rtp.vp8 import Vp8Builder, descriptor_bytes
from tests.rtp.sender import PACKETIZERS, SentUnit
from tests.rtp.support import PPS, SPS, streams


@given(streams(), st.integers(20, 1500), st.booleans())
def test_round_trip(units: list[SentUnit], mtu: int, aggregate: bool) -> None:
    builder = BUILDERS[units[0].codec]()
    for unit in units:
        for payload, _ in PACKETIZERS[unit.codec](unit.parts, mtu, aggregate):
            builder.add(payload)
        assert builder.complete()
        assert (builder.has_picture, builder.keyframe) == (True, unit.keyframe)
        assert builder.start is not None
        assert builder.take() == unit.data
        assert (builder.has_picture, builder.keyframe, builder.start) == (False, False, None)


@given(st.sampled_from(sorted(BUILDERS)), st.lists(st.binary(min_size=1, max_size=30), max_size=20))
def test_any_payload_is_taken_or_malformed(codec: str, payloads: list[bytes]) -> None:
    builder = BUILDERS[codec]()
    size = 0
    for payload in payloads:
        builder.begins_picture(payload)
        try:
            builder.add(payload)
        except MalformedPacket:
            continue
        size += len(payload) + 4 * (len(payload) // 3 + 1)
    assert len(builder.take()) <= size


@pytest.mark.parametrize(
    ("payloads", "why"),
    [
        ([b"\x7c\x05middle"], "without a beginning"),
        ([b"\x7c\x85"], "payload type 28"),
        ([b"\x7c\x85first", b"\x41\x88"], "without an end"),
        ([b"\x7c\x85first", b"\x7c\x85first"], "without an end"),
        ([b"\x78\0\x05abc"], "wrong size"),
        ([b"\x78\0\0"], "wrong size"),
        ([b"\x79\0\0\0\0"], "payload type 25"),
        ([b"\x60rest"], "payload type 0"),
    ],
)
def test_h264_refuses(payloads: list[bytes], why: str) -> None:
    builder = H264Builder()
    for payload in payloads[:-1]:
        builder.add(payload)
    with pytest.raises(MalformedPacket, match=why):
        builder.add(payloads[-1])


def test_h264_a_cut_fragment_leaves_whole_units_only() -> None:
    builder = H264Builder()
    for payload in (SPS, PPS, b"\x7c\x85\x88first", b"\x7c\x05more"):
        builder.add(payload)
    assert not builder.complete()
    assert builder.take() == b"\0\0\0\1" + SPS + b"\0\0\0\1" + PPS


@pytest.mark.parametrize(
    ("payload", "begins"),
    [
        (b"\x67\x42", True),
        (b"\x65\x88", True),
        (b"\x65\x40", False),
        (b"\x41\x9a", True),
        (b"\x7c\x85\x88", True),
        (b"\x7c\x85\x40", False),
        (b"\x7c\x05\x88", False),
        (b"\x78\0\2\x67\x42", True),
        (b"\x78\0\2\x41\x20", False),
    ],
)
def test_h264_beginnings_of_pictures(payload: bytes, begins: bool) -> None:
    assert H264Builder().begins_picture(payload) == begins


@pytest.mark.parametrize(
    ("sei", "exact"),
    [
        (b"\x06\x06\x01\xc4\x80", True),
        (b"\x06\x06\x01\x44\x80", False),
        (b"\x06\x05\x02ab\x06\x01\x84\x80", True),
        (b"\x06\x05\x02ab\x80", False),
        (b"\x06\xff\x06\x01\x80\x80", False),
        (b"\x06\x06", False),
    ],
)
def test_h264_recovery_points_are_keyframes(sei: bytes, exact: bool) -> None:
    """Payload type 6; recovery_frame_cnt 0 is a first bit of 1."""
    assert (recovery_frame_cnt(sei) == 0) == exact
    builder = H264Builder()
    builder.add(sei)
    assert builder.keyframe == exact


def paci(inner: bytes, *, kind: int, extension: bytes = b"") -> bytes:
    """A PACI packet of RFC 7798 4.4.4 around a payload without its header."""
    fields = kind << 9 | len(extension) << 4
    return b"\x64\x01" + fields.to_bytes(2, "big") + extension + inner


@given(st.binary(max_size=31), st.binary(min_size=1, max_size=20))
def test_h265_paci_is_taken_off(extension: bytes, body: bytes) -> None:
    assert unwrap_paci(paci(body, kind=1, extension=extension)) == b"\x02\x01" + body


def test_h265_inside_of_paci() -> None:
    builder = H265Builder()
    builder.add(paci(b"\xa8slice", kind=19, extension=b"abc"))
    builder.add(paci(b"\x93\x28first", kind=49))
    builder.add(b"\x62\x01\x53last")
    assert builder.keyframe
    assert builder.take() == b"\0\0\0\1\x26\x01\xa8slice\0\0\0\1\x26\x01\x28firstlast"
    with pytest.raises(MalformedPacket, match="PACI"):
        builder.add(paci(b"x", kind=50))


@pytest.mark.parametrize(
    ("payload", "size"),
    [
        (b"\x10frame", 1),
        (b"\x90\x80\x11frame", 3),
        (b"\x90\x80\x91\x22frame", 4),
        (b"\x90\xe0\x91\x22\x33\x44frame", 6),
        (b"\x90\x40\x33frame", 3),
        (b"\x90\x10\x33frame", 3),
        (b"\x90\x00frame", 2),
    ],
)
def test_vp8_descriptors(payload: bytes, size: int) -> None:
    assert descriptor_bytes(payload) == size


@pytest.mark.parametrize("payload", [b"\x90", b"\x90\x80", b"\x90\x80\x91", b"\x90\xe0\x91\x22\x33"])
def test_vp8_descriptors_that_are_cut(payload: bytes) -> None:
    with pytest.raises(MalformedPacket):
        Vp8Builder().add(payload)


def test_vp8_partitions_follow_the_first() -> None:
    builder = Vp8Builder()
    with pytest.raises(MalformedPacket, match="without a beginning"):
        builder.add(b"\x00rest")
    for payload in (b"\x10\x10abc", b"\x00def", b"\x11ghi"):  # S = 1 with PID 1 starts another partition
        builder.add(payload)
    assert builder.keyframe
    assert builder.take() == b"\x10abcdefghi"
