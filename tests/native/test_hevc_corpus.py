"""H.265 streams of encoders, cameras and phones: every slice ends where its trailing bits are, every cell is known.

That alone proves the syntax: arithmetic decoding that goes astray anywhere ends at another bit.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext

from ovstream.bitstream import Parser
from ovstream.types import AccessUnit
from tests.conftest import Corpus, load_corpus
from tests.native.oracle import CONTAINERS

SMALL_BYTES = 120_000
CHOSEN = ("SLIST_A_Sony_5", "rv1126", "jetson")
FRAMES = 40


def read_units(path: Path, frames: int = FRAMES) -> list[bytes]:
    """The first access units of a file in decoding order, as Annex B."""
    raw = path.suffix not in CONTAINERS
    with av.open(str(path), format="hevc" if raw else None) as container:
        stream = container.streams.video[0]
        to_annex_b = None if raw else BitStreamFilterContext("hevc_mp4toannexb", stream)
        units: list[bytes] = []
        for packet in container.demux(stream):
            if packet.size:
                packets = [packet] if to_annex_b is None else to_annex_b.filter(packet)
                units += [bytes(one) for one in packets]
            if len(units) >= frames:
                break
    return units


def _chosen() -> list[str]:
    corpus = load_corpus()
    if corpus is None:
        return []
    return [
        row["file"]
        for row in corpus.rows
        if row["codec"] == "hevc"
        and row["errors"] == "0"
        and row["file"].split("/")[0] in ("conformance-hevc", "camera", "robot")
        and (int(row["bytes"]) < SMALL_BYTES or any(part in row["file"] for part in CHOSEN))
    ]


@pytest.mark.parametrize("name", _chosen())
def test_every_slice_ends_at_its_trailing_bits(corpus: Corpus, name: str) -> None:
    row = next(row for row in corpus.rows if row["file"] == name)
    parser = Parser("h265")
    kinds = set()
    for index, unit in enumerate(read_units(corpus.path(name))):
        frame = parser.parse(AccessUnit("h265", unit, pts=index, time_base=Fraction(1, 25), keyframe=False))
        assert (frame.errors, frame.coverage) == (0, 1), f"access unit {index}"
        assert f"{frame.width}x{frame.height}" == row["size"]
        assert 0 < int(frame.bit_cost.sum()) <= 8 * len(unit)
        assert np.isfinite(frame.residual_energy).all()
        if index == 0:
            assert frame.keyframe
        kinds.add(frame.slice_type)
    assert kinds
