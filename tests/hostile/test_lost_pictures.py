"""Access units that never arrive: what does not depend on them stays exact, and nothing is made up."""

from __future__ import annotations

import numpy as np
import pytest

from ovstream.bitstream import Parser
from ovstream.types import FrameMetadata
from tests.hostile.helpers import attempt, pps, skipped, sps
from tests.native.streams import Tool, encode


@pytest.fixture(scope="module")
def p_stream() -> list[bytes]:
    return encode(
        Tool("lost", "bframes=0:ref=4:keyint=infinite:scenecut=0", width=96, height=80, noise=8), frames=16
    )


@pytest.mark.parametrize("lost", [{1}, {4}, {4, 5}, {2, 7, 8, 9, 10, 11}])
def test_motion_of_p_pictures_needs_no_other_picture(p_stream: list[bytes], lost: set[int]) -> None:
    whole, holed = Parser("h264"), Parser("h264")
    missing = 0
    for index, data in enumerate(p_stream):
        expected = attempt(whole, data)
        if index in lost:
            continue
        frame = attempt(holed, data)
        assert isinstance(frame, FrameMetadata)
        assert isinstance(expected, FrameMetadata)
        np.testing.assert_array_equal(frame.blocks, expected.blocks)
        assert (frame.errors, frame.poc) == (0, expected.poc)
        missing += holed.missing_references
        assert whole.missing_references == 0
    assert missing > 0


def test_b_pictures_around_a_loss_stay_readable(clip: list[bytes]) -> None:
    for lost in range(1, len(clip)):
        parser = Parser("h264")
        for index, data in enumerate(clip):
            if index != lost:
                frame = attempt(parser, data)
                assert isinstance(frame, FrameMetadata)
                assert (frame.errors, frame.coverage) == (0, 1)


def test_joining_anywhere_counts_what_is_missing() -> None:
    parser = Parser("h264")
    frame = attempt(parser, sps(max_num_ref_frames=2) + pps() + skipped(16, frame_num=9))
    assert isinstance(frame, FrameMetadata)
    assert parser.missing_references == 1
    assert parser.sequence_changed
    attempt(parser, skipped(16, frame_num=10))
    assert (parser.missing_references, parser.sequence_changed) == (0, False)
