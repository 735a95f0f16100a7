"""Hysteresis: what does not last is not told."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from ovstream.health.latch import Latch


def test_on_and_off_take_their_time() -> None:
    latch = Latch(on_seconds=2.0, off_seconds=1.0)
    told = [latch.update(3 <= second < 8, second) for second in range(12)]
    assert [second for second, one in enumerate(told) if one] == [5, 9]
    assert not latch.active


def test_doubt_that_passes_is_forgotten() -> None:
    latch = Latch(on_seconds=2.0, off_seconds=1.0)
    assert not any(latch.update(second % 2 == 0, second) for second in range(20))


def test_silence_changes_nothing() -> None:
    latch = Latch(on_seconds=2.0, off_seconds=1.0)
    latch.update(True, 0.0)
    assert not latch.update(None, 10.0)
    assert latch.update(True, 11.0)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([True, False, None]), st.integers(0, 3)), max_size=40))
def test_states_last_as_long_as_they_must(steps: list[tuple[bool | None, int]]) -> None:
    latch, now, changes = Latch(on_seconds=2.0, off_seconds=1.0), 0, []
    for evidence, passed in steps:
        now += passed
        if latch.update(evidence, now):
            changes.append((latch.active, now))
            assert evidence is latch.active
    assert [active for active, _ in changes] == [index % 2 == 0 for index in range(len(changes))]
    for (active, before), (_, after) in pairwise(changes):
        assert after - before >= (1.0 if active else 2.0)
