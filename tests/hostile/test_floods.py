"""Work out of proportion to the bytes: very many units, slices, messages; zeros without end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ovstream.bitstream import Parser
from ovstream.errors import InvalidBitstream
from ovstream.types import FrameMetadata
from tests.hostile.helpers import START, attempt, pps, skipped, slice_header, sps


@contextmanager
def within(cpu_seconds: float) -> Iterator[None]:
    begin = time.process_time()
    yield
    assert time.process_time() - begin < cpu_seconds


@pytest.mark.parametrize(
    "nal", [b"\0\0\1\x09", b"\0\0\1\x06\x06", b"\0\0\1\x67\x42", b"\0\0\1\x68\xce", b"\0\0\1\x41\x9a"]
)
def test_a_million_tiny_nal_units(nal: bytes) -> None:
    with within(3):
        attempt(Parser("h264"), sps() + pps() + nal * 1_000_000)


@pytest.mark.parametrize("byte", [b"\0", b"\3", b"\xff"])
def test_ten_megabytes_of_one_byte(byte: bytes) -> None:
    with within(3):
        for header in (b"\x41", b"\x65", b"\x06", b"\x67", b"\x68"):
            attempt(Parser("h264"), sps() + pps() + START + header + byte * 10_000_000)


def test_the_same_slice_again_and_again() -> None:
    one = slice_header(0).ue(3).nal(0x41)
    with within(3):
        result = attempt(Parser("h264"), sps() + pps() + one * 100_000)
    assert isinstance(result, FrameMetadata)
    assert result.errors == 99_999


def test_every_slice_runs_to_the_end_of_the_picture() -> None:
    side = 60
    slices = b"".join(skipped(side * side - first, first_mb=first) for first in reversed(range(side * side)))
    with within(3):
        result = attempt(Parser("h264"), sps(side, side) + pps() + slices)
    # Each macroblock may come twice on the average; from then on slices are refused unread.
    assert isinstance(result, FrameMetadata)
    assert 0 < result.coverage < 0.1
    assert result.errors > 3000


def test_two_pictures_in_one_access_unit() -> None:
    parser = Parser("h264")
    result = attempt(parser, sps() + pps() + skipped(16) + skipped(16, frame_num=1))
    assert isinstance(result, InvalidBitstream)
    assert "second" in result.element
    assert result.nal_index == 3
    assert isinstance(attempt(parser, skipped(16, frame_num=1)), FrameMetadata)


def test_a_gap_of_all_frame_numbers_is_bounded() -> None:
    parser = Parser("h264")
    attempt(parser, sps(max_num_ref_frames=16) + pps() + skipped(16))
    with within(4):
        for step in range(4_000):
            assert isinstance(attempt(parser, skipped(16, frame_num=15 * step % 16)), FrameMetadata)


def test_length_fields_beyond_the_end() -> None:
    parser = Parser("h264", nal_length_bytes=4)
    assert isinstance(attempt(parser, b"\xff\xff\xff\xff\x41\x9a"), InvalidBitstream)
    with within(3):
        attempt(Parser("h264", nal_length_bytes=1), bytes(1_000_000))
