"""The tasks of `benchmarks.quality` score knowledge as such, and noise as chance."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from benchmarks import quality_made, quality_tasks
from benchmarks.quality_data import CAMERAS, FIGHTS, Labelled, fight_files
from benchmarks.quality_made import ENDS, KINDS, LENGTH, STARTS

Look = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def held() -> Labelled:
    """Four cameras with eight pictures each of smooth noise that changes slowly."""
    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(4):
        start, change = rng.integers(40, 200, (2, 8, 8, 3))
        for number in range(8):
            coarse = start + number / 40 * (change - start)
            pictures.append(np.kron(coarse, np.ones((28, 28, 1))).astype(np.uint8))
    names = np.repeat(list("abcd"), 8)
    return Labelled(np.stack(pictures), names, names, names, np.tile(np.arange(8), 4))


def first_two(held: Labelled) -> Labelled:
    return Labelled(*(getattr(held, name)[:16] for name in Labelled.__slots__))


def coarse(pictures: np.ndarray) -> np.ndarray:
    """Mean colours of 8 x 8 cells."""
    cells = pictures.reshape(len(pictures), 8, 28, 8, 28, 3).mean((2, 4))
    return cells.reshape(len(pictures), -1).astype(np.float32)


def noise(pictures: np.ndarray) -> np.ndarray:
    return np.random.default_rng(len(pictures)).standard_normal((len(pictures), 32)).astype(np.float32)


def test_made_clips_show_what_they_say(held: Labelled) -> None:
    clips = quality_made.make(held, grounds=1, seed=1)
    assert [one.kind for one in clips[: len(KINDS)]] == list(KINDS)
    assert {one.ground for one in clips} == set("abcd")
    for one in clips:
        assert len(one.shown) == LENGTH
        before, after = (one.shown[number].astype(float) for number in (STARTS - 1, ENDS + 2))
        still = np.abs(one.shown[0].astype(float) - before).mean()
        changed = (np.abs(after - before).mean(axis=2) > 12).mean()
        assert still < 5  # noise alone
        if one.kind == "object":
            assert 0.01 < changed < 0.4
    assert len(quality_made.make(first_two(held), seed=1)) == 16


def test_knowledge_scores_high_and_noise_as_chance(held: Labelled) -> None:
    clips = quality_made.make(held, grounds=1, seed=2)
    known = {one.shown[ENDS + 2].tobytes(): float(one.is_object) for one in clips}

    def oracle(pictures: np.ndarray) -> np.ndarray:
        kinds = [known.get(picture.tobytes(), -1.0) for picture in pictures]
        return np.stack([[kind == 1, kind == 0] for kind in kinds]).astype(np.float32)

    assert quality_tasks.events(oracle, clips)[quality_tasks.OBJECT_PROBE].value == 1
    blind = quality_tasks.events(noise, clips)
    assert abs(blind[quality_tasks.OBJECT_PROBE].value - 0.5) < 0.25

    good, bad = quality_tasks.scenes(coarse, held), quality_tasks.scenes(noise, held)
    assert good[quality_tasks.SAME_CLIP].value == good[quality_tasks.SAME_MOMENT].value == 1
    assert good[quality_tasks.NOVELTY].value > 0.9
    assert bad[quality_tasks.SAME_CLIP].value < 0.5
    assert abs(bad[quality_tasks.NOVELTY].value - 0.5) < 0.25


def test_fights_are_judged_camera_by_camera() -> None:
    """Features that know the camera, and nothing else, find neither label where each camera saw both."""
    rng = np.random.default_rng(0)
    cameras = np.repeat(np.arange(12), 4)
    labels = np.tile(["fight", "calm"], 24)
    clips = np.repeat(np.arange(48), 2)
    pictures = np.repeat(cameras, 2)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    data = Labelled(
        pictures.astype(np.uint8), np.repeat(labels, 2), clips, np.repeat(cameras, 2), np.tile([0, 1], 48)
    )
    of_camera = rng.standard_normal((12, 16)).astype(np.float32)
    found = quality_tasks.fights(lambda shown: of_camera[shown[:, 0, 0, 0]], data)
    assert abs(found[quality_tasks.FIGHT_NEIGHBOURS].value - 0.5) < 0.2
    assert found[quality_tasks.FIGHT_PROBE].groups == 12


def test_cameras_of_the_corpus() -> None:
    named = [name for group in CAMERAS for name in group]
    assert len(named) == len(set(named))
    if not FIGHTS.is_dir():
        pytest.skip("no corpus beside the project")
    files = fight_files()
    assert set(named) <= {path.stem for path, _, _ in files}
    assert all(path.is_file() for path, _, _ in files)
    assert len({camera for _, _, camera in files}) == 25
