"""H.264, one clip per coding tool: samples rebuilt from what the parser read are FFmpeg's, in-loop filter included."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.native.proof import parse
from tests.native.reconstruct import Outcome, rebuild, results, write
from tests.native.streams import TOOLS, encode
from tests.native.switching import rewrite

BASELINE = next(tool for tool in TOOLS if tool.name == "baseline")
# The first test may have to build the decoder.
pytestmark = pytest.mark.timeout(900)

FRAMES = 8
# One of each kind; all of them by `python -m tests.native.table`.
NAMES = (
    "baseline",
    "cavlc-8x8dct",
    "cabac-b-temporal",
    "direct-auto-pyramid",
    "cqm-jvt",
    "slices-one-row",
    "ref-8-cavlc",
    "weightp",
    "weightb-implicit",
    "all-partitions",
    "p4x4-baseline",
    "low-qp-cavlc",
    "pcm",
    "chroma-qp-offset",
    "odd-size",
    "constrained-intra",
    "gray",
    "422-cavlc",
    "444",
    "10-bit",
    "lossless",
    "mbaff-temporal",
    "mbaff-all-cavlc",
    "mbaff-weightb",
    "mbaff-pcm-cavlc",
)
# SP and SI slices, which FFmpeg, and the decoder for this comparison, take for P and I.
SWITCHED = "sp-si"


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    clips = {tool.name: encode(tool, FRAMES) for tool in TOOLS if tool.name in NAMES}
    clips[SWITCHED] = rewrite(clips["p4x4-baseline"], list(parse("h264", clips["p4x4-baseline"])))
    return rebuild("h264", clips, tmp_path_factory.mktemp("clips"))


@pytest.mark.parametrize("name", [*NAMES, SWITCHED])
def test_rebuilt_luma_equals_ffmpeg(outcomes: dict[str, Outcome], name: str) -> None:
    outcome = outcomes[name]
    assert not outcome.difference
    assert outcome.frames == outcome.equal == FRAMES


def test_a_wrong_sample_would_show(tmp_path: Path) -> None:
    """The proof can fail: pictures of another clip."""
    clips = {name: encode(replace(BASELINE, noise=noise), 3) for name, noise in (("own", 3), ("other", 4))}
    write("h264", clips, tmp_path)
    (tmp_path / "other.luma").rename(tmp_path / "own.luma")
    (tmp_path / "other.units").unlink()
    outcome = results("h264", tmp_path)["own"]
    assert (outcome.frames, outcome.equal) == (3, 0)
    assert outcome.difference
