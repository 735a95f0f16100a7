"""Fields that come in access units of their own are read, joined and decoded like frames."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import numpy as np
import pytest

import ovstream
from ovstream.types import FLAG_FIELD
from tests.conftest import Corpus
from tests.native.oracle import join_fields, parse, read_units

# Progressive and interlaced parts, I and P fields in pairs; temporal direct in fields.
STREAMS = ("CVFI1_SVA_C.264", "CABREF3_Sand_D.264")


@pytest.mark.parametrize("name", STREAMS)
def test_the_second_field_brings_what_both_would_have_brought(corpus: Corpus, name: str) -> None:
    units = read_units(corpus.path(f"conformance-h264/{name}"))[:24]
    apart = list(parse(units))
    together = list(parse(join_fields(units)))
    assert len(together) < len(apart)
    halves = {"top", "bottom"}
    assert all(b.structure == "second field" for a, b in pairwise(apart) if a.structure in halves)
    assert all(frame.coverage == 0.5 for frame in apart if frame.structure in halves)
    whole = [frame for frame in apart if frame.structure not in halves]
    for frame, other in zip(whole, together, strict=True):
        assert frame.coverage == other.coverage == 1
        assert (frame.poc, frame.slice_type, frame.keyframe) == (other.poc, other.slice_type, other.keyframe)
        np.testing.assert_array_equal(frame.blocks, other.blocks)
        np.testing.assert_array_equal(frame.mv, other.mv)
        np.testing.assert_array_equal(frame.ref_poc, other.ref_poc)
    fields = [frame for frame in together if frame.structure == "fields"]
    assert fields
    assert all(np.all(frame.blocks["flags"] & FLAG_FIELD) for frame in fields)


@pytest.mark.parametrize("name", STREAMS)
def test_inspect_gives_frames(corpus: Corpus, name: str) -> None:
    frames = list(ovstream.inspect(corpus.path(f"conformance-h264/{name}")))
    assert len(frames) == {"CVFI1_SVA_C.264": 7, "CABREF3_Sand_D.264": 50}[name]
    assert all(frame.coverage == 1 and frame.origin == "bitstream" for frame in frames)


def test_a_stream_of_fields_is_parsed_and_decoded(corpus: Corpus) -> None:
    path = corpus.path("conformance-h264/CVFI1_SVA_C.264")

    async def run() -> ovstream.StreamStats:
        async with ovstream.open(str(path), plan={"everything": True}) as stream:
            assert len([one async for one in stream]) == 7
            return stream.stats

    stats = asyncio.run(run())
    assert (stats.units, stats.frames_parsed, stats.frames_decoded, stats.frames_fallback) == (7, 7, 7, 0)
    assert stats.parse_errors == stats.decode_errors == 0
