"""How deep pictures are read: whatever is left out, what is read stays what it was."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ovstream.bitstream import Codec, Parser
from ovstream.types import AccessUnit, BlockClass, FrameMetadata
from tests.bitstream.test_vp8 import packets
from tests.clips import make_clip
from tests.native import hevc_proof
from tests.native.streams import TOOLS, encode


def _tool(name: str) -> list[bytes]:
    return encode(next(tool for tool in TOOLS if tool.name == name))


@pytest.fixture(scope="module")
def vp8(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    path: Path = tmp_path_factory.mktemp("vp8") / "a.ivf"
    return packets(make_clip(path, codec="libvpx", frames=24, options={"g": "12"}))


def _hevc(params: str) -> list[bytes]:
    return hevc_proof.encode(TOOLS[0], f"bframes=0:keyint=12:{params}")


def read(codec: Codec, units: list[bytes], **options: Any) -> list[FrameMetadata]:
    parser = Parser(codec, **options)
    found = []
    for pts, data in enumerate(units):
        unit = AccessUnit(codec, data, pts=pts, time_base=Fraction(1, 25), keyframe=False)
        found.append(parser.parse(unit))
    return found


def assert_same(one: FrameMetadata, other: FrameMetadata) -> None:
    np.testing.assert_array_equal(one.blocks, other.blocks)
    np.testing.assert_array_equal(one.splits, other.splits)
    assert (one.unread, one.coverage) == ("", 1)


def assert_sampled(codec: Codec, units: list[bytes], every: int) -> None:
    number, left = 0, 0
    for whole, frame in zip(read(codec, units), read(codec, units, every=every), strict=True):
        number = 0 if frame.keyframe else number + 1
        assert frame.motion_exact
        assert (frame.slice_type, frame.bits, frame.poc, frame.keyframe, frame.reference) == (
            whole.slice_type,
            whole.bits,
            whole.poc,
            whole.keyframe,
            whole.reference,
        )
        if frame.keyframe or (number - 1) % every == 0:
            assert_same(frame, whole)
        else:
            left += 1
            assert (frame.unread, frame.coverage) == ("inter", 0)
            assert np.all(frame.block_class == BlockClass.UNKNOWN)
            assert not frame.bit_cost.any()
    assert left > len(units) // 2


@pytest.mark.parametrize("name", ["cabac-p", "baseline", "slices-7-mbs", "intra-refresh"])
def test_sampled_pictures_of_h264_are_exact(name: str) -> None:
    units = [unit for unit, frame in _with_frames(name) if frame.slice_type != "B"]
    assert_sampled("h264", units, 5)


def _with_frames(name: str) -> list[tuple[bytes, FrameMetadata]]:
    units = _tool(name)
    return list(zip(units, read("h264", units), strict=True))


def test_sampled_frames_of_vp8_are_exact(vp8: list[bytes]) -> None:
    assert_sampled("vp8", vp8, 4)


def test_sampled_pictures_of_h265_are_exact() -> None:
    assert_sampled("h265", _hevc("no-temporal-mvp=1"), 4)


def test_temporal_motion_vectors_of_h265_need_every_picture() -> None:
    units = _hevc("temporal-mvp=1")
    for whole, frame in zip(read("h265", units), read("h265", units, every=4), strict=True):
        assert_same(frame, whole)


@pytest.mark.parametrize("name", ["cabac-b-temporal", "cavlc-b", "pyramid-strict"])
def test_inexact_motion_is_told(name: str) -> None:
    """B pictures take vectors from their neighbour, which may not have been read."""
    units = _tool(name)
    whole = read("h264", units)
    assert all(frame.motion_exact for frame in whole)
    read_exactly = guessed = 0
    for expected, frame in zip(whole, read("h264", units, every=3), strict=True):
        if frame.unread or not frame.motion_exact:
            guessed += not frame.motion_exact
            assert frame.motion_exact or frame.slice_type == "B"
            continue
        assert_same(frame, expected)
        read_exactly += frame.slice_type != "I"
    assert read_exactly > 0
    assert guessed > 0


Streams = Callable[[], list[bytes]]


@pytest.mark.parametrize(
    ("codec", "units"),
    [("h264", lambda: _tool("cabac-p")), ("h265", lambda: _hevc("no-temporal-mvp=1")), ("vp8", None)],
    ids=["h264", "h265", "vp8"],
)
def test_headers_alone_and_one_picture_in_depth(
    codec: Codec, units: Streams | None, vp8: list[bytes]
) -> None:
    data = units() if units else vp8
    parser, whole = Parser(codec, level="headers"), read(codec, data)
    for pts, (one, expected) in enumerate(zip(data, whole, strict=True)):
        unit = AccessUnit(codec, one, pts=pts, time_base=Fraction(1, 25), keyframe=False)
        if pts % 7 == 3:
            assert_same(parser.parse(unit, level="full"), expected)
            continue
        frame = parser.parse(unit)
        assert frame.unread == ("intra" if frame.slice_type == "I" else "inter")
        assert (frame.slice_type, frame.width, frame.height, frame.poc) == (
            expected.slice_type,
            expected.width,
            expected.height,
            expected.poc,
        )
        assert not frame.bit_cost.any()
        assert not frame.splits.size
        assert frame.coverage == (frame.slice_type == "I")


@pytest.mark.parametrize(
    ("codec", "units"),
    [("h264", lambda: _tool("cabac-p")), ("h265", lambda: _hevc("no-temporal-mvp=1")), ("vp8", None)],
    ids=["h264", "h265", "vp8"],
)
def test_costly_pictures_are_left_unread(codec: Codec, units: Streams | None, vp8: list[bytes]) -> None:
    data = units() if units else vp8
    whole = read(codec, data)
    pixels = whole[0].width * whole[0].height
    sizes = sorted(frame.bits for frame in whole)
    limit = sizes[len(sizes) // 2] / pixels
    outcomes = set()
    for frame, expected in zip(read(codec, data, max_bits_per_pixel=limit), whole, strict=True):
        outcomes.add(frame.unread)
        if frame.unread:
            assert frame.unread == "costly"
            assert (
                frame.bits > 0.95 * limit * pixels
            )  # the picture's size in cells, not what is visible of it
            assert frame.coverage == (frame.slice_type == "I")
        else:
            # Parameter sets and messages are no slices.
            assert frame.bits <= 1.2 * limit * pixels + 8000
            assert_same(frame, expected)
    assert outcomes == {"", "costly"}
    for frame, expected in zip(read(codec, data, max_bits_per_pixel=1e6), whole, strict=True):
        assert_same(frame, expected)
