"""RTCP on the wire: round trips, known bytes, hostile bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovstream.rtp import (
    Goodbye,
    MalformedPacket,
    ReceiverReport,
    ReceptionReport,
    SenderReport,
    SourceDescription,
    parse_rtcp,
)

u32 = st.integers(0, 2**32 - 1)
blocks = st.builds(
    ReceptionReport, u32, st.integers(0, 255), st.integers(-(2**23), 2**23 - 1), u32, u32, u32, u32
)
packets = st.one_of(
    st.builds(SenderReport, u32, st.integers(0, 2**64 - 1), u32, u32, u32),
    st.builds(ReceiverReport, u32, st.lists(blocks, max_size=31).map(tuple)),
    st.builds(Goodbye, st.lists(u32, max_size=31).map(tuple)),
)


@given(st.lists(packets, max_size=4))
def test_round_trip_of_compound_packets(sent: list[SenderReport | ReceiverReport | Goodbye]) -> None:
    assert parse_rtcp(b"".join(packet.to_bytes() for packet in sent)) == sent


def test_other_kinds_are_left_out() -> None:
    description = SourceDescription(7, b"name").to_bytes()
    application = b"\x80\xcc\0\1abcd"
    assert parse_rtcp(description + application + Goodbye((3,)).to_bytes()) == [Goodbye((3,))]


@given(u32, st.binary(max_size=255))
def test_descriptions_end_with_a_zero_at_a_word(ssrc: int, cname: bytes) -> None:
    data = SourceDescription(ssrc, cname).to_bytes()
    assert len(data) % 4 == 0
    assert len(data) == 4 + 4 * int.from_bytes(data[2:4], "big")
    assert data[10 : 10 + len(cname)] == cname
    assert data[10 + len(cname) :].count(0) == len(data) - 10 - len(cname) > 0


def test_more_loss_than_fits_is_cut() -> None:
    block = ReceptionReport(1, 255, 2**30, 2**40, 0, 0, 0)
    parsed = ReceptionReport.parse(block.to_bytes())
    assert (parsed.lost, parsed.highest_sequence) == (2**23 - 1, 2**40 % 2**32)


@pytest.mark.parametrize(
    "data",
    [
        b"\x80",
        b"\x40\xc8\0\0",
        b"\x80\xc8\0\6" + bytes(20),
        b"\x80\xc8\0\1" + bytes(4),
        b"\x81\xc9\0\1" + bytes(4),
        b"\x82\xcb\0\1" + bytes(4),
    ],
)
def test_what_is_cut_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedPacket):
        parse_rtcp(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_packets_or_malformed(data: bytes) -> None:
    try:
        found = parse_rtcp(data)
    except MalformedPacket:
        return
    assert len(found) <= len(data) // 4
