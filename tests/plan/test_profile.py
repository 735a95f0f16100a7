"""The codec profile of a picture, on clips whose motion is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ovstream import inspect
from ovstream.plan.profile import LENGTH, MOTION_EDGES, RESIDUAL_EDGES, codec_profile
from ovstream.sources.scene import Scene

from ..clips import make_clip

MOTION = slice(0, len(MOTION_EDGES) + 1)
RESIDUAL = slice(MOTION.stop, MOTION.stop + len(RESIDUAL_EDGES) + 1)
CLASSES = slice(RESIDUAL.stop, LENGTH)


def profile(path: Path) -> np.ndarray:
    """Mean shares over the P pictures."""
    found = [codec_profile(frame) for frame in inspect(path) if frame.slice_type == "P"]
    assert len(found) > 5
    return (np.stack(found) ** 2).mean(axis=0)


def clip(path: Path, *, width: int, pan_px: float, noise: float = 0.0) -> Path:
    scene = Scene(width, width * 3 // 4, seed=4, objects=0, pan_px=pan_px, lighting=0.0, noise=noise)
    return make_clip(path, scene=scene, frames=12, options={"x264-params": "bframes=0"})


@pytest.fixture(scope="module")
def panned(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    return profile(clip(tmp_path_factory.mktemp("panned") / "clip.mp4", width=320, pan_px=4.0))


def test_parts_are_shares_of_the_picture(panned: np.ndarray) -> None:
    assert panned.shape == (LENGTH,)
    for part in (MOTION, RESIDUAL, CLASSES):
        assert panned[part].sum() == pytest.approx(1, abs=1e-5)


def test_a_pan_fills_the_bin_of_its_speed(panned: np.ndarray) -> None:
    speed = 4.0 / 320 * 1000  # thousandths of the width
    expected = int(np.searchsorted(MOTION_EDGES, speed, side="right"))
    assert int(panned[MOTION].argmax()) == expected
    assert panned[MOTION][expected] > 0.5


def test_another_size_of_the_same_pan_is_alike(panned: np.ndarray, tmp_path: Path) -> None:
    larger = profile(clip(tmp_path / "larger.mp4", width=640, pan_px=8.0))
    assert int(larger[MOTION].argmax()) == int(panned[MOTION].argmax())


def test_noise_costs_residual_and_not_motion(tmp_path: Path) -> None:
    still = profile(clip(tmp_path / "still.mp4", width=320, pan_px=0.0))
    noisy = profile(clip(tmp_path / "noisy.mp4", width=320, pan_px=0.0, noise=12.0))
    assert still[MOTION][0] > 0.95
    assert still[CLASSES][0] > 0.95
    assert noisy[MOTION][0] > 0.5
    assert noisy[CLASSES][0] < 0.5
    assert noisy[RESIDUAL][0] < 0.5 < still[RESIDUAL][0]
