"""Plans for streams of real cameras, judged by the decoded pixels."""

import pytest

from ovstream.config import PlanConfig
from tests.conftest import Corpus
from tests.plan.truth import judge


@pytest.mark.parametrize(
    ("name", "recall"),
    [
        ("camera/bottle-detection.mp4", 0.95),
        ("camera/fi047.mp4", 0.95),
        ("camera/nofi001.mp4", 0.95),
        ("camera/test_motion_video-1.mp4", 0.93),
        ("camera/car-detection.mp4", 0.88),  # an encoder that codes every fourth cell anew
    ],
)
def test_changes_are_found_when_the_budget_allows(corpus: Corpus, name: str, recall: float) -> None:
    config = PlanConfig(keep_ratio=0.5, dense_above=1.0)
    score = judge(corpus.path(name), config=config, max_frames=200)
    assert score.recall >= recall, score
    assert score.planned_share < 0.35, score


def test_a_night_camera_is_mostly_left_alone(corpus: Corpus) -> None:
    score = judge(corpus.path("camera/test_motion_video-1.mp4"), max_frames=300)
    assert score.decoded < 0.5 * score.frames, score
    assert score.planned_share < 0.05, score
    assert score.stale_share < 0.05, score
