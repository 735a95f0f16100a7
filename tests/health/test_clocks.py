"""The clock of a stream may stand still or be set: the watches go on, and hold no more than before."""

from __future__ import annotations

import pickle
from fractions import Fraction

import numpy as np
import pytest

from ovstream.health import HealthMonitor
from ovstream.types import BLOCK_DTYPE, SPLIT_DTYPE, BlockClass, FrameMetadata

FPS = 10


def frame(pts: int, *, keyframe: bool, rows: int = 4) -> FrameMetadata:
    """One of a picture that stands still, to the bit."""
    blocks = np.zeros((rows, 6), BLOCK_DTYPE)
    blocks["block_class"] = BlockClass.INTRA if keyframe else BlockClass.SKIP
    if keyframe:
        blocks["residual_energy"] = 1e4 * np.arange(1, blocks.size + 1).reshape(blocks.shape)
    return FrameMetadata(
        codec="h264",
        width=96,
        height=56,
        pts=pts,
        time_base=Fraction(1, FPS),
        keyframe=keyframe,
        reference=True,
        slice_type="I" if keyframe else "P",
        poc=0,
        coverage=1.0,
        origin="bitstream",
        bits=1000,
        blocks=blocks,
        splits=np.empty(0, SPLIT_DTYPE),
    )


def told(monitor: HealthMonitor, *, start_seconds: int, seconds: int) -> list[str]:
    shown = (
        frame(start_seconds * FPS + index, keyframe=index % (2 * FPS) == 0) for index in range(seconds * FPS)
    )
    found = (monitor.observe(one, camera_motion_px=(0.0, 0.0)) for one in shown)
    return [change.condition for changes in found for change in changes]


@pytest.mark.parametrize("start_seconds", [0, 3600])
def test_a_clock_that_is_set_back_blinds_nobody(start_seconds: int) -> None:
    monitor = HealthMonitor((96, 56))
    assert told(monitor, start_seconds=start_seconds, seconds=2) == []
    assert told(monitor, start_seconds=0, seconds=5) == ["frozen"]


def test_a_clock_that_stands_still_gathers_nothing() -> None:
    monitor = HealthMonitor((96, 56))
    sizes = []
    for _ in range(3):
        for _ in range(600):
            monitor.observe(frame(0, keyframe=False), camera_motion_px=(0.0, 0.0))
        sizes.append(len(pickle.dumps(monitor)))
    assert sizes[2] == sizes[0]
