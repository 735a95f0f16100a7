"""Key-framing where encoding what changed does worse: simulated scenes of known error."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ovstream.encode import Scheduler
from ovstream.encode.fallback import Fallback
from ovstream.types import FloatArray

SIZE = 64


def walk(seed: int, *, memory: float = 1.0) -> Callable[[], FloatArray]:
    """True scenes: a random walk; `memory` below 1 pulls it back to the middle, so that errors saturate."""
    rng = np.random.default_rng(seed)
    scene = rng.standard_normal(SIZE).astype(np.float32)

    def step() -> FloatArray:
        nonlocal scene
        scene = (memory * scene + 0.3 * rng.standard_normal(SIZE)).astype(np.float32)
        return scene

    return step


def play(
    miss: float,
    *,
    pictures: int = 3000,
    cost: float = 0.1,
    memory: float = 1.0,
    budget: float = 0.14,
    fallback: bool = True,
) -> tuple[float, float, int]:
    """Runs a stream whose sparse scenes are wrong by `miss` (RMS), more with every call since the last whole pass.

    Returns:
        Mean squared error, operations per picture, pictures spent in key-framing.
    """
    chosen = Scheduler(
        budget=budget, dense_above=0.5, max_drift=2.0, fallback=Fallback() if fallback else None
    )
    rng, truth = np.random.default_rng(1), walk(0, memory=memory)
    scene: FloatArray | None = None
    missed, spent, keyed, calls = 0.0, 0.0, 0, 0
    for number in range(pictures):
        now = truth()
        chosen.earn()
        whole = (
            scene is None
            or chosen.key_due
            or (not chosen.key_framing and number % 30 == 0 and chosen.credit > 0)
        )
        if whole:
            chosen.spend(1.0)
            chosen.whole(scene, now)
            scene, calls = now, 0
            spent += 1
        elif chosen.admits(share=cost, changed=cost):
            calls += 1
            noise = rng.standard_normal(SIZE).astype(np.float32)
            scene = now + np.float32(miss * min(calls, 10) / 10) * noise
            chosen.spend(cost)
            spent += cost
        assert scene is not None
        missed += float(np.mean((scene - now) ** 2))
        keyed += chosen.key_framing
    return missed / pictures, spent / pictures, keyed


@pytest.mark.parametrize("memory", [1.0, 0.8])
def test_sparse_calls_that_do_well_stay(memory: float) -> None:
    _, _, keyed = play(0.05, memory=memory)
    assert keyed < 0.02 * 3000  # short trials at most


@pytest.mark.parametrize("memory", [1.0, 0.8])
def test_sparse_calls_that_do_worse_give_way(memory: float) -> None:
    """And what is missed comes down to what key-framing alone misses, but for the looks at the other way."""
    with_it, cost, keyed = play(3.0, memory=memory)
    without, without_cost, _ = play(3.0, memory=memory, fallback=False)
    assert keyed > 1500
    assert with_it < 0.5 * without
    assert cost < 0.141 + 3 / 3000
    assert without_cost < 0.15


def test_sparse_calls_beyond_the_budget_give_way() -> None:
    """They are right whenever they run, but too dear to run often: whole passes do the same at better times."""
    _, _, keyed = play(1.5, cost=0.45)
    assert keyed > 1500


def test_it_never_costs_much_where_both_are_alike() -> None:
    for miss in (0.4, 0.7, 1.0, 1.5):
        with_it, _, _ = play(miss)
        without, _, _ = play(miss, fallback=False)
        assert with_it < 1.35 * without, miss


def test_a_scene_that_calms_down_gets_its_sparse_calls_back() -> None:
    ours = Fallback()
    rng, scene = np.random.default_rng(0), np.zeros(SIZE, np.float32)
    for wrong, expected in ((5.0, True), (0.01, False)):
        for _ in range(3 * Fallback.LONGEST):
            last, scene = scene, (scene + rng.standard_normal(SIZE)).astype(np.float32)
            before = (
                last if ours.key_framing else (scene + wrong * rng.standard_normal(SIZE)).astype(np.float32)
            )
            ours.observe(before, scene, spent=2.0)
        assert ours.key_framing is expected


def test_nothing_is_concluded_from_the_first_pass() -> None:
    ours = Fallback()
    ours.observe(None, np.ones(4, np.float32), spent=1.0)
    assert not ours.key_framing
