"""Real streams by others: the parser says what FFmpeg says.

The small ones run here, all of them by `python -m tests.native.table`.
"""

from __future__ import annotations

import pytest

from tests.conftest import Corpus, load_corpus
from tests.native.oracle import compare, read_units
from tests.native.streams import comparable

SMALL_BYTES = 130_000
# One larger file of each family: cameras with their own encoders, long-term references, temporal direct.
CHOSEN = (
    "CAMA3_Sand_E",
    "CAPAMA3_Sand_F",
    "fi001.mp4",
    "MR2_TANDBERG_E",
    "FRExt_MMCO4_Sony_B",
    "jm_1080p_allslice",
    "test_video.mp4",
)


def _chosen() -> list[str]:
    corpus = load_corpus()
    if corpus is None:
        return []
    names = comparable(corpus)
    return [
        name
        for name in names
        if corpus.path(name).stat().st_size < SMALL_BYTES or any(part in name for part in CHOSEN)
    ]


@pytest.mark.parametrize("name", _chosen())
def test_vectors_and_quantisers_equal_ffmpeg(corpus: Corpus, name: str) -> None:
    score = compare(read_units(corpus.path(name)))
    assert not score.first_difference
    assert score.perfect
