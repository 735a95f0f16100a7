"""Lets streams take turns with whole passes, so that they do not all encode everything at the same moment.

Cameras that were switched on together send their keyframes together, and at these the pictures are encoded whole. One
pass costs as much as dozens of small updates: those of a dozen streams in a row would make all of them late. So whole
passes that can wait take at most a share of the time, one after the other, and each waits a bounded time only; meanwhile
the pictures are read, and what changes is owed.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

_SHARE = 0.35  # of the cores, for whole passes that can wait, while others wait as well
_MAX_WAIT_SECONDS = 3.0
_SAVED_SECONDS = 0.1  # of CPU time: what a quiet while is good for


class Passes:
    """A purse of CPU time that whole passes of all live streams of a process are paid from; threads may share it.

    Args:
        cores: That the process has for itself.
        share: Of them, that fills the purse.
        max_wait_seconds: Then a pass runs whatever is in the purse.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        cores: float,
        *,
        share: float = _SHARE,
        max_wait_seconds: float = _MAX_WAIT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lock = threading.Lock()
        self._cores = cores
        self._share = share
        self._max_wait_seconds = max_wait_seconds
        self._clock = clock
        self._credit = _SAVED_SECONDS
        self._at = clock()
        self._waiting: dict[str, float | None] = {}  # since when; None: it does not

    def join(self, stream_id: str) -> None:
        """A stream begins."""
        with self._lock:
            self._waiting.setdefault(stream_id, None)

    def leave(self, stream_id: str) -> None:
        """A stream is over."""
        with self._lock:
            self._waiting.pop(stream_id, None)

    def limit(self, cores: float) -> None:
        """From now on the process has so many cores for itself."""
        with self._lock:
            self._cores = cores

    def admits(self, stream_id: str) -> bool:
        """Whether a stream may encode its next picture whole, if that could wait; one that is alone always may."""
        with self._lock:
            now = self._clock()
            self._credit = min(self._credit + self._share * self._cores * (now - self._at), _SAVED_SECONDS)
            self._at = now
            since = self._waiting.get(stream_id)
            waited = since is not None and now - since >= self._max_wait_seconds
            return len(self._waiting) < 2 or self._credit > 0 or waited

    def done(self, stream_id: str, cpu_seconds: float, *, put_off: bool) -> None:
        """Learns what became of a picture.

        Args:
            stream_id: Of the stream.
            cpu_seconds: What its whole pass took; 0: there was none.
            put_off: A pass waits.
        """
        with self._lock:
            self._credit -= cpu_seconds
            if stream_id in self._waiting:
                since = self._waiting[stream_id]
                self._waiting[stream_id] = (self._clock() if since is None else since) if put_off else None


PASSES = Passes(len(os.sched_getaffinity(0)))
"""Those of all live streams of this process."""
