"""Zones, scores and rules: pure, with time passed in."""

from __future__ import annotations

import numpy as np
import pytest

from ovstream.config import RuleConfig, WatchConfig
from ovstream.plan.regions import covered_share, mostly_covered, touched
from ovstream.watch import HAPPENED_SECONDS, WHOLE, Novelty, RuleState, Watcher

LEFT_HALF = [(0, 0), (0.5, 0), (0.5, 1), (0, 1)]
TINY = [(0.51, 0.01), (0.55, 0.01), (0.55, 0.05), (0.51, 0.05)]


def zone(name: str = "left", polygon: list[tuple[float, float]] = LEFT_HALF) -> dict[str, object]:
    return {"name": name, "polygon": polygon}


def picture(*cells: tuple[int, int]) -> np.ndarray:
    changed = np.zeros((4, 8), np.bool_)
    for row, col in cells:
        changed[row, col] = True
    return changed


def test_shares_of_a_rectangle_and_a_triangle_are_their_areas() -> None:
    assert np.array_equal(covered_share(LEFT_HALF, (4, 8)), np.repeat([[1, 1, 1, 1, 0, 0, 0, 0]], 4, axis=0))
    triangle = covered_share([(0, 0), (1, 0), (0, 1)], (6, 6))
    assert triangle.mean() == pytest.approx(0.5, abs=0.02)


def test_the_hole_of_a_self_crossing_polygon_is_outside() -> None:
    bow_tie = covered_share([(0, 0), (1, 1), (1, 0), (0, 1)], (2, 2))
    assert bow_tie.mean() == pytest.approx(0.5, abs=0.07)


def test_a_zone_smaller_than_a_patch_still_has_one() -> None:
    found = mostly_covered(TINY, (4, 8))
    assert np.argwhere(found).tolist() == [[0, 4]]
    assert np.argwhere(touched([TINY], (4, 8))).tolist() == [[0, 4]]
    assert not touched([], (4, 8)).any()


def test_activity_is_of_its_zone_and_fades() -> None:
    watcher = Watcher(WatchConfig.model_validate({"zones": [zone()]}))
    right = picture(*((row, col) for row in range(4) for col in range(4, 8)))
    for step in range(50):
        scores, _ = watcher.update(0.04 * step, right)
    assert scores.activity["left"] == 0
    assert scores.activity[WHOLE] == pytest.approx(0.5, abs=0.02)
    for step in range(50, 100):
        scores, _ = watcher.update(0.04 * step, picture())
    assert scores.activity[WHOLE] < 0.02


def test_a_rule_has_hysteresis_by_score_and_by_time() -> None:
    rule = RuleState(
        RuleConfig(name="r", when="motion", above=0.4, below=0.2, for_seconds=1, quiet_seconds=2)
    )
    told = {}
    for tenth in range(100):
        now = tenth / 10
        score = 0.5 if now < 0.5 or 1 <= now < 4 else 0.3 if now < 6 else 0.1
        event = rule.update(score, now)
        if event:
            told[now] = event
    assert [(now, event.started) for now, event in told.items()] == [(2.0, True), (8.0, False)]
    assert told[8.0].seconds == pytest.approx(4.0)  # until the score fell, not until that was sure
    assert "start: motion 0.50" in str(told[2.0])


def test_flicker_around_one_threshold_is_one_event() -> None:
    rule = RuleState(RuleConfig(name="r", when="motion", above=0.4, quiet_seconds=0))
    events = [rule.update(0.4 + 0.05 * (-1) ** step, step / 10) for step in range(50)]
    assert [event.started for event in events if event] == [True]


def test_motion_in_a_zone_is_told_by_the_rule_of_that_zone_only() -> None:
    rules = [
        {"name": "left", "when": "motion", "zone": "left", "above": 0.2},
        {"name": "all", "when": "motion", "above": 0.6},
    ]
    watcher = Watcher(WatchConfig.model_validate({"zones": [zone()], "rules": rules}))
    told = []
    for step in range(60):
        told += watcher.update(0.04 * step, picture(*((row, col) for row in range(4) for col in range(2))))[1]
    assert [(event.rule, event.zone, event.started) for event in told] == [("left", "left", True)]
    assert watcher.active == ("left",)


def test_a_jump_of_the_clock_neither_starts_nor_ends_anything() -> None:
    rules = [{"name": "m", "when": "motion", "above": 0.1, "for_seconds": 5}]
    watcher = Watcher(WatchConfig.model_validate({"rules": rules}))
    everything = np.ones((4, 8), np.bool_)
    told = []
    for seconds in (0, 0.5, 1, 9000, 9000.5, -50, -49.5):
        told += watcher.update(seconds, everything)[1]
    assert told == []


@pytest.mark.parametrize("fps", [1.0, 0.5, 0.1])
def test_a_camera_of_one_picture_a_second_or_less_has_rules_too(fps: float) -> None:
    rules = [{"name": "m", "when": "motion", "above": 0.5, "for_seconds": 15}]
    watcher = Watcher(WatchConfig.model_validate({"rules": rules}))
    rng = np.random.default_rng(4)
    told = []
    for step in range(30):
        jittered = (step + 0.01 * rng.random()) / fps
        scores, events = watcher.update(jittered, np.ones((4, 8), np.bool_))
        told += events
    assert scores.activity[WHOLE] > 0.8
    assert [event.started for event in told] == [True]


def test_silence_of_the_camera_is_an_event_that_ends() -> None:
    rules = [{"name": "gone", "when": "silent", "above": 5, "quiet_seconds": 0}]
    watcher = Watcher(WatchConfig.model_validate({"rules": rules}))
    told = [event for now in range(10) for event in watcher.silent(now, now)]
    told += watcher.silent(0.0, 11)
    assert [event.started for event in told] == [True, False]


def around(centre: np.ndarray, spread: float, rng: np.random.Generator) -> np.ndarray:
    return (centre + spread * rng.normal(size=centre.size)).astype(np.float32)


def test_novelty_scales_itself_to_the_stream() -> None:
    """The same score for the same surprise, however small the vectors of a model differ."""
    found = []
    for spread in (0.05, 0.01):
        rng = np.random.default_rng(1)
        usual, other = rng.normal(size=(2, 64))
        novelty = Novelty(history_seconds=300, settle_seconds=5)
        scores = [novelty.score(around(usual, spread, rng), second) for second in range(200)]
        assert np.median(scores[50:]) < 1.5
        found.append(novelty.score(around(usual + 4 * spread * other, spread, rng), 201))
    assert min(found) > 3
    assert found[0] == pytest.approx(found[1], rel=0.5)


def test_what_lasts_becomes_usual_and_what_was_seen_stays_so() -> None:
    rng = np.random.default_rng(2)
    usual, other = rng.normal(size=(2, 64))
    novelty = Novelty(history_seconds=600, settle_seconds=20)
    for second in range(100):
        novelty.score(around(usual, 0.1, rng), second)
    scores = [novelty.score(around(other, 0.1, rng), second) for second in range(100, 160)]
    assert min(scores[:19]) > 5
    assert max(scores[25:]) < 3
    assert novelty.score(around(usual, 0.1, rng), 160) < 3


def test_nothing_is_unusual_before_there_is_a_past() -> None:
    novelty = Novelty(history_seconds=60, settle_seconds=10)
    assert novelty.score(np.ones(8, np.float32), 0) == 0
    assert not novelty.learnt


def test_novelty_of_a_zone_looks_at_its_tokens_once_a_second() -> None:
    rules = [{"name": "odd", "when": "unusual", "zone": "left", "above": 3, "quiet_seconds": 0}]
    watcher = Watcher(WatchConfig.model_validate({"zones": [zone()], "rules": rules, "settle_seconds": 5}))
    rng = np.random.default_rng(3)
    base = rng.normal(size=(32, 16)).astype(np.float32)
    calls, told = [], []

    def tokens() -> np.ndarray:
        calls.append(1)
        moved = base + 0.02 * rng.normal(size=base.shape).astype(np.float32)
        if len(calls) > 40:
            moved[[0, 8, 16]] = -moved[[0, 8, 16]]  # first column: in the zone
        return moved

    for step in range(450):
        told += watcher.update(0.1 * step, picture(), scene=base.mean(axis=0), tokens=tokens)[1]
    assert 44 <= len(calls) <= 46
    assert [(event.rule, event.started) for event in told] == [("odd", True)]


def healthy(
    watcher: Watcher, seconds: float, conditions: tuple[str, ...] = (), happened: tuple[str, ...] = ()
) -> list[str]:
    _, events = watcher.update(seconds, picture(), conditions=conditions, happened=happened)
    return [f"{event.rule} {'starts' if event.started else 'ends'}" for event in events]


def test_the_health_of_the_camera_is_a_rule_with_hysteresis() -> None:
    rules = [
        {"name": "camera", "when": "health", "above": 3, "quiet_seconds": 2},
        {"name": "night", "when": "health", "above": 1, "conditions": ["infrared"]},
    ]
    watcher = Watcher(WatchConfig.model_validate({"rules": rules}))
    told = {}
    for tenth in range(300):
        now = tenth / 10
        dark = 5 <= now < 6 or 10 <= now < 15  # a second alone is nothing
        events = healthy(watcher, now, ("dark",) if dark else ())
        if events:
            told[now] = events
    assert told == {13.0: ["camera starts"], 17.0: ["camera ends"]}


def test_what_happens_at_once_counts_for_a_while() -> None:
    rules = [{"name": "turned", "when": "health", "above": 1, "conditions": ["moved"], "quiet_seconds": 0}]
    watcher = Watcher(WatchConfig.model_validate({"rules": rules}))
    told = {}
    for second in range(30):
        events = healthy(watcher, float(second), happened=("moved",) if second == 5 else ())
        if events:
            told[second] = events
    assert list(told.values()) == [["turned starts"], ["turned ends"]]
    start, end = told
    assert start == 6
    assert end == 5 + HAPPENED_SECONDS


def test_events_end_with_the_stream() -> None:
    watcher = Watcher(
        WatchConfig.model_validate({"rules": [{"name": "camera", "when": "health", "above": 1}]})
    )
    healthy(watcher, 0.0, ("frozen",))
    assert healthy(watcher, 1.0, ("frozen",)) == ["camera starts"]
    (end,) = watcher.finish()
    assert (end.rule, end.started) == ("camera", False)
    assert watcher.finish() == []


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ({"when": "health", "above": 1, "zone": "left"}, "has no zone"),
        ({"when": "motion", "above": 1, "conditions": ["dark"]}, "belongs to 'health'"),
        ({"when": "health", "above": 1, "conditions": ["tired"]}, "conditions"),
    ],
)
def test_mistakes_of_health_rules(rule: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        WatchConfig.model_validate({"zones": [zone()], "rules": [{"name": "r", **rule}]})
