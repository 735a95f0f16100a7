"""Each condition, made with x264, is told; a camera that is well is left alone, and so are real ones."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

import ovstream
from ovstream.encode import load_encoder
from ovstream.health import HealthMonitor
from ovstream.sources import MemorySource, open_source
from ovstream.types import FrameMetadata
from tests.health import conditions
from tests.health.false_alarms import Told, events
from tests.sources.support import collect

BEFORE, DURING, AFTER = 7, 6, 4
CORPUS = Path(__file__).parents[3] / "shared" / "corpus" / "camera"
# How long after its beginning, and after its end, a condition may be told: seconds.
PATIENCE = {"frozen": 5.6, "infrared": 3.1, "starved": 3.5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("health")


def clip(folder: Path, name: str, options: dict[str, str] = conditions.CAMERA) -> Path:
    shown = conditions.pictures(conditions.CHANGES.get(name), before=BEFORE, during=DURING, after=AFTER)
    return conditions.encode(folder / f"{name}.mp4", shown, options)


def spans(told: list[Told], condition: str) -> list[tuple[float, bool]]:
    return [(one.seconds, one.active) for one in told if one.condition == condition]


@pytest.mark.parametrize("name", ["frozen", "dark", "covered", "shaking", "infrared"])
def test_a_condition_begins_and_ends(folder: Path, name: str) -> None:
    told = list(events(conditions.metadata(clip(folder, name))))
    condition = "dark" if name == "covered" else name
    (begin, began), (end, still) = spans(told, condition)
    assert (began, still) == (True, False)
    assert 0 < begin - BEFORE <= PATIENCE.get(name, 2.1)
    assert 0 <= end - BEFORE - DURING <= PATIENCE.get(name, 3.0)
    allowed = {condition, "cut"} if name in ("dark", "covered") else {condition}
    assert {one.condition for one in told} <= allowed


def test_a_camera_that_was_turned(folder: Path) -> None:
    told = list(events(conditions.metadata(clip(folder, "moved"))))
    assert spans(told, "moved") == [(pytest.approx(BEFORE + 1.5, abs=0.2), True)]
    assert len(told) == 1


def test_a_cut_is_told_at_once(folder: Path) -> None:
    told = list(events(conditions.metadata(clip(folder, "cut"))))
    assert told == [Told(BEFORE, "cut", True), Told(BEFORE + DURING, "cut", True)]


def test_an_encoder_that_gets_few_bits(tmp_path: Path) -> None:
    told = list(events(conditions.starved(tmp_path, before=BEFORE, during=DURING)))
    assert [(one.condition, one.active) for one in told] == [("starved", True)]
    assert 0 < told[0].seconds - BEFORE <= PATIENCE["starved"]


@pytest.mark.parametrize(
    "options",
    [
        conditions.CAMERA,
        conditions.CAMERA | {"crf": "36"},
        {"preset": "veryfast", "threads": "1", "g": "24", "b": "150k", "x264-params": "bframes=2:b-adapt=0"},
    ],
    ids=["usual", "coarse", "b pictures"],
)
def test_a_camera_that_is_well(folder: Path, options: dict[str, str]) -> None:
    assert list(events(conditions.metadata(clip(folder, "well", options)))) == []


def test_an_empty_yard_at_night_is_not_frozen(tmp_path: Path) -> None:
    """Nothing moves, and coarse quantisers swallow the noise of the sensor."""
    still = (conditions.view_at_rest(index) for index in range(12 * conditions.FPS))
    path = conditions.encode(tmp_path / "night.mp4", still, conditions.CAMERA | {"crf": "32", "g": "48"})
    frames = conditions.metadata(path)
    assert sum(float(frame.skip.mean()) > 0.95 for frame in frames) > len(frames) / 2
    assert list(events(frames)) == []


def test_other_codecs(tmp_path: Path) -> None:
    shown = conditions.pictures(conditions.infrared, before=4, during=5, after=0)
    options = {
        "preset": "ultrafast",
        "x265-params": "log-level=none:pools=1:frame-threads=1:keyint=12:bframes=0",
    }
    path = conditions.encode(tmp_path / "clip.mp4", shown, options, codec="libx265")
    assert [one.condition for one in events(conditions.metadata(path))] == ["infrared"]
    shown = conditions.pictures(conditions.dark, before=4, during=5, after=0)
    options = {"deadline": "realtime", "cpu-used": "8", "b": "400k", "g": "12"}
    path = conditions.encode(tmp_path / "clip.webm", shown, options, codec="libvpx")
    assert "dark" in {one.condition for one in events(conditions.metadata(path))}


def test_pictures_without_times_count_as_25_a_second(folder: Path) -> None:
    frames = [replace(frame, pts=None) for frame in conditions.metadata(clip(folder, "dark"))]
    monitor = HealthMonitor((conditions.WIDTH, conditions.HEIGHT))
    told = [
        change.condition for one in frames for change in monitor.observe(one, camera_motion_px=(0.0, 0.0))
    ]
    assert "dark" in told


def test_what_was_decoded_or_damaged_says_nothing(folder: Path) -> None:
    frames = conditions.metadata(clip(folder, "dark"))

    def told(changed: list[FrameMetadata]) -> list[Told]:
        return list(events(changed))

    assert told([replace(frame, origin="decoder") for frame in frames]) == []
    assert told([replace(frame, coverage=0.5) for frame in frames]) == []
    assert told([replace(frame, unread="costly") for frame in frames]) == []


async def test_events_of_the_stream(tmp_path: Path) -> None:
    shown = conditions.pictures(conditions.dark, before=4, during=3, after=3)
    path = conditions.encode(tmp_path / "dark.mp4", shown, conditions.CAMERA | {"crf": "32"})
    units = await collect(open_source(path))
    encoder = load_encoder("ov-nano", mode="exact")
    seen: set[str] = set()
    stream = ovstream.open(
        MemorySource(units), encoder=encoder, observe=lambda _trace: seen.update(stream.conditions)
    )
    async with stream:
        await stream.run()
        told = [(one.kind, one.detail) async for one in stream.events()]
    kinds = [kind for kind, _ in told if kind in ("dark", "recovered")]
    assert kinds == ["dark", "recovered"]
    assert dict(told)["recovered"].startswith("dark: ")
    assert seen == {"dark"}
    assert stream.conditions == ()
    assert stream.stats.cpu_seconds["health"] > 0


@pytest.mark.skipif(not CORPUS.is_dir(), reason=f"no clips of real cameras in {CORPUS}")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("test_motion_video-1.mp4", ["cut"]),  # the light goes on
        ("test_motion_video-3.mp4", ["cut"]),  # the light goes off, and infrared on
        ("bottle-detection.mp4", []),
        ("walking.mp4", []),
        ("fi047.mp4", []),
        ("nofi108.mp4", []),
    ],
)
def test_real_cameras(name: str, expected: list[str]) -> None:
    frames = islice(ovstream.inspect(CORPUS / name), 150)
    assert [one.condition for one in events(frames)] == expected
