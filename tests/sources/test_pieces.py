"""Access units out of what FFmpeg's RTP client makes of single packets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovstream.sources.pieces import SLACK_TICKS, Part, PieceAssembler
from tests.rtp.sender import START_CODE, SentUnit
from tests.rtp.support import MAKERS, PPS, SPS, h264_unit, streams

SIZES = st.integers(20, 200)


def part(data: bytes, pts: int | None, *, damaged: bool = False) -> Part:
    return Part(data, pts, None, 0, False, damaged, 1000 if pts is None else pts, None)


def pieces(units: Iterable[SentUnit], size: int) -> list[list[Part]]:
    """What FFmpeg hands out for each unit when fragments hold `size` bytes."""
    found: list[list[Part]] = []
    for unit in units:
        found.append([])
        for nal in unit.parts:
            for at in range(0, len(nal), size):
                data = nal[at : at + size]
                found[-1].append(part(data if at else START_CODE + data, unit.timestamp))
    return found


def assemble(parts: Iterable[Part], codec: str) -> list[Part]:
    assembler = PieceAssembler(codec)
    return [unit for one in parts if (unit := assembler.push(one)) is not None]


def check(found: list[Part], sent: list[SentUnit]) -> None:
    assert [(one.data, one.pts, one.keyframe, one.damaged) for one in found] == [
        (unit.data, unit.timestamp, unit.keyframe, False) for unit in sent
    ]


codecs = pytest.mark.parametrize("codec", ["h264", "h265"])


def distinct(units: list[list[Part]]) -> list[list[Part]]:
    """Fragments of real pictures differ; those of `support` do not."""
    return [
        [replace(one, data=one.data[:-1] + bytes([index % 251])) for index, one in enumerate(unit)]
        for unit in units
    ]


@codecs
@given(data=st.data(), size=SIZES)
def test_packets_that_come_twice_count_once(codec: str, data: st.DataObject, size: int) -> None:
    sent = data.draw(streams(codec))
    cut = distinct(pieces(sent, size))
    repeated = [one for unit in cut for one in unit for _ in range(data.draw(st.integers(1, 3)))]
    found = assemble(repeated, codec)
    assert [one.data for one in found] == [b"".join(one.data for one in unit) for unit in cut[:-1]]
    assert [(one.pts, one.keyframe, one.damaged) for one in found] == [
        (unit.timestamp, unit.keyframe, False) for unit in sent[:-1]
    ]


@codecs
def test_units_are_as_they_were_sent(codec: str) -> None:
    sent = [MAKERS[codec](index, key=index == 0, sizes=(30, 90 + index, 5)) for index in range(5)]
    check(assemble([one for unit in pieces(sent, 1500) for one in unit], codec), sent[:-1])


@codecs
def test_a_unit_without_its_first_packet_is_flagged(codec: str) -> None:
    sent = [MAKERS[codec](index, key=False, sizes=(100,)) for index in range(3)]
    first, second, third = pieces(sent, 60)
    found = assemble([*first, *second[1:], *third], codec)
    assert [one.damaged for one in found] == [False, True]


@codecs
def test_a_unit_without_its_first_slice_is_flagged(codec: str) -> None:
    sent = [MAKERS[codec](index, key=False, sizes=(20, 30)) for index in range(3)]
    first, second, third = pieces(sent, 60)
    found = assemble([*first, *second[1:], *third], codec)
    assert [one.damaged for one in found] == [False, True]


def test_the_rest_of_a_picture_from_before_joining_is_nothing() -> None:
    first, second, third = pieces([h264_unit(index, key=False, sizes=(100,)) for index in range(3)], 60)
    assert [one.pts for one in assemble([*first[1:], *second, *third], "h264")] == [3600]


def test_what_ffmpeg_knows_to_be_damaged_stays_so() -> None:
    units = pieces([h264_unit(index, key=False, sizes=(100,)) for index in range(3)], 60)
    units[0][1] = replace(units[0][1], damaged=True)
    assert [one.damaged for one in assemble([*units[0], *units[1], *units[2]], "h264")] == [True, False]


def test_parameter_sets_wait_for_their_picture() -> None:
    sets = part(START_CODE + SPS + START_CODE + PPS, 0)
    unit, following = h264_unit(1, key=True), h264_unit(2, key=False)
    picture = part(START_CODE + unit.parts[-1], unit.timestamp)
    found = assemble([sets, picture, *pieces([following], 99)[0]], "h264")
    check(found, [unit])


def test_units_of_a_clock_that_stands_still_are_told_apart() -> None:
    sent = [h264_unit(index, key=index == 0, timestamp=7) for index in range(3)]
    check(assemble([one for unit in pieces(sent, 99) for one in unit], "h264"), sent[:-1])


def test_a_clock_set_anew_does_not_cut_a_picture() -> None:
    sent = [h264_unit(0, key=True, sizes=(100,)), h264_unit(1, key=False)]
    first, second = pieces(sent, 60)
    first[-1] = replace(first[-1], pts=SLACK_TICKS)
    check(assemble([*first, *second], "h264"), sent[:1])


def test_times_that_are_not_known_do_not_cut() -> None:
    sent = [h264_unit(0, key=True, sizes=(100,)), h264_unit(1, key=False)]
    first, second = pieces(sent, 60)
    first = [first[0], *(replace(one, pts=None) for one in first[1:-1]), first[-1]]
    check(assemble([*first, *second], "h264"), sent[:1])


@given(st.lists(st.tuples(st.binary(max_size=12), st.booleans(), st.integers(0, 3)), max_size=30))
def test_any_bytes_are_survived(given_parts: list[tuple[bytes, bool, int]]) -> None:
    parts = [part(START_CODE * start + data, 900 * pts) for data, start, pts in given_parts]
    for codec in ("h264", "h265"):
        total = sum(len(one.data) for one in assemble(parts, codec))
        assert total <= sum(len(one.data) for one in parts)
