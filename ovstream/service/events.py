"""What happened lately, to all streams, numbered."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

_KEPT = 1000


@dataclass(frozen=True, slots=True)
class ServiceEvent:
    """One line of the log that people see.

    Attributes:
        number: Grows by one.
        time: Wall clock, seconds (UTC, Unix).
        stream_id: Where; empty for the service itself.
        kind: As in `StreamEvent`, or "added", "removed", "changed", "paused", "resumed", "restarted", "reload".
        detail: One sentence; never contains credentials.
    """

    number: int
    time: float
    stream_id: str
    kind: str
    detail: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class EventLog:
    """A ring of the newest events.

    Args:
        clock: Wall clock in seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._events: deque[ServiceEvent] = deque(maxlen=_KEPT)
        self._clock = clock
        self.last = 0

    def add(self, stream_id: str, kind: str, detail: str) -> None:
        """Appends one; the oldest of 1000 gives way."""
        self.last += 1
        self._events.append(ServiceEvent(self.last, self._clock(), stream_id, kind, detail))

    def after(self, number: int, *, stream_id: str | None = None, limit: int = 200) -> list[ServiceEvent]:
        """The newest `limit` events with a higher number, oldest first."""
        found = [
            one
            for one in self._events
            if one.number > number and (stream_id is None or one.stream_id == stream_id)
        ]
        return found[-limit:]
