"""Parameter sets that promise too much, contradict each other, or never come."""

from __future__ import annotations

import resource

import pytest

from ovstream.bitstream import Parser
from ovstream.errors import InvalidBitstream, UnsupportedBitstream
from ovstream.types import BlockClass, FrameMetadata
from tests.hostile.helpers import START, Bits, attempt, pps, skipped, sps


def test_a_huge_picture_is_refused_before_memory_is_taken() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for side in (200, 1000, 16000):
        result = attempt(Parser("h264"), sps(side, side) + pps() + skipped(side * side))
        assert isinstance(result, UnsupportedBitstream)
        assert "max_pixels" in result.element
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


def test_sizes_beyond_any_level_are_invalid() -> None:
    huge = (
        Bits()
        .u(8, 66)
        .u(8, 0)
        .u(8, 40)
        .ue(0, 0, 2, 1)
        .u(1, 0)
        .ue(2**32 - 2, 2**32 - 2)
        .u(4, 0b1100)
        .nal(0x67)
    )
    result = attempt(Parser("h264"), huge)
    assert isinstance(result, InvalidBitstream)
    assert result.element == "pic_width_in_mbs_minus1"


def test_the_limit_is_the_callers() -> None:
    data = sps(10, 10) + pps() + skipped(100)
    assert isinstance(attempt(Parser("h264", max_pixels=25_600), data), FrameMetadata)
    assert isinstance(attempt(Parser("h264", max_pixels=25_599), data), UnsupportedBitstream)


@pytest.mark.parametrize(
    ("data", "element"),
    [
        (skipped(16), "pic_parameter_set_id"),
        (sps() + skipped(16), "pic_parameter_set_id"),
        (pps() + skipped(16), "seq_parameter_set_id"),
        (sps() + pps(sps_id=7) + skipped(16), "seq_parameter_set_id"),
        (sps() + pps(), "no coded picture"),
        (b"", "no coded picture"),
    ],
)
def test_missing_sets_are_named(data: bytes, element: str) -> None:
    result = attempt(Parser("h264"), data)
    assert isinstance(result, InvalidBitstream)
    assert element in result.element


def test_a_pps_may_come_before_its_sps() -> None:
    result = attempt(Parser("h264"), pps() + sps() + skipped(16))
    assert isinstance(result, FrameMetadata)
    assert (result.block_class == BlockClass.SKIP).all()


def test_a_size_change_without_warning() -> None:
    parser = Parser("h264")
    shapes = []
    for side in (4, 9, 2, 9):
        result = attempt(parser, sps(side, side) + pps() + skipped(side * side))
        assert isinstance(result, FrameMetadata)
        shapes.append(result.mb_shape)
    assert shapes == [(4, 4), (9, 9), (2, 2), (9, 9)]


def test_an_endless_pps_is_not_kept() -> None:
    result = attempt(Parser("h264"), sps() + pps() + START + b"\x68" + b"\xce" * 100_000)
    assert isinstance(result, UnsupportedBitstream)
