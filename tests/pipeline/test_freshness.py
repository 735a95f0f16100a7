"""Latency never builds up: what is late gives way to a keyframe that is not."""

from __future__ import annotations

import time
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

import ovstream
from ovstream.encode import Encoder
from ovstream.pipeline.freshness import FreshnessGate
from ovstream.sources import MemorySource
from ovstream.types import AccessUnit
from tests.pipeline.conftest import Units
from tests.sources.support import make_unit

SECOND = 1_000_000_000


class Slow:
    """A stage that takes `costs` seconds for each unit that it gets; units arrive 10 a second."""

    def __init__(self, budget_seconds: float) -> None:
        self.now_ns = 1
        self.gate = FreshnessGate(budget_seconds, clock_ns=lambda: self.now_ns)
        self.passed: list[tuple[AccessUnit, float]] = []

    def take(self, index: int, *, cost_seconds: float, keyframe: bool, changed: bool = False) -> None:
        arrival_ns = 1 + index * SECOND // 10
        self.now_ns = max(self.now_ns, arrival_ns)
        unit = replace(make_unit(index, keyframe=keyframe, params_changed=changed), arrival_ns=arrival_ns)
        admitted = self.gate.admit(unit)
        if admitted is not None:
            self.passed.append((admitted, (self.now_ns - arrival_ns) / 1e9))
            self.now_ns += round(cost_seconds * SECOND)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 0.6), st.booleans(), st.booleans()), max_size=80),
    st.floats(0.2, 2.0),
)
def test_nothing_late_passes_and_every_gap_is_marked(
    steps: list[tuple[float, bool, bool]], budget_seconds: float
) -> None:
    stage = Slow(budget_seconds)
    for index, (cost_seconds, keyframe, changed) in enumerate(steps):
        stage.take(index, cost_seconds=cost_seconds, keyframe=keyframe, changed=changed)
    assert all(age <= budget_seconds + 1e-6 for _, age in stage.passed)
    assert stage.gate.dropped == len(steps) - len(stage.passed)
    before = -1
    for unit, _ in stage.passed:
        assert unit.pts is not None
        gap = unit.pts != before + 1
        assert unit.discontinuity == gap
        assert unit.keyframe or not gap
        assert unit.params_changed == any(changed for _, _, changed in steps[before + 1 : unit.pts + 1])
        before = unit.pts


def test_a_stage_that_keeps_up_loses_nothing() -> None:
    stage = Slow(1.0)
    for index in range(200):
        stage.take(index, cost_seconds=0.09, keyframe=index % 50 == 0)
    assert stage.gate.dropped == 0
    assert stage.gate.report() is None


def test_the_report_comes_once_when_it_goes_on() -> None:
    stage = Slow(0.5)
    stage.take(0, cost_seconds=2.0, keyframe=True)
    for index in range(1, 20):
        stage.take(index, cost_seconds=0.0, keyframe=False)
        assert stage.gate.report() is None
    stage.take(20, cost_seconds=0.0, keyframe=True)
    told = stage.gate.report()
    assert told is not None
    assert told.startswith("19 pictures left out: the oldest was 1.9 s late")
    assert stage.gate.report() is None


def test_units_without_arrival_time_pass() -> None:
    gate = FreshnessGate(0.1)
    assert gate.admit(make_unit()) is not None


async def test_a_live_stream_drops_what_is_old_and_says_so(encoder: Encoder, units: Units) -> None:
    some = units(options={"x264-params": "bframes=0:keyint=10:scenecut=0"}, frames=40)
    now_ns = time.monotonic_ns()
    script = [
        replace(unit, arrival_ns=now_ns + (600 if index >= 25 else -60) * SECOND)
        for index, unit in enumerate(some)
    ]
    async with ovstream.open(MemorySource(script, live=True), encoder=encoder) as stream:
        found = [one async for one in stream]
        events = [event async for event in stream.events()]
    assert len(found) == 10  # 25 old ones, then 5 that wait for the keyframe
    assert stream.stats.dropped == 30
    assert found[0].counters["dropped"] == 30
    assert [event.kind for event in events] == ["dropped", "ended"]
    assert events[0].detail.startswith("30 pictures left out: the oldest was 60.")


async def test_files_never_lose_a_picture(encoder: Encoder, units: Units) -> None:
    some = [replace(unit, arrival_ns=1) for unit in units(frames=10)]
    async with ovstream.open(MemorySource(some), encoder=encoder) as stream:
        found = [one async for one in stream]
    assert found
    assert (stream.stats.units, stream.stats.dropped) == (10, 0)
