"""Real streams: every clip of the corpus gives as many units as the manifest counts packets."""

from __future__ import annotations

import pytest

from ovstream.config import SourceConfig
from ovstream.sources.file import FileSource
from tests.conftest import Corpus
from tests.sources.support import collect

# The best of its six video tracks is not the first one, which the manifest counts.
OTHER_TRACK = {"robot/nasa_13013.mp4"}
SETS = ("camera/", "robot/", "conformance-h264/")


@pytest.mark.parametrize("folder", SETS)
async def test_units_of_real_streams(corpus: Corpus, folder: str) -> None:
    rows = [row for row in corpus.rows if row["file"].startswith(folder) and row["file"] not in OTHER_TRACK]
    assert len(rows) >= 8
    for row in rows:
        source = FileSource(corpus.path(row["file"]), config=SourceConfig(max_pixels=2**26))
        units = await collect(source)
        assert (row["file"], len(units)) == (row["file"], int(row["packets"]))
        assert source.stats.lost == 0
        if row["codec"] in ("h264", "hevc"):
            assert all(unit.data.startswith((b"\0\0\1", b"\0\0\0\1")) for unit in units), row["file"]


async def test_damaged_streams_end_and_say_so(corpus: Corpus) -> None:
    source = FileSource(corpus.path("damaged/corrupted.mp4"))
    units = await collect(source)
    assert len(units) == 49
    assert [index for index, unit in enumerate(units) if unit.discontinuity] == [30]
    assert source.stats.lost == 1
