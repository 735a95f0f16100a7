"""Budget, audits, and the watch on embeddings."""

from __future__ import annotations

import numpy as np
import pytest

from ovstream.encode import Audit, CollapseWatch, Scheduler


def scheduler(budget: float = 0.2, **options: float) -> Scheduler:
    return Scheduler(budget=budget, dense_above=0.5, max_drift=2.0, **options)


@pytest.mark.parametrize("budget", [0.05, 0.14, 0.25])
@pytest.mark.parametrize("changed", [0.1, 0.3, 0.9])
def test_the_budget_holds_and_is_used_whatever_the_scene_does(budget: float, changed: float) -> None:
    ours, spent = scheduler(budget), 0.0
    for _ in range(1000):
        ours.earn()
        cost, whole = 0.0, bool(ours.due(None)) or (changed > 0.5 and ours.affords_dense)
        if whole:
            cost = 1.0
        elif ours.admits(changed=changed):
            cost = changed
        ours.spend(cost, whole=whole)
        spent += cost
    assert spent <= 1000 * budget + Scheduler.SPARSE_ROOM + Scheduler.WHOLE_ROOM + 1
    assert spent >= 0.95 * 1000 * min(budget, changed)


def test_sparse_calls_and_whole_passes_share_alike() -> None:
    ours, whole = scheduler(0.2), 0
    for _ in range(1000):
        ours.earn()
        if ours.due(None):
            ours.spend(1.0, whole=True)
            whole += 1
        elif ours.admits(changed=0.15):
            ours.spend(0.15, whole=False)
    assert 95 <= whole <= 105  # half of 200 dense passes


def test_a_quiet_scene_spends_little() -> None:
    """A whole pass is due only when sparse calls have cost as much."""
    ours, spent = scheduler(0.25), 0.0
    for number in range(1000):
        ours.earn()
        cost, whole = (1.0, True) if ours.due(0.0) else (0.01 * (number % 4 == 0), False)
        ours.spend(cost, whole=whole)
        spent += cost
    assert spent < 2 * 2.5 + 1


def test_a_picture_that_changed_everywhere_waits_for_a_whole_pass() -> None:
    ours = scheduler()
    assert ours.affords_dense
    assert not ours.admits(changed=0.6)
    for _ in range(2):
        ours.spend(1.2, whole=True)
    assert not ours.affords_dense
    for _ in range(3):
        ours.earn()
    assert ours.affords_dense


def test_sparse_calls_owe_at_most_one() -> None:
    ours = scheduler()
    ours.spend(1.05, whole=False)
    assert not ours.admits(changed=0.1)
    ours.earn()
    assert ours.admits(changed=0.1)  # half of what was earned is for it


def test_drift_waits_for_a_whole_pass_to_be_paid() -> None:
    ours = scheduler(enough=1e9)
    assert [ours.due(drift) for drift in (None, 2.0, 2.1)] == [None, None, "drift"]
    ours.spend(1.0, whole=True)
    assert ours.due(2.1) is None
    for _ in range(10):
        ours.earn()
    assert ours.due(2.1) == "drift"


def test_failed_audits_tighten_and_passed_ones_relax_within_bounds() -> None:
    ours = scheduler()
    ours.audited(passed=False)
    assert ours.max_drift == 1.0
    ours.audited(passed=True)
    assert ours.max_drift == 1.25
    for _ in range(20):
        ours.audited(passed=False)
    assert ours.max_drift == 2.0 / 16
    for _ in range(50):
        ours.audited(passed=True)
    assert ours.max_drift == 2.0


def test_audits_come_at_their_time() -> None:
    audit = Audit(every_seconds=10, min_fidelity=0.99)
    assert [audit.due(t) for t in (5.0, 14.9, 15.0)] == [False, False, True]
    one, other = np.array([1, 0], np.float32), np.array([1, 1], np.float32)
    cosine, passed = audit.judge(one, other, 15.0)
    assert cosine == pytest.approx(0.5**0.5)
    assert not passed
    assert audit.judge(one, 3 * one, 15.0) == (1.0, True)
    assert [audit.due(t) for t in (24.0, 25.0)] == [False, True]
    assert not audit.due(1.0)  # the clock of the stream jumped back: a new wait
    assert audit.due(11.0)


@pytest.mark.parametrize(("every_seconds", "now_seconds"), [(0.0, 100.0), (10.0, None)])
def test_without_interval_or_clock_there_are_no_audits(
    every_seconds: float, now_seconds: float | None
) -> None:
    audit = Audit(every_seconds=every_seconds, min_fidelity=0.99)
    assert not audit.due(0.0 if now_seconds else None)
    assert not audit.due(now_seconds)


def pictures(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).standard_normal((count, 4, 3, 14, 14), np.float32))


def test_constant_embeddings_are_told_once() -> None:
    watch, same = CollapseWatch(patience=3), np.ones(8, np.float32)
    told = [watch.check(picture, same) for picture in pictures(8)]
    assert [bool(one) for one in told] == [False] * 3 + [True] + [False] * 4
    assert told[3] is not None
    assert "same" in told[3]


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_zeros_and_nan_are_told(value: float) -> None:
    watch, wrong = CollapseWatch(patience=2), np.full(8, value, np.float32)
    assert [bool(watch.check(picture, wrong)) for picture in pictures(4)] == [False, True, False, False]


def test_still_scenes_and_healthy_models_are_left_alone() -> None:
    rng = np.random.default_rng(1)
    watch, first = CollapseWatch(patience=1), pictures(1)[0]
    same = np.ones(8, np.float32)
    assert not any(watch.check(first + 1e-3 * number, same) for number in range(9))
    assert not any(
        watch.check(p, same + 1e-3 * rng.standard_normal(8).astype(np.float32)) for p in pictures(9)
    )
