"""What a live source may hand on: from a keyframe, and never more than the queue holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Protocol

from ovstream.sources.base import SourceStats
from ovstream.types import AccessUnit

# Encoders with gradual intra refresh may never send a keyframe: after so many units the stream is taken as it comes.
KEYFRAME_PATIENCE_UNITS = 300


class UnitQueue(Protocol):
    """The end of a bounded queue that the gate fills."""

    def offer(self, unit: AccessUnit) -> bool:
        """Appends if there is room; tells whether there was."""
        ...

    def take_all(self) -> Iterable[AccessUnit]:
        """Empties the queue."""
        ...


class KeyframeGate:
    """Hands units to a queue; after loss, or when the queue is full, waits for the next keyframe.

    A keyframe that meets a full queue replaces all that waits there: the consumer is that much too slow, and
    latency must not build up. The first unit after a gap has `discontinuity` set; `params_changed` of units
    that were left out moves to it.
    """

    def __init__(self, stats: SourceStats) -> None:
        self._stats = stats
        self._waited_units: int | None = 0
        self._gap = False
        self._overflowed = False  # since the last unit that passed
        self._params_changed = False

    @property
    def waits(self) -> bool:
        """Whether nothing is handed on before a keyframe."""
        return self._waited_units is not None

    def lost(self) -> None:
        """Notes that data is missing before the next unit."""
        self._gap = True
        self._waited_units = 0

    def deliver(self, unit: AccessUnit, queue: UnitQueue) -> bool:
        """Appends `unit` to `queue`, or drops it; tells which."""
        self._params_changed |= unit.params_changed
        if not self._may_start(unit):
            self._stats.dropped += 1
            self._stats.unusable += not self._overflowed
            return False
        marked = self._marked(unit)
        if not queue.offer(marked):
            if not unit.keyframe:
                self.lost()
                self._overflowed = True
                self._stats.dropped += 1
                return False
            self._overtake(queue)
            queue.offer(self._marked(unit))
        self._waited_units, self._gap, self._params_changed = None, False, False
        self._overflowed = False
        return True

    def _may_start(self, unit: AccessUnit) -> bool:
        if self._waited_units is None or unit.keyframe:
            return True
        self._waited_units += 1
        return self._waited_units > KEYFRAME_PATIENCE_UNITS

    def _overtake(self, queue: UnitQueue) -> None:
        for left_out in queue.take_all():
            self._stats.dropped += 1
            self._params_changed |= left_out.params_changed
        self._gap = True

    def _marked(self, unit: AccessUnit) -> AccessUnit:
        discontinuity = unit.discontinuity or self._gap
        if (discontinuity, self._params_changed) == (unit.discontinuity, unit.params_changed):
            return unit
        return replace(unit, discontinuity=discontinuity, params_changed=self._params_changed)
