"""Camera speed and growing pauses, without real time."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovstream.sources.pacing import Backoff, Pacer
from tests.sources.support import FakeClock


async def wait_all(clock: FakeClock, times: list[float]) -> None:
    pacer = Pacer(clock=clock, sleep=clock.sleep)
    for due_seconds in times:
        await pacer.wait(due_seconds)


async def test_the_first_picture_comes_at_once_whatever_its_time() -> None:
    clock = FakeClock()
    await wait_all(clock, [5000.0])
    assert clock.sleeps == []


@given(st.lists(st.floats(0, 9), min_size=2, max_size=20))
async def test_time_passes_as_the_stream_says(gaps: list[float]) -> None:
    clock = FakeClock()
    times = list(itertools.accumulate(gaps))
    await wait_all(clock, times)
    assert clock.now - 100.0 == pytest.approx(times[-1] - times[0])


async def test_a_late_consumer_is_not_made_later() -> None:
    clock = FakeClock()
    pacer = Pacer(clock=clock, sleep=clock.sleep)
    await pacer.wait(0.0)
    clock.now += 1.0
    await pacer.wait(0.5)
    await pacer.wait(1.5)
    assert clock.sleeps == [0.5]


@pytest.mark.parametrize("jump", [-3.0, 3600.0])
async def test_a_jump_of_the_clock_is_not_waited_for(jump: float) -> None:
    clock = FakeClock()
    await wait_all(clock, [0.0, 1.0, 1.0 + jump, 2.0 + jump])
    assert clock.sleeps == pytest.approx([1.0, 1.0])


def test_pauses_double_to_the_longest_and_start_again() -> None:
    backoff = Backoff(initial_seconds=0.5, max_seconds=4.0, jitter=lambda: 0.0)
    assert [backoff.next_seconds() for _ in range(5)] == [0.5, 1.0, 2.0, 4.0, 4.0]
    backoff.reset()
    assert backoff.next_seconds() == 0.5
    assert backoff.next_seconds(slow=True) == 4.0


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 2000))
def test_pauses_stay_within_bounds(jitter: float, failures: int) -> None:
    backoff = Backoff(initial_seconds=0.5, max_seconds=30.0, jitter=lambda: jitter)
    pauses = [backoff.next_seconds() for _ in range(failures)]
    assert all(0.25 <= pause <= 30.0 for pause in pauses)
