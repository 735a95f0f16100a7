"""Every real stream with flipped bits and cut units: radio links, dying cameras, full disks.

Any unit gives a result or one of our exceptions, and the next keyframe is read as if nothing had happened.
"""

from __future__ import annotations

import random
from fractions import Fraction

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext

from ovstream.bitstream import Codec, Level, Parser
from ovstream.errors import BitstreamError
from ovstream.types import AccessUnit, FrameMetadata
from tests.conftest import Corpus, load_corpus

CODECS: dict[str, Codec] = {"h264": "h264", "hevc": "h265", "vp8": "vp8"}
CONTAINERS = {".mp4", ".mov", ".mkv", ".3gp", ".flv", ".avi"}
FORMATS = {"hevc": "hevc", "h264": "h264", "vp8": "ivf"}
MOST_UNITS, MOST_BYTES = 8, 20_000
MAX_PIXELS = 1 << 25
LEVELS: tuple[Level, ...] = ("full", "motion")


def _streams() -> list[tuple[str, str]]:
    corpus = load_corpus()
    rows = corpus.rows if corpus else []
    return [(row["file"], row["codec"]) for row in rows if row["codec"] in CODECS]


def read_units(corpus: Corpus, name: str, codec: str) -> list[bytes]:
    """The first access units of a stream, from a keyframe on."""
    path = corpus.path(name)
    inside = path.suffix in CONTAINERS
    units: list[bytes] = []
    with av.open(str(path), format=None if inside else FORMATS[codec]) as container:
        stream = container.streams.video[0]
        annex_b = (
            BitStreamFilterContext(f"{codec}_mp4toannexb", stream) if inside and codec != "vp8" else None
        )
        for packet in container.demux(stream):
            if packet.size:
                units += [bytes(one) for one in (annex_b.filter(packet) if annex_b else [packet])]
            if len(units) >= MOST_UNITS or sum(map(len, units)) >= MOST_BYTES:
                break
    return units


def attempt(parser: Parser, codec: Codec, data: bytes) -> FrameMetadata | None:
    unit = AccessUnit(codec, data, pts=0, time_base=Fraction(1, 25), keyframe=False)
    try:
        result: FrameMetadata | BitstreamError = parser.parse(unit)
    except BitstreamError as error:
        result = error
    if isinstance(result, FrameMetadata):
        return result
    assert "internal" not in result.element, result
    return None


def damaged(rng: random.Random, data: bytes) -> bytes:
    """A copy with wrong bits, most of them near the front where headers are, or without its end."""
    if rng.random() < 0.25:
        return data[: rng.randrange(len(data))]
    copy = bytearray(data)
    for _ in range(rng.choice([1, 2, 8])):
        reach = min(len(copy), rng.choice([40, len(copy)]))
        copy[rng.randrange(reach)] ^= 1 << rng.randrange(8)
    return bytes(copy)


@pytest.mark.parametrize(("name", "codec"), _streams())
def test_damage_ends_with_the_next_keyframe(corpus: Corpus, name: str, codec: str) -> None:
    try:
        units = [unit for unit in read_units(corpus, name, codec) if unit]
    except av.error.FFmpegError:
        pytest.skip("FFmpeg finds no pictures in this file; test_damaged_corpus cuts it blindly")
    ours, rng = CODECS[codec], random.Random(name)
    first = attempt(Parser(ours, max_pixels=MAX_PIXELS), ours, units[0])
    for level in LEVELS:
        parser = Parser(ours, level=level, max_pixels=MAX_PIXELS)
        for unit in units:
            attempt(parser, ours, damaged(rng, unit) if rng.random() < 0.7 else unit)
        if first is not None and first.keyframe and not first.errors:
            healed = parser.parse(
                AccessUnit(ours, units[0], pts=0, time_base=Fraction(1, 25), keyframe=True), level="full"
            )
            np.testing.assert_array_equal(healed.blocks, first.blocks)
            assert (healed.coverage, healed.errors) == (first.coverage, 0)
