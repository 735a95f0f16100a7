"""Keeps a live stream from falling behind: what is too old gives way to the newest keyframe."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from ovstream.types import AccessUnit


class FreshnessGate:
    """Lets access units pass while they are young enough.

    A unit that has waited longer than the budget is left out, and so is everything behind it up to a keyframe
    that is young enough again: a slow stage costs whole groups of pictures, never delay. The unit that passes
    then has `discontinuity` set, and `params_changed` if a unit that was left out had it.

    Args:
        max_age_seconds: The budget, from the arrival of a unit to its turn.
        clock_ns: Monotonic clock, the one of `AccessUnit.arrival_ns`.

    Attributes:
        dropped: Units left out so far.
    """

    def __init__(self, max_age_seconds: float, *, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._max_age_ns = round(max_age_seconds * 1e9)
        self._clock_ns = clock_ns
        self._skipping = False
        self._params_changed = False
        self._run = 0
        self._oldest_seconds = 0.0
        self.dropped = 0

    def admit(self, unit: AccessUnit) -> AccessUnit | None:
        """The unit, marked if others were left out before it; None when it is left out itself."""
        age_ns = self._clock_ns() - unit.arrival_ns if unit.arrival_ns else 0
        late = age_ns > self._max_age_ns
        if late or (self._skipping and not unit.keyframe):
            self._leave_out(unit, age_ns / 1e9)
            return None
        if not self._skipping:
            return unit
        changed = unit.params_changed or self._params_changed
        self._skipping = self._params_changed = False
        return replace(unit, discontinuity=True, params_changed=changed)

    def report(self) -> str | None:
        """One sentence about the units left out since the last report, once a unit has passed again."""
        if self._skipping or not self._run:
            return None
        told = f"{self._run} pictures left out: the oldest was {self._oldest_seconds:.1f} s late"
        self._run, self._oldest_seconds = 0, 0.0
        return told

    def _leave_out(self, unit: AccessUnit, age_seconds: float) -> None:
        self._skipping = True
        self._params_changed |= unit.params_changed
        self._oldest_seconds = max(self._oldest_seconds, age_seconds)
        self._run += 1
        self.dropped += 1
