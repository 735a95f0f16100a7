from __future__ import annotations

import itertools
from dataclasses import replace

import av
import numpy as np
import pytest
from av.sidedata.motionvectors import MotionVectors

from ovstream.decode import FallbackParser, Picture
from ovstream.errors import DecodeError
from ovstream.sources.scene import Scene
from ovstream.types import AccessUnit, BlockClass, FrameMetadata
from tests.decode.streams import decode_all, encode, same, x265

MOVING = {"x264-params": "bframes=2:b-adapt=0:ref=2:partitions=all:me=umh", "preset": "slow"}
STILL = Scene(208, 120, objects=0, noise=0.0, lighting=0.0)


def read_all(units: list[AccessUnit]) -> list[tuple[FrameMetadata, Picture]]:
    parser = FallbackParser(units[0].codec)
    results = [result for unit in units for result in parser.parse(unit)]
    results += parser.flush()
    parser.close()
    return results


def motion_by_hand(units: list[AccessUnit]) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """pts -> (mv, used) per 4x4 block, painted one vector after the other."""
    context = av.CodecContext.create({"h265": "hevc"}.get(units[0].codec, units[0].codec), "r")
    context.thread_count = 1
    context.options = {"flags2": "+export_mvs"}
    if units[0].extradata:
        context.extradata = units[0].extradata
    frames = []
    for unit in units:
        packet = av.Packet(unit.data)
        packet.pts = unit.pts
        frames += context.decode(packet)
    frames += context.decode(None)
    found = {}
    for frame in frames:
        rows, cols = -(-frame.height // 16) * 4, -(-frame.width // 16) * 4
        mv, used = np.zeros((2, rows, cols, 2), np.int16), np.zeros((2, rows, cols), bool)
        data = frame.side_data.get("MOTION_VECTORS")
        for vector in data if isinstance(data, MotionVectors) else ():
            here = 1 if vector.source > 0 else 0
            left, top = (vector.dst_x - vector.w // 2) // 4, (vector.dst_y - vector.h // 2) // 4
            area = here, slice(top, top + vector.h // 4), slice(left, left + vector.w // 4)
            mv[area] = [
                vector.motion_x * 4 // vector.motion_scale,
                vector.motion_y * 4 // vector.motion_scale,
            ]
            used[area] = True
        found[frame.pts] = mv, used
    return found


@pytest.mark.parametrize(("codec", "options"), [("libx264", MOVING), ("mpeg4", {"bf": "1", "flags": "+mv4"})])
def test_motion_equals_what_the_decoder_exports(codec: str, options: dict[str, str]) -> None:
    units = encode(codec, options=options, frames=20, scene=Scene(208, 120, pan_px=2.5, speed_px=4.0))
    by_hand = motion_by_hand(units)
    results = read_all(units)
    divided = 0
    for frame, _ in results:
        mv, used = by_hand[frame.pts]
        assert frame.origin == "decoder"
        assert (frame.mv == mv).all()
        assert ((frame.ref_idx >= 0) == used).all()
        inter = used.any(axis=0).reshape(used.shape[1] // 4, 4, used.shape[2] // 4, 4).any(axis=(1, 3))
        assert ((frame.block_class == BlockClass.INTER) == inter).all()
        assert (frame.block_class[~inter] == BlockClass.INTRA).all()
        divided += frame.splits.size
    assert divided > 10
    assert any(np.abs(frame.mv).max() >= 8 for frame, _ in results)


@pytest.mark.parametrize(
    ("codec", "options", "origin"),
    [
        ("libx264", MOVING, "decoder"),
        ("libx265", x265("bframes=3:b-adapt=0"), "difference"),
        ("libvpx", {}, "difference"),
        ("libvpx-vp9", {}, "difference"),
        ("mpeg4", {"bf": "2"}, "decoder"),
        ("mjpeg", {}, "difference"),
    ],
)
def test_every_unit_gives_its_picture_once_in_display_order(
    codec: str, options: dict[str, str], origin: str
) -> None:
    units = encode(codec, options=options, frames=24, pix_fmt="yuvj420p" if codec == "mjpeg" else "yuv420p")
    expected = {picture.pts: picture for picture in decode_all(units).values()}
    results = read_all(units)
    assert [frame.pts for frame, _ in results] == sorted(expected)
    assert len(results) == len(units)
    bits = {unit.pts: 8 * len(unit.data) for unit in units}
    keyframes = {unit.pts for unit in units if unit.keyframe}
    for frame, picture in results:
        assert same(picture, expected[frame.pts])
        assert (frame.width, frame.height) == (picture.width, picture.height) == (208, 120)
        assert frame.origin == origin
        assert frame.bits == bits[frame.pts] == frame.bit_cost.sum()
        assert frame.keyframe == (frame.pts in keyframes)
        assert frame.coverage == 1.0
        assert frame.slice_type == "I" or not frame.keyframe


def test_energy_is_the_squared_difference_to_the_picture_before() -> None:
    units = encode("libx265", options=x265("bframes=0"), frames=6, scene=Scene(200, 104))
    results = read_all(units)
    assert not results[0][0].residual_energy.any()
    for (_, before), (frame, now) in itertools.pairwise(results):
        squared = np.zeros((7 * 16, 13 * 16))
        squared[:104, :200] = (now.y.astype(float) - before.y) ** 2
        expected = squared.reshape(7, 16, 13, 16).sum(axis=(1, 3))
        assert np.allclose(frame.residual_energy, expected, rtol=1e-5)
        assert frame.residual_energy.max() > 100


def test_a_scene_at_rest_is_skipped() -> None:
    results = read_all(encode("libx265", options=x265("bframes=0"), frames=8, scene=STILL))
    last = results[-1][0]
    assert (last.block_class == BlockClass.SKIP).mean() > 0.9
    moving = read_all(encode("libx265", options=x265("bframes=0"), frames=8))[-1][0]
    assert (moving.block_class == BlockClass.UNKNOWN).any()
    assert moving.residual_energy.sum() > 10 * last.residual_energy.sum()


def test_quantisers_are_those_of_the_encoder() -> None:
    options = {"x264-params": "qp=31:ipratio=1:bframes=0:aq-mode=0:scenecut=0"}
    results = read_all(encode(options=options, frames=6))
    assert all((frame.qp == 31).all() for frame, _ in results)


def test_chroma_formats_and_interlaced_video_work_here() -> None:
    units = encode(options={"bf": "0"}, pix_fmt="yuv444p", frames=6)
    results = read_all(units)
    assert len(results) == 6
    assert results[0][1].u.shape == (60, 104)
    interlaced = encode(options={"flags": "+ildct+ilme", "bf": "0"}, frames=6)
    assert len(read_all(interlaced)) == 6


def test_it_waits_for_a_keyframe_at_the_start_and_after_lost_data() -> None:
    units = encode(options={"bf": "0"}, frames=20)
    parser = FallbackParser("h264")
    with pytest.raises(DecodeError, match="keyframe"):
        parser.parse(units[1])
    assert len(parser.parse(units[0])) + len(parser.parse(units[1])) >= 1
    with pytest.raises(DecodeError, match="keyframe"):
        parser.parse(replace(units[5], discontinuity=True))
    results = [result for unit in units[15:] for result in parser.parse(unit)] + parser.flush()
    assert [frame.pts for frame, _ in results] == [15, 16, 17, 18, 19]


def test_a_damaged_unit_does_not_end_the_stream() -> None:
    units = encode("libvpx", frames=20)
    parser = FallbackParser("vp8")
    parser.parse(units[0])
    with pytest.raises(DecodeError):
        parser.parse(replace(units[1], data=b"\x01"))
    assert [frame.pts for frame, _ in parser.parse(units[15])] == [15]


def test_a_new_size_starts_without_a_difference() -> None:
    small = encode("libvpx", frames=3)
    large = encode("libvpx", frames=3, scene=Scene(320, 192), first_pts=3)
    frames = [frame for frame, _ in read_all(small + large)]
    assert [frame.mb_shape for frame in frames] == [(8, 13)] * 3 + [(12, 20)] * 3
    assert not frames[3].residual_energy.any()
    assert frames[4].residual_energy.any()


def test_it_ends_cleanly() -> None:
    parser = FallbackParser("h264")
    parser.close()
    parser.close()
    assert parser.flush() == []
    with pytest.raises(DecodeError, match="closed"):
        parser.parse(encode(frames=1)[0])
    with pytest.raises(DecodeError, match="no decoder"):
        FallbackParser("no-such-codec")


def test_other_parameters_wait_for_a_keyframe() -> None:
    """The new decoder holds no picture that the next unit could refer to."""
    units = encode("libvpx", frames=6)
    parser = FallbackParser("vp8")
    for unit in units[:3]:
        parser.parse(unit)
    with pytest.raises(DecodeError, match="waiting for a keyframe"):
        parser.parse(replace(units[3], extradata=b"new"))
    assert parser.parse(replace(units[0], extradata=b"new"))
    parser.close()
