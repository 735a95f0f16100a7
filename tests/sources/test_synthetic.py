"""The synthetic camera: deterministic pictures on known paths, encoded as an IP camera does."""

from __future__ import annotations

import time

import numpy as np
import pytest

from ovstream.config import SourceConfig
from ovstream.errors import ConfigError
from ovstream.sources import Scene
from ovstream.sources.pacing import Pacer
from ovstream.sources.synthetic import SyntheticSource, parse_options
from tests.sources.support import FakeClock, collect, decode_units, reader_threads


def test_the_same_arguments_give_the_same_picture() -> None:
    scene = Scene(160, 90, seed=3)
    picture = scene.render(17)
    assert (picture.shape, picture.dtype) == ((90, 160, 3), np.uint8)
    np.testing.assert_array_equal(picture, Scene(160, 90, seed=3).render(17))
    assert (picture != Scene(160, 90, seed=4).render(17)).mean() > 0.5


def test_only_the_boxes_change_without_noise_light_and_pan() -> None:
    scene = Scene(160, 120, noise=0, lighting=0)
    for index in (0, 40, 333):
        outside = np.ones((120, 160), dtype=bool)
        for x0, y0, x1, y1 in np.concatenate([scene.moving_boxes(index), scene.moving_boxes(index + 1)]):
            outside[y0:y1, x0:x1] = False
        changed = (scene.render(index) != scene.render(index + 1)).any(axis=2)
        assert changed.any()
        assert not changed[outside].any()


def test_objects_move_smoothly_and_stay_inside() -> None:
    scene = Scene(320, 240, objects=5)
    boxes = np.stack([scene.moving_boxes(index) for index in range(1000)])
    assert boxes.min() >= 0
    assert (boxes[..., 2:].reshape(-1, 2).max(axis=0) <= (320, 240)).all()
    assert np.abs(np.diff(boxes[..., :2], axis=0)).max() <= 5
    assert (boxes[..., :2].max(axis=0) - boxes[..., :2].min(axis=0)).max() > 50


def test_noise_has_the_asked_strength() -> None:
    clean, noisy = Scene(320, 240, noise=0).render(5), Scene(320, 240, noise=4).render(5)
    difference = noisy.astype(float) - clean
    assert np.std(difference[(clean > 20) & (clean < 235)]) == pytest.approx(4, rel=0.05)


def test_light_changes_slowly() -> None:
    scene = Scene(64, 64, noise=0, objects=0, lighting=0.2)
    brightness = [float(scene.render(index).mean()) for index in (0, 125, 375)]
    assert brightness[1] / brightness[0] == pytest.approx(1.2, abs=0.01)
    assert brightness[2] / brightness[0] == pytest.approx(0.8, abs=0.01)


def test_pan_moves_the_ground_by_whole_and_half_pixels() -> None:
    scene = Scene(160, 90, noise=0, objects=0, lighting=0, pan_px=1.5)
    start = scene.render(0)
    np.testing.assert_array_equal(scene.render(2), np.roll(start, -3, axis=1))
    between = (np.roll(start, -1, axis=1).astype(int) + np.roll(start, -2, axis=1)) / 2
    assert np.abs(scene.render(1) - between).max() <= 1.0


@pytest.mark.parametrize("codec", ["h264", "h265", "vp8"])
async def test_one_unit_per_picture_and_a_keyframe_per_gop(codec: str) -> None:
    options = parse_options(f"synthetic:?width=160&height=96&seconds=2&fps=10&gop=8&codec={codec}")
    units = await collect(SyntheticSource(options))
    assert [index for index, unit in enumerate(units) if unit.keyframe] == [0, 8, 16]
    assert [unit.pts for unit in units] == list(range(20))
    assert {unit.codec for unit in units} == {codec}
    for start in (0, 8, 16):
        assert decode_units(units[start:])[0] == 20 - start


async def test_the_same_options_give_the_same_bytes() -> None:
    options = parse_options("synthetic:?width=160&height=96&seconds=1")
    first, second = [await collect(SyntheticSource(options)) for _ in range(2)]
    assert [unit.data for unit in first] == [unit.data for unit in second]


async def test_a_bitrate_is_kept() -> None:
    options = parse_options("synthetic:?width=320&height=240&seconds=4&noise=8&bitrate_kbps=200")
    source = SyntheticSource(options)
    await collect(source)
    assert source.stats.bytes * 8 / 4 == pytest.approx(200_000, rel=0.3)


async def test_real_time() -> None:
    clock = FakeClock()
    source = SyntheticSource(
        parse_options("synthetic:?width=64&height=64&fps=5&seconds=2"),
        config=SourceConfig(pace="realtime"),
        pacer=Pacer(clock=clock, sleep=clock.sleep),
    )
    assert len(await collect(source)) == 10
    assert clock.sleeps == pytest.approx([0.2] * 9)


async def test_an_endless_camera_stops_when_asked() -> None:
    source = SyntheticSource(parse_options("synthetic:?width=64&height=64"))
    assert len(await collect(source, 30)) == 30
    started = time.monotonic()
    await source.aclose()
    assert time.monotonic() - started < 1.0
    assert reader_threads() == []


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("synthetic:?colour=red", "colour"),
        ("synthetic:?width=33", "width"),
        ("synthetic:?fps=many", "fps"),
        ("synthetic:?codec=av1", "codec"),
        ("synthetic:?fps", "fps"),
    ],
)
def test_wrong_options_are_named_beside_the_right_ones(url: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=rf"{complaint}(.|\n)*width, height, fps, seconds, codec"):
        parse_options(url)
