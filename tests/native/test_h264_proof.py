"""H.264 motion, picture by picture against PyAV's samples: what FFmpeg's exported vectors cannot tell."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.native.h264_proof import prove
from tests.native.streams import Tool, encode

_PLAIN = "no-deblock=1:weightp=0:weightb=0:qp=30:ipratio=1:pbratio=1"
_B = f"{_PLAIN}:bframes=3:b-adapt=0"
_ALL = "analyse=all:subme=9:psy-rd=0"
CLIPS = [
    Tool("small-blocks", f"{_PLAIN}:{_ALL}:bframes=0:ref=4", noise=10),
    Tool("small-blocks-cavlc", f"{_PLAIN}:{_ALL}:bframes=0:ref=4:cabac=0", noise=10),
    Tool("b-spatial", f"{_B}:{_ALL}:ref=4:direct=spatial", noise=8),
    Tool("b-temporal", f"{_B}:{_ALL}:ref=4:direct=temporal", noise=8),
    Tool("b-temporal-cavlc", f"{_B}:{_ALL}:ref=4:direct=temporal:cabac=0", noise=8),
    Tool("pyramid", f"{_PLAIN}:bframes=7:b-adapt=0:b-pyramid=normal:direct=auto:ref=6", noise=8),
    Tool("slices", f"{_B}:slices=4:ref=3"),
    Tool("mbaff-p", f"{_PLAIN}:{_ALL}:tff=1:bframes=0:ref=4", interlaced=True, noise=8),
    Tool("mbaff-spatial", f"{_B}:{_ALL}:tff=1:ref=4:direct=spatial", interlaced=True, noise=8),
    Tool("mbaff-temporal", f"{_B}:{_ALL}:bff=1:ref=4:direct=temporal", interlaced=True, noise=8),
    Tool("mbaff-cavlc", f"{_B}:{_ALL}:tff=1:ref=4:direct=temporal:cabac=0", interlaced=True, noise=8),
]


@pytest.mark.parametrize("tool", CLIPS, ids=lambda tool: tool.name)
def test_prediction_without_residual_equals_the_decoded_picture(tool: Tool) -> None:
    proof = prove(encode(tool, 12))
    assert not proof.first_difference
    assert proof.perfect
    assert proof.frames == 12
    assert proof.blocks > 500
    assert proof.moving > proof.blocks // 4
    assert (proof.bidirectional > 0) == ("bframes=0" not in tool.x264)
    assert (proof.fields > 100) == tool.interlaced
    if "ref=4" in tool.x264:
        assert proof.far > 50
    if tool.name.startswith("small"):
        assert proof.small > 20


def test_a_loop_filter_would_show() -> None:
    """The proof can fail."""
    plain = next(tool for tool in CLIPS if tool.name == "slices")
    filtered = replace(plain, x264=plain.x264.replace("no-deblock=1", "no-deblock=0"))
    proof = prove(encode(filtered, 12))
    assert proof.blocks > proof.equal > 0
