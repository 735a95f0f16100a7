"""Where access units end, and when they count as damaged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovstream.rtp import IN_ORDER, ReorderLimits, RtpPacket, RtpUnit
from tests.rtp.sender import Sender, SentUnit
from tests.rtp.support import MAKERS, PPS, SPS, h264_unit, h265_unit, receive, streams

GOP = [h264_unit(i, key=i % 5 == 0, sizes=(150, 90)) for i in range(12)]


def sent(units: list[SentUnit], **knobs: object) -> list[list[RtpPacket]]:
    sender = Sender(**knobs)  # type: ignore[arg-type]
    return [sender.send(unit) for unit in units]


def flat(groups: list[list[RtpPacket]]) -> list[RtpPacket]:
    return [packet for group in groups for packet in group]


def is_clean(unit: RtpUnit) -> bool:
    return not unit.damaged and not unit.discontinuity


@given(
    streams(),
    st.integers(20, 600),
    st.booleans(),
    st.booleans(),
    st.integers(0, 65_535),
    st.integers(0, 2**32 - 1),
)
def test_everything_arrives_as_it_was_sent(
    units: list[SentUnit], mtu: int, aggregate: bool, paci: bool, sequence: int, ticks: int
) -> None:
    shifted = [SentUnit(u.codec, u.parts, u.timestamp + ticks, u.keyframe) for u in units]
    wrapped = paci and units[0].codec == "h265"
    packets = flat(sent(shifted, mtu=mtu, aggregate=aggregate, paci=wrapped, sequence=sequence))
    got = receive(packets, units[0].codec)
    assert [unit.data for unit in got] == [unit.data for unit in units]
    assert [unit.keyframe for unit in got] == [unit.keyframe for unit in units]
    assert [unit.timestamp - got[0].timestamp for unit in got] == [u.timestamp for u in units]
    assert all(is_clean(unit) for unit in got)


def test_the_marker_ends_a_unit_at_once() -> None:
    for group, unit in zip(sent(GOP[:1]), GOP, strict=False):
        assert [got.data for got in receive(group, "h264")] == [unit.data]


@pytest.mark.parametrize("codec", sorted(MAKERS))
def test_senders_without_markers(codec: str) -> None:
    units = [MAKERS[codec](i, key=i == 0, sizes=(150,)) for i in range(6)]
    got = receive(flat(sent(units, marker="never")), codec)
    assert [unit.data for unit in got] == [unit.data for unit in units[:-1]]
    assert all(is_clean(unit) for unit in got)


def test_markers_with_every_nal_unit_of_one_slice_pictures() -> None:
    units = [h264_unit(i, key=i % 3 == 0, sizes=(150,)) for i in range(7)]
    got = receive(flat(sent(units, marker="nal")), "h264")
    assert [unit.data for unit in got] == [unit.data for unit in units]
    assert all(is_clean(unit) for unit in got)


def test_markers_inside_of_pictures_are_found_out() -> None:
    """The first picture is in two by then; its second half says so."""
    got = receive(flat(sent(GOP, marker="nal")), "h264")
    assert got[1].damaged
    assert got[1].discontinuity
    assert [unit.data for unit in got[2:]] == [unit.data for unit in GOP[1:-1]]
    assert all(is_clean(unit) for unit in got[2:])


def test_two_pictures_may_have_one_timestamp() -> None:
    fields = [h264_unit(i, key=i == 0, timestamp=3600 * (i // 2)) for i in range(6)]
    got = receive(flat(sent(fields)), "h264")
    assert [unit.data for unit in got] == [unit.data for unit in fields]


def test_parameter_sets_wait_for_their_picture() -> None:
    sender = Sender()
    packets = [sender.packet(SPS, 0, marker=True), sender.packet(PPS, 100, marker=True)]
    packets += sender.send(h264_unit(1, key=False))
    (unit,) = receive(packets, "h264")
    assert unit.data == b"\0\0\0\1" + SPS + b"\0\0\0\1" + PPS + h264_unit(1, key=False).data
    assert (unit.timestamp, is_clean(unit)) == (3600, True)


def test_empty_packets_are_no_pictures() -> None:
    sender = Sender()
    packets: list[RtpPacket] = []
    for unit in GOP:
        packets += [*sender.send(unit), sender.packet(b"", unit.timestamp), sender.packet(b"", 0)]
    got = receive(packets, "h264")
    assert [unit.data for unit in got] == [unit.data for unit in GOP]
    assert all(is_clean(unit) for unit in got)


def test_a_lost_picture_leaves_the_next_one_whole_and_flagged() -> None:
    groups = sent(GOP)
    got = receive(flat(groups[:3] + groups[4:]), "h264")
    assert [unit.data for unit in got] == [unit.data for unit in GOP[:3] + GOP[4:]]
    assert [is_clean(unit) for unit in got] == [True] * 3 + [False] + [True] * 7
    assert not any(unit.damaged for unit in got)


@pytest.mark.parametrize("keyframe", [False, True])
def test_a_lost_beginning_is_damage(keyframe: bool) -> None:
    groups = sent(GOP)
    at = 5 if keyframe else 3
    groups[at] = groups[at][1:]
    got = receive(flat(groups), "h264")
    assert [unit.damaged for unit in got] == [index == at for index in range(len(GOP))]


def test_a_lost_end_is_damage() -> None:
    groups = sent(GOP)
    groups[3] = groups[3][:-1]
    got = receive(flat(groups), "h264")
    assert got[3].damaged
    assert got[4].discontinuity
    assert [unit.data for unit in got[4:]] == [unit.data for unit in GOP[4:]]


def test_a_picture_whose_parameter_sets_went_with_a_damaged_unit_is_damaged() -> None:
    units = [h265_unit(0, key=True, sizes=(1, 1)), h265_unit(1, key=True, sizes=(1,))]
    packets = flat(sent(units, mtu=20, marker="nal"))
    got = receive([packet for index, packet in enumerate(packets) if index % 3], "h265")
    assert [unit.damaged for unit in got if b"\x26\x01\xa8" in unit.data] == [True]


patterns = st.lists(st.tuples(st.integers(0, 6), st.sampled_from([0, 1, 1, 1, 1, 1, 1, 2])), min_size=1)


@given(
    streams(),
    st.integers(20, 300),
    st.sampled_from(["last", "never", "nal"]),
    st.booleans(),
    st.booleans(),
    patterns,
    st.sampled_from([IN_ORDER, ReorderLimits(packets=4, wait_ns=20_000_000), ReorderLimits()]),
)
def test_any_loss_reordering_and_repetition_is_survived_or_told(
    units: list[SentUnit],
    mtu: int,
    marker: str,
    aggregate: bool,
    paci: bool,
    pattern: list[tuple[int, int]],
    limits: ReorderLimits,
) -> None:
    """What is delivered as intact was sent like that; what lies between two intact units is flagged."""
    wrapped = paci and units[0].codec == "h265"
    packets = flat(sent(units, mtu=mtu, marker=marker, aggregate=aggregate, paci=wrapped))
    copies = [(i + pattern[i % len(pattern)][0], i) for i in range(len(packets))]
    order = [i for _, i in sorted(copies) for _ in range(pattern[i % len(pattern)][1])]
    got = receive([packets[i] for i in order], units[0].codec, limits=limits)
    by_timestamp = {unit.timestamp: index for index, unit in enumerate(units)}
    before = None
    for number, unit in enumerate(got):
        index = by_timestamp[unit.timestamp]
        if not unit.damaged:
            original = units[index].data
            cut = marker == "nal" and original.startswith(unit.data)  # its second half is flagged
            joined = number == 0 and unit.data in original  # parameter sets come with the SDP
            assert unit.data == original or cut or joined
        if not unit.discontinuity and before is not None:
            assert index == before + 1
        before = index


@given(
    st.sampled_from(sorted(MAKERS)),
    st.lists(
        st.builds(
            RtpPacket,
            sequence=st.integers(0, 40),
            timestamp=st.sampled_from([0, 1, 2, 2**32 - 1]),
            marker=st.booleans(),
            payload_type=st.just(96),
            ssrc=st.integers(0, 1),
            payload=st.binary(max_size=12),
        ),
        max_size=60,
    ),
)
def test_hostile_packets_do_no_harm(codec: str, packets: list[RtpPacket]) -> None:
    for unit in receive(packets, codec, limits=ReorderLimits(packets=3, wait_ns=5_000_000)):
        assert unit.damaged or unit.data
        assert unit.discontinuity or not unit.damaged


def test_a_unit_without_end_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ovstream.rtp.depacketize.MAX_UNIT_BYTES", 10_000)
    sender = Sender(mtu=1000)
    packets = [sender.packet(b"\x41\x88" + bytes(998), 7) for _ in range(50)]
    packets += sender.send(GOP[0])
    got = receive(packets, "h264")
    assert [unit.damaged for unit in got] == [True, False]
    assert len(got[0].data) <= 10_000
