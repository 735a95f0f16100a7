"""Single wrong bits, then many of them: radio links, and whoever looks for a crash."""

from __future__ import annotations

import random

import pytest

from ovstream.bitstream import Parser
from ovstream.types import FrameMetadata
from tests.hostile.helpers import START, attempt, pps, skipped, slice_header, sps


def test_every_bit_of_the_parameter_sets_and_headers(clip: list[bytes]) -> None:
    unit = clip[0]
    for position in range(8 * min(len(unit), 120)):
        damaged = bytearray(unit)
        damaged[position // 8] ^= 1 << position % 8
        parser = Parser("h264")
        attempt(parser, bytes(damaged))
        attempt(parser, clip[1])


def test_random_bits_all_over(clip: list[bytes]) -> None:
    rng = random.Random(1)
    for flips in (1, 3, 30):
        for _ in range(60):
            parser = Parser("h264", level=rng.choice(["full", "motion"]), skip_intra=rng.random() < 0.2)
            for unit in clip:
                damaged = bytearray(unit)
                for _ in range(flips):
                    damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
                attempt(parser, bytes(damaged))


@pytest.mark.parametrize(
    "damaged",
    [
        skipped(4, first_mb=4, frame_num=5),
        slice_header(3, first_mb=4).ue(4).nal(0x41),
        START + b"\x44\xff\xff",
    ],
    ids=["frame_num", "slice_type", "nal_unit_type"],
)
def test_a_damaged_header_costs_its_slice_only(damaged: bytes) -> None:
    whole = [skipped(4, first_mb=first) for first in (0, 4, 8, 12)]
    result = attempt(Parser("h264"), sps() + pps() + whole[0] + damaged + whole[2] + whole[3])
    assert isinstance(result, FrameMetadata)
    assert (result.errors, result.coverage) == (1, 0.75)
    assert result.block_class[:, 0].tolist() == [1, 0, 1, 1]
    assert result.slice_map[:, 0].tolist() == [0, 0, 1, 2]
