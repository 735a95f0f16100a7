"""H.265, one clip per coding tool: samples rebuilt from what the parser read are FFmpeg's (loop filters off)."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest

from tests.native.hevc_proof import encode
from tests.native.reconstruct import Outcome, rebuild
from tests.native.streams import Tool
from tests.native.test_hevc_proof import CLIPS

# The first test may have to build the decoder.
pytestmark = pytest.mark.timeout(900)

FRAMES = 8
_B = "bframes=3:b-adapt=0"
_PLAIN = Tool("plain")
# Beside the clips of the other proof: what changes residuals and intra prediction.
MORE = {
    "intra": (_PLAIN, "keyint=1:tu-intra-depth=4:rd=6", "yuv420p"),
    "intra-smooth": (
        Tool("smooth", noise=0, still=True),
        "keyint=1:strong-intra-smoothing=1:crf=30",
        "yuv420p",
    ),
    "intra-no-strong": (Tool("smooth", noise=0), "keyint=1:no-strong-intra-smoothing=1:crf=30", "yuv420p"),
    "constrained-intra": (Tool("noisy", noise=20), f"{_B}:constrained-intra=1:crf=20", "yuv420p"),
    "no-sign-hiding": (_PLAIN, f"{_B}:no-signhide=1:crf=18", "yuv420p"),
    "scaling-lists": (_PLAIN, f"{_B}:scaling-list=default", "yuv420p"),
    "transform-skip-fine": (Tool("noisy", noise=20), f"{_B}:tskip=1:crf=10", "yuv420p"),
    "quantisers": (_PLAIN, f"{_B}:aq-mode=3:aq-strength=3:qg-size=8:crf=22:ctu=32", "yuv420p"),
    "lossless": (_PLAIN, f"{_B}:lossless=1", "yuv420p"),
    "weighted-p": (Tool("fade", fade=True), "bframes=0:weightp=1:ref=3", "yuv420p"),
    "weighted-b": (Tool("fade", fade=True), f"{_B}:weightp=1:weightb=1:ref=3", "yuv420p"),
    "ten-bits": (_PLAIN, f"{_B}:rect=1:crf=16", "yuv420p10le"),
    "twelve-bits": (_PLAIN, f"{_B}:rect=1:crf=16", "yuv420p12le"),
    "grey": (_PLAIN, f"{_B}:rect=1", "gray"),
    "422": (_PLAIN, f"{_B}:rect=1", "yuv422p"),
    "444": (_PLAIN, f"{_B}:rect=1:crf=16", "yuv444p"),
    "odd-size": (Tool("odd", width=178, height=106), f"{_B}:ctu=32:rect=1", "yuv420p"),
    "narrow": (Tool("narrow", width=72, height=200), f"{_B}:amp=1:rect=1", "yuv420p"),
}


# One of each kind; all of them by `python -m tests.native.table`.
NAMES = (
    "p-4-references",
    "pyramid",
    "amp",
    "small-blocks",
    "merge-5",
    "slices",
    "open-gop",
    "lossless-units",
    "deep-transforms",
    "intra-refresh",
    "intra",
    "intra-smooth",
    "constrained-intra",
    "scaling-lists",
    "transform-skip-fine",
    "quantisers",
    "weighted-b",
    "ten-bits",
    "444",
    "odd-size",
)


def clips(names: Collection[str] = (*CLIPS, *MORE)) -> dict[str, list[bytes]]:
    """Access units of clips."""
    every = {name: (_PLAIN, params, "yuv420p") for name, params in CLIPS.items()} | MORE
    chosen = {name: clip for name, clip in every.items() if name in names}
    return {
        name: encode(tool, params, frames=FRAMES, pixels=pixels)
        for name, (tool, params, pixels) in chosen.items()
    }


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    return rebuild("h265", clips(NAMES), tmp_path_factory.mktemp("clips"))


@pytest.mark.parametrize("name", NAMES)
def test_rebuilt_luma_equals_ffmpeg(outcomes: dict[str, Outcome], name: str) -> None:
    outcome = outcomes[name]
    assert not outcome.difference
    assert outcome.frames == outcome.equal == FRAMES


def test_a_loop_filter_would_show(tmp_path: Path) -> None:
    """The proof can fail: the decoder of the tests has no loop filters."""
    units = encode(_PLAIN, f"{_B}:deblock=0", frames=3)
    outcome = rebuild("h265", {"filtered": units}, tmp_path)["filtered"]
    assert outcome.frames == 3 > outcome.equal
    assert outcome.difference
