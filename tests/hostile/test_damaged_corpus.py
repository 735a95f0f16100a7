"""Streams that others found broken: lost packets, crash reproductions, odd recordings."""

from __future__ import annotations

import av
import pytest

from ovstream.bitstream import Parser
from ovstream.errors import UnsupportedBitstream
from ovstream.types import FrameMetadata
from tests.conftest import Corpus, load_corpus
from tests.hostile.helpers import attempt
from tests.native.oracle import read_units


def _damaged() -> list[str]:
    corpus = load_corpus()
    rows = corpus.rows if corpus else []
    return [row["file"] for row in rows if row["file"].startswith("damaged/") and row["codec"] == "h264"]


@pytest.mark.parametrize("name", _damaged())
def test_each_unit_gives_a_result_or_an_error(corpus: Corpus, name: str) -> None:
    path = corpus.path(name)
    try:
        units = read_units(path)
    except av.error.InvalidDataError:
        data = path.read_bytes()
        units = [data[i : i + 5000] for i in range(0, len(data), 5000)]
    for nal_length_bytes in (0, 4):
        parser = Parser("h264", nal_length_bytes=nal_length_bytes)
        for unit in units:
            attempt(parser, unit)


@pytest.mark.parametrize("name", ["BA_MW_D_P_LOST.264", "foreman_cif_bad.h264"])
def test_most_pictures_survive_packet_loss(corpus: Corpus, name: str) -> None:
    units = read_units(corpus.path(f"damaged/{name}"))
    parser = Parser("h264")
    results = [attempt(parser, unit) for unit in units]
    assert not any(isinstance(result, UnsupportedBitstream) for result in results)
    frames = [result for result in results if isinstance(result, FrameMetadata)]
    assert len(frames) >= 0.95 * len(units)
    assert sum(frame.coverage for frame in frames) >= 0.8 * len(frames)
