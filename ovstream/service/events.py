"""What happened lately, to all streams, numbered."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

_KEPT = 1000

_log = logging.getLogger("ovstream")


@dataclass(frozen=True, slots=True)
class ServiceEvent:
    """One line of the log that people see.

    Attributes:
        number: Grows by one.
        time: Wall clock, seconds (UTC, Unix).
        stream_id: Where; empty for the service itself.
        kind: As in `StreamEvent`, or "added", "removed", "changed", "restarted", "reload".
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
    """A ring of the newest events. Errors go to the log of the process too, each once until it changes or is over.

    Args:
        clock: Wall clock in seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._events: deque[ServiceEvent] = deque(maxlen=_KEPT)
        self._clock = clock
        self._troubles: dict[str, str] = {}
        self.last = 0

    def add(self, stream_id: str, kind: str, detail: str) -> None:
        """Appends one; the oldest of 1000 gives way."""
        self.last += 1
        self._events.append(ServiceEvent(self.last, self._clock(), stream_id, kind, detail))
        if kind in ("error", "quarantine"):
            if self._troubles.get(stream_id) != detail:
                name = stream_id or "service"
                _log.warning("%s: %s", name, detail, extra={"stream": name, "kind": kind})
            self._troubles[stream_id] = detail
        elif kind in ("connected", "removed", "reload"):
            self._troubles.pop(stream_id, None)

    def after(self, number: int, *, stream_id: str | None = None, limit: int = 200) -> list[ServiceEvent]:
        """The newest `limit` events with a higher number, oldest first."""
        found = [
            one
            for one in self._events
            if one.number > number and (stream_id is None or one.stream_id == stream_id)
        ]
        return found[-limit:]
