"""Plans for real x264 streams, judged by the decoded pixels and by where the objects of the scene are."""

from pathlib import Path

import numpy as np
import pytest

from ovstream.config import PlanConfig
from ovstream.plan import PatchGrid, Planner
from ovstream.sources.scene import Scene
from tests.clips import make_clip
from tests.plan.truth import judge, metadata

SIZE = 480, 272
FRAMES = 100
P_ONLY = {"g": "50", "x264-params": "bframes=0:scenecut=0"}
ALL_THE_BUDGET_IT_NEEDS = PlanConfig(keep_ratio=0.5, dense_above=1.0)


def clip(
    folder: Path, *, frames: int = FRAMES, options: dict[str, str] | None = None, **scene: float
) -> Path:
    drawn = Scene(*SIZE, seed=3, **{"noise": 2.0, "lighting": 0.0, "objects": 0, **scene})
    return make_clip(folder / "clip.mp4", scene=drawn, frames=frames, options=options or P_ONLY)


@pytest.mark.parametrize("noise", [2.0, 4.0])
def test_a_noisy_still_camera_needs_next_to_nothing(tmp_path: Path, noise: float) -> None:
    score = judge(clip(tmp_path, noise=noise))
    assert score.dense == 1
    assert score.planned_share < 0.03
    assert score.decoded < 0.3 * score.frames


@pytest.mark.parametrize(
    "options",
    [
        P_ONLY,
        {"g": "50", "x264-params": "bframes=2:b-pyramid=normal:ref=3"},
        {"g": "250", "x264-params": "bframes=0:intra-refresh=1"},
        {"g": "50", "b": "300k", "maxrate": "300k", "bufsize": "300k", "x264-params": "bframes=0"},
    ],
    ids=["p", "b", "intra-refresh", "300k"],
)
def test_objects_are_found(tmp_path: Path, options: dict[str, str]) -> None:
    score = judge(clip(tmp_path, objects=2, speed_px=2.5, options=options), config=ALL_THE_BUDGET_IT_NEEDS)
    assert score.dense == 1
    assert score.recall >= 0.95, score
    assert score.planned_share < 0.25, score


def test_patches_under_moving_objects_are_planned(tmp_path: Path) -> None:
    """The truth of the scene itself: the object's middle moves over each of its patches."""
    scene = Scene(*SIZE, seed=3, objects=1, noise=2.0, lighting=0.0, speed_px=3)
    path = make_clip(tmp_path / "clip.mp4", scene=scene, frames=60, options=P_ONLY)
    grid = PatchGrid.fit(*SIZE)
    planner = Planner(grid, PlanConfig(keep_ratio=0.25))
    missed = total = 0
    for index, frame in enumerate(metadata(path)):
        plan = planner.plan(frame)
        x0, y0, x1, y1 = scene.moving_boxes(index)[0]
        rects = np.array([grid.rect(patch) for patch in range(grid.patches)])
        middle = (
            (rects[:, 0] < (y0 + y1) / 2)
            & (rects[:, 1] > (y0 + y1) / 2)
            & (rects[:, 2] < x1 - 8)
            & (rects[:, 3] > x0 + 8)
        )
        total += int(middle.sum())
        missed += len(set(np.flatnonzero(middle).tolist()) - set(plan.indices.tolist()))
    assert total > 100
    assert missed < 0.1 * total


def test_a_pan_is_dense_at_a_rate_and_the_objects_alone_are_not(tmp_path: Path) -> None:
    score = judge(clip(tmp_path, objects=1, pan_px=2.0))
    assert set(score.reasons) <= {"keyframe", "camera", "change"}
    assert score.reasons["camera"] >= 4
    assert score.dense <= 1 + FRAMES / 25 / 0.5


def test_a_fade_is_noticed_at_keyframes(tmp_path: Path) -> None:
    scene = {"lighting": 0.3, "objects": 0}
    with_check = judge(clip(tmp_path, **scene))
    assert with_check.dense >= 2
    blind = judge(clip(tmp_path, **scene), feedback=False)
    assert with_check.stale_share < blind.stale_share


def test_an_object_that_stops_is_soon_quiet(tmp_path: Path) -> None:
    moving, path = Scene(*SIZE, seed=3, objects=1, lighting=0.0), tmp_path / "clip.mp4"

    class Stopping(Scene):
        def render(self, index: int) -> np.ndarray:
            return moving.render(min(index, 40))

    make_clip(path, scene=Stopping(*SIZE), frames=80, options={**P_ONLY, "g": "250"})
    planner = Planner(PatchGrid.fit(*SIZE), PlanConfig())
    plans = [planner.plan(frame) for frame in metadata(path)]
    assert np.mean([plan.needs_pixels for plan in plans[5:40]]) > 0.9
    assert not any(plan.needs_pixels for plan in plans[50:])
    assert plans[-1].debt == 0


class Cutting(Scene):
    """Another scene of the same kind from picture 30 on: for textures alone the worst case."""

    def render(self, index: int) -> np.ndarray:
        return Scene(*SIZE, seed=3 if index < 30 else 4, objects=1).render(index)


def test_a_cut_inside_a_gop_is_dense_at_once(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4", scene=Cutting(*SIZE), frames=40, options=P_ONLY)
    planner = Planner(PatchGrid.fit(*SIZE), PlanConfig())
    plans = [planner.plan(frame) for frame in metadata(path)]
    assert plans[30].action == "dense"
    assert plans[30].reason in {"cut", "change"}


def test_a_cut_at_a_keyframe_is_found_by_looking(tmp_path: Path) -> None:
    options = {"g": "250", "x264-params": "bframes=0:scenecut=40"}
    path = make_clip(tmp_path / "clip.mp4", scene=Cutting(*SIZE), frames=40, options=options)
    assert [frame.keyframe for frame in metadata(path)][29:32] == [False, True, False]
    score = judge(path, config=PlanConfig(dense_interval_seconds=0.04))
    assert score.reasons == {"keyframe": 1, "change": 1}
    assert score.stale_share < 0.1
