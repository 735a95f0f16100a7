"""Access units cut anywhere: packet loss and careless callers do that every day."""

from __future__ import annotations

from ovstream.bitstream import Parser
from ovstream.types import FrameMetadata
from tests.hostile.helpers import attempt


def test_every_length_of_every_unit(clip: list[bytes]) -> None:
    for index, unit in enumerate(clip[:5]):
        parser = Parser("h264")
        for before in clip[:index]:
            attempt(parser, before)
        for length in range(0, len(unit), 7):
            attempt(parser, unit[:length])


def test_the_stream_goes_on_after_a_cut(clip: list[bytes]) -> None:
    parser = Parser("h264")
    results = [
        attempt(parser, unit[: len(unit) // 2] if index == 2 else unit) for index, unit in enumerate(clip)
    ]
    frames = [result for result in results if isinstance(result, FrameMetadata)]
    assert len(frames) >= len(clip) - 1
    assert sum(frame.coverage == 1 for frame in frames) >= len(clip) - 1
    keyframes = [frame for frame in frames if frame.keyframe]
    assert keyframes[-1].errors == 0


def test_the_missing_half_is_unknown_and_counted(clip: list[bytes]) -> None:
    parser = Parser("h264")
    first = attempt(parser, clip[0])
    assert isinstance(first, FrameMetadata)
    cut = attempt(parser, clip[1][:-20])
    assert isinstance(cut, FrameMetadata)
    assert cut.errors >= 1 or cut.coverage < 1
