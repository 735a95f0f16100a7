from __future__ import annotations

import itertools
import random
from dataclasses import replace
from fractions import Fraction

import pytest

from ovstream.decode import OnDemandDecoder
from ovstream.errors import DecodeError
from ovstream.sources.scene import Scene
from ovstream.types import AccessUnit
from tests.conftest import Corpus
from tests.decode.streams import decode_all, encode, is_reference, read_corpus, same, with_data, x265

STREAMS: dict[str, tuple[str, dict[str, str]]] = {
    "h264 no B": ("libx264", {"bf": "0"}),
    "h264 four references": ("libx264", {"x264-params": "bframes=0:ref=4:slices=3"}),
    "h264 B": ("libx264", {"x264-params": "bframes=3:b-adapt=0:b-pyramid=none"}),
    "h264 B pyramid": ("libx264", {"x264-params": "bframes=3:b-adapt=0:b-pyramid=normal:ref=4"}),
    "h264 open GOP": (
        "libx264",
        {"x264-params": "bframes=5:b-adapt=0:b-pyramid=normal:open-gop=1:keyint=10:scenecut=0"},
    ),
    "h264 interlaced": ("libx264", {"flags": "+ildct+ilme", "x264-params": "bframes=2:b-adapt=0"}),
    "h264 intra refresh": ("libx264", {"x264-params": "bframes=0:intra-refresh=1:keyint=12"}),
    "h265 no B": ("libx265", x265("bframes=0")),
    "h265 B pyramid": ("libx265", x265("bframes=4:b-adapt=0:b-pyramid=1:open-gop=0")),
    "h265 open GOP": ("libx265", x265("bframes=4:b-adapt=0:b-pyramid=1:open-gop=1:scenecut=0")),
    "vp8": ("libvpx", {}),
    "mjpeg": ("mjpeg", {"strict": "unofficial", "pix_fmt": "yuvj420p"}),
    "mpeg4 B": ("mpeg4", {"bf": "2", "b": "800k"}),
}


@pytest.fixture(scope="module")
def streams() -> dict[str, list[AccessUnit]]:
    return {
        name: encode(codec, options=options) for name, (codec, options) in STREAMS.items() if codec != "mjpeg"
    } | {"mjpeg": encode("mjpeg", pix_fmt="yuvj420p")}


def gop(units: list[AccessUnit], number: int) -> list[AccessUnit]:
    """Units of one GOP, by its number."""
    starts = [index for index, unit in enumerate(units) if unit.keyframe] + [len(units)]
    return units[starts[number] : starts[number + 1]]


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("share", [1.0, 0.3])
def test_a_picture_asked_for_equals_the_one_of_a_full_decode(
    streams: dict[str, list[AccessUnit]], name: str, share: float
) -> None:
    units = streams[name]
    expected = decode_all(units)
    assert len(expected) == len(units)
    rng = random.Random(5)
    decoder = OnDemandDecoder(units[0].codec)
    asked = 0
    for index, unit in enumerate(units):
        decoder.push(unit, reference=is_reference(unit))
        if rng.random() < share:
            picture = decoder.picture()
            asked += 1
            assert picture.pts == unit.pts
            assert same(picture, expected[index]), (name, index)
            assert not picture.damaged
    assert decoder.pictures_returned == asked > 5
    assert decoder.units_pushed == len(units)
    assert decoder.units_dropped == 0


def test_the_streams_do_reorder(streams: dict[str, list[AccessUnit]]) -> None:
    for name, units in streams.items():
        reordered = any(b.pts < a.pts for a, b in itertools.pairwise(units))
        assert reordered == (
            (" B" in name and "no B" not in name) or "open GOP" in name or "interlaced" in name
        ), name


def test_nothing_is_decoded_before_somebody_asks(streams: dict[str, list[AccessUnit]]) -> None:
    units = streams["h264 no B"]
    decoder = OnDemandDecoder("h264")
    for unit in units:
        decoder.push(unit)
    assert decoder.units_decoded == 0
    last = gop(units, -2)
    decoder.picture()
    assert decoder.units_decoded == len(last) < len(units)
    assert decoder.waiting_units == 0


def test_the_same_picture_is_decoded_once(streams: dict[str, list[AccessUnit]]) -> None:
    decoder = OnDemandDecoder("h264")
    decoder.push(streams["h264 no B"][0])
    assert decoder.picture() is decoder.picture()
    assert (decoder.units_decoded, decoder.pictures_returned) == (1, 1)


def test_pictures_that_nobody_refers_to_are_never_fed(streams: dict[str, list[AccessUnit]]) -> None:
    units = gop(streams["h264 B"], 0)
    references = [unit for unit in units if is_reference(unit)]
    assert len(references) < len(units) / 2
    decoder = OnDemandDecoder("h264")
    for unit in units:
        decoder.push(unit, reference=is_reference(unit))
        assert decoder.waiting_units <= len(references) + 1
    decoder.picture()
    assert decoder.units_decoded == len(references) + (not is_reference(units[-1]))


@pytest.mark.parametrize("name", ["h264 open GOP", "h265 open GOP"])
def test_an_open_gop_entered_in_the_middle_gives_all_but_its_leading_pictures(
    streams: dict[str, list[AccessUnit]], name: str
) -> None:
    units = streams[name]
    expected = decode_all(units)
    start = [index for index, unit in enumerate(units) if unit.keyframe][1]
    keyframe_pts = units[start].pts
    decoder = OnDemandDecoder(units[0].codec)
    leading = 0
    for index, unit in enumerate(units[start:], start):
        decoder.push(unit)
        if unit.pts < keyframe_pts:
            leading += 1
            with pytest.raises(DecodeError):
                decoder.picture()
        else:
            assert same(decoder.picture(), expected[index])
    assert leading > 0


def test_an_open_gop_drops_the_older_one_once_it_is_not_needed(streams: dict[str, list[AccessUnit]]) -> None:
    units = streams["h264 open GOP"]
    expected = decode_all(units)
    starts = [index for index, unit in enumerate(units) if unit.keyframe]
    decoder = OnDemandDecoder("h264")
    for unit in units[: starts[2] + 8]:
        decoder.push(unit)
    assert decoder.waiting_units <= starts[2] + 8 - starts[2]
    assert same(decoder.picture(), expected[starts[2] + 7])


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_parameter_sets_of_units_that_were_dropped_are_kept(codec: str) -> None:
    options = x265("bframes=0:repeat-headers=1") if codec == "libx265" else {"bf": "0"}
    units = encode(codec, options=options)
    expected = decode_all(units)
    slices = (b"\x00\x00\x01\x65",) if codec == "libx264" else (b"\x00\x00\x01\x28", b"\x00\x00\x01\x2a")
    bare = []
    for index, unit in enumerate(units):
        at = max(unit.data.find(code) for code in slices)
        bare.append(with_data(unit, unit.data[at:]) if unit.keyframe and index else unit)
    assert sum(len(a.data) > len(b.data) for a, b in zip(units, bare, strict=True)) == 2
    decoder = OnDemandDecoder(units[0].codec)
    for unit in bare:
        decoder.push(unit)
    assert same(decoder.picture(), expected[len(units) - 1])


def test_before_the_first_keyframe_there_is_no_picture(streams: dict[str, list[AccessUnit]]) -> None:
    units = streams["h264 no B"]
    decoder = OnDemandDecoder("h264")
    for unit in units[1:4]:
        decoder.push(unit)
        with pytest.raises(DecodeError, match="no keyframe"):
            decoder.picture()
    assert not decoder.ready
    assert decoder.units_dropped == 3
    for unit in gop(units, 1):
        decoder.push(unit)
    assert decoder.ready
    assert decoder.picture().pts == gop(units, 1)[-1].pts


@pytest.mark.parametrize("limit", [{"max_units": 20}, {"max_bytes": 20_000}])
def test_the_buffer_is_bounded_and_says_when_it_overflowed(limit: dict[str, int]) -> None:
    units = encode(options={"bf": "0", "g": "1000"}, frames=30)
    decoder = OnDemandDecoder("h264", **limit)
    decoder.push(units[0])
    for _ in range(20):
        for unit in units[1:]:
            decoder.push(unit)
            assert decoder.waiting_units <= limit.get("max_units", 1000)
            assert decoder.waiting_bytes <= limit.get("max_bytes", 2**30)
    with pytest.raises(DecodeError, match="waited"):
        decoder.picture()
    assert decoder.units_dropped > 500
    decoder.push(units[0])
    assert same(decoder.picture(), decode_all(units)[0])


def test_asking_often_keeps_an_endless_gop_inside_the_bounds() -> None:
    units = encode(options={"bf": "0", "g": "1000"}, frames=60)
    expected = decode_all(units)
    decoder = OnDemandDecoder("h264", max_units=12)
    for index, unit in enumerate(units):
        decoder.push(unit)
        if index % 10 == 9:
            assert same(decoder.picture(), expected[index])
    assert decoder.units_dropped == 0


def test_after_lost_data_the_next_keyframe_helps(streams: dict[str, list[AccessUnit]]) -> None:
    units = streams["h264 no B"]
    decoder = OnDemandDecoder("h264")
    for unit in units[:4]:
        decoder.push(unit)
    decoder.picture()
    decoder.push(replace(units[6], discontinuity=True))
    with pytest.raises(DecodeError, match="lost"):
        decoder.picture()
    start = next(index for index, unit in enumerate(units) if unit.keyframe and index)
    decoder.push(replace(units[start], discontinuity=True))
    assert same(decoder.picture(), decode_all(units)[start])


def test_a_new_picture_size_in_mid_stream() -> None:
    small = encode(frames=8, options={"bf": "0"})
    large = encode(frames=8, options={"bf": "0"}, scene=Scene(352, 288), first_pts=8)
    expected = decode_all(small + large)
    for every in (1, 3):
        decoder = OnDemandDecoder("h264")
        for index, unit in enumerate(small + large):
            decoder.push(unit)
            if index % every == 0:
                picture = decoder.picture()
                assert (picture.width, picture.height) == ((208, 120) if index < 8 else (352, 288))
                assert same(picture, expected[index])


@pytest.mark.parametrize("size", [(178, 100), (50, 38), (16, 16)])
def test_pictures_have_the_visible_size(size: tuple[int, int]) -> None:
    units = encode(frames=3, scene=Scene(*size), options={"bf": "0"})
    decoder = OnDemandDecoder("h264")
    decoder.push(units[0])
    picture = decoder.picture()
    assert (picture.width, picture.height) == size
    assert picture.u.shape == picture.v.shape == (size[1] // 2, size[0] // 2)


@pytest.mark.parametrize("pix_fmt", ["yuv422p", "yuv444p", "yuv420p10le"])
def test_other_formats_arrive_as_8_bit_420(pix_fmt: str) -> None:
    units = encode(frames=4, pix_fmt=pix_fmt, options={"bf": "0"})
    plain = encode(frames=4, options={"bf": "0"})
    pictures = []
    for stream in (units, plain):
        decoder = OnDemandDecoder("h264")
        for unit in stream:
            decoder.push(unit)
        pictures.append(decoder.picture())
    for mine, theirs in zip((pictures[0].y, pictures[0].u), (pictures[1].y, pictures[1].u), strict=True):
        assert mine.shape == theirs.shape
        assert abs(mine.astype(int) - theirs).mean() < 4


def test_planes_are_read_only_and_outlive_the_decoder(streams: dict[str, list[AccessUnit]]) -> None:
    units = streams["h264 no B"]
    decoder = OnDemandDecoder("h264")
    decoder.push(units[0])
    picture = decoder.picture()
    before = picture.y.copy()
    with pytest.raises(ValueError, match="read-only"):
        picture.y[0, 0] = 1
    for unit in units[1:]:
        decoder.push(unit)
        decoder.picture()
    decoder.close()
    decoder.close()
    assert (picture.y == before).all()
    with pytest.raises(DecodeError, match="closed"):
        decoder.push(units[0])
    with pytest.raises(DecodeError, match="closed"):
        decoder.picture()


def test_an_unknown_codec_is_a_decode_error() -> None:
    decoder = OnDemandDecoder("no-such-codec")
    decoder.push(AccessUnit("no-such-codec", b"x", pts=0, time_base=Fraction(1, 25), keyframe=True))
    with pytest.raises(DecodeError, match="no decoder"):
        decoder.picture()


CORPUS_FILES = [
    "camera/bottle-detection.mp4",
    "camera/car-detection.mp4",
    "camera/test_motion_video-3.mp4",
    "camera/fi101.mp4",
    "camera/walking.mp4",
    "camera/rv1126_t1.h264",
    "camera/rv1126_t1.h265",
    "camera/iphone_11s.messenger.704x1280.265",
    "camera/vid_h264.264",
    "robot/jetson_6.h264",
    "robot/runcam_4.h264",
    "robot/lerobot_xarm_lift_medium.mp4",
    "robot/nasa_13013.mp4",
    "vp8/output_vp8.ivf",
]


@pytest.mark.parametrize("name", CORPUS_FILES)
def test_real_streams_asked_at_random(corpus: Corpus, name: str) -> None:
    units = read_corpus(corpus.path(name), limit=60)
    expected = decode_all(units)
    rng = random.Random(name)
    decoder = OnDemandDecoder(units[0].codec)
    equal = 0
    for index, unit in enumerate(units):
        decoder.push(unit, reference=is_reference(unit))
        if rng.random() < 0.25:
            assert same(decoder.picture(), expected[index]), index
            equal += 1
    assert equal >= 3


def test_a_long_gop_says_in_time_that_it_needs_room(streams: dict[str, list[AccessUnit]]) -> None:
    decoder = OnDemandDecoder("h264", max_units=6)
    crowded = []
    for unit in gop(streams["h264 no B"], 0)[:4]:
        decoder.push(unit)
        crowded.append(decoder.crowded)
    assert crowded == [False, False, False, True]
    decoder.picture()
    assert not decoder.crowded
    decoder.close()
