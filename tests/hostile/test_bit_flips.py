"""Single wrong bits, then many of them: radio links, and whoever looks for a crash."""

from __future__ import annotations

import random

from ovstream.bitstream import Parser
from tests.hostile.helpers import attempt


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
