"""Packets on the wire, and counters that wrap."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovstream.rtp import MalformedPacket, RtpPacket, Unwrapper

packets = st.builds(
    RtpPacket,
    sequence=st.integers(0, 0xFFFF),
    timestamp=st.integers(0, 0xFFFF_FFFF),
    marker=st.booleans(),
    payload_type=st.integers(0, 127),
    ssrc=st.integers(0, 0xFFFF_FFFF),
    payload=st.binary(max_size=40),
)


@given(packets)
def test_round_trip(packet: RtpPacket) -> None:
    assert RtpPacket.parse(packet.to_bytes()) == packet


@given(packets, st.integers(0, 15), st.none() | st.integers(0, 3), st.integers(0, 255))
def test_csrc_extension_and_padding_are_taken_off(
    packet: RtpPacket, csrc: int, extension: int | None, padding: int
) -> None:
    data = bytearray(packet.to_bytes())
    between = bytes(4 * csrc)
    if extension is not None:
        between += b"\xbe\xde" + extension.to_bytes(2, "big") + bytes(4 * extension)
        data[0] |= 0x10
    data[0] |= csrc
    data[12:12] = between
    if padding:
        data[0] |= 0x20
        data += bytes(padding - 1) + bytes((padding,))
    assert RtpPacket.parse(bytes(data)) == packet


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no RTP"),
        (b"\x80" * 11, "no RTP"),
        (b"\x40" + bytes(20), "no RTP"),
        (b"\x8f" + bytes(20), "header is longer"),
        (b"\x90" + bytes(11), "header is longer"),
        (b"\x90" + bytes(13) + b"\xff\xff", "header is longer"),
        (b"\xa0" + bytes(12), "padding"),
        (b"\xa0" + bytes(11) + b"\x02", "padding"),
    ],
)
def test_what_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(MalformedPacket, match=why):
        RtpPacket.parse(data)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_packet_or_malformed(data: bytes) -> None:
    try:
        packet = RtpPacket.parse(data)
    except MalformedPacket:
        return
    assert data.find(packet.payload) >= 0


@given(st.integers(0, 2**16 - 1), st.lists(st.integers(-(2**15), 2**15 - 1)))
def test_unwrapping_follows_any_walk(start: int, steps: list[int]) -> None:
    unwrapper, value = Unwrapper(16), start
    assert unwrapper.advance(value) == start
    for step in steps:
        value += step
        assert unwrapper.advance(value % 65_536) == value
