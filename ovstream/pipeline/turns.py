"""Lets streams take turns, so that their threads do not fight for the interpreter.

Every stream computes in a thread of its own. Most of that happens outside the interpreter, but each way back into it
waits for whoever holds its lock; with many more threads than cores they spend their time in handing it around, and a
box with idle cores falls behind its cameras. So no more pictures are worked on at a time than there are cores, and
one more that makes up for waits. First come is first served.
"""

from __future__ import annotations

import os
import threading
from collections import deque

_SPARE = 1
_PATIENCE_SECONDS = 2.0  # who holds a turn longer than this hangs


class Turns:
    """A fair semaphore between threads: `with turns:`.

    Nobody waits long: a thread that hangs keeps its turn, but costs the others one wait each and no more.

    Args:
        count: How many may work at a time.
        patience_seconds: Longest wait; then one more works.
    """

    def __init__(self, count: int, *, patience_seconds: float = _PATIENCE_SECONDS) -> None:
        self._lock = threading.Lock()
        self._count = self._free = count
        self._patience_seconds = patience_seconds
        self._waiting: deque[threading.Event] = deque()

    def __enter__(self) -> None:
        with self._lock:
            if self._free > 0:
                self._free -= 1
                return
            mine = threading.Event()
            self._waiting.append(mine)
        if not mine.wait(self._patience_seconds):
            with self._lock:
                if not mine.is_set():
                    self._waiting.remove(mine)
                    self._free -= 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._give(1)

    def limit(self, count: int) -> None:
        """Lets so many work at a time, from now on; for a process that has its share of the cores only."""
        with self._lock:
            more, self._count = count - self._count, count
            self._give(more)

    def widen(self, count: int) -> None:
        """Lets at least so many work at a time, from now on."""
        with self._lock:
            more, self._count = max(count - self._count, 0), max(count, self._count)
            self._give(more)

    def _give(self, count: int) -> None:
        self._free += count
        while self._free > 0 and self._waiting:
            self._free -= 1
            self._waiting.popleft().set()


TURNS = Turns(len(os.sched_getaffinity(0)) + _SPARE)
"""Those of all streams of this process."""
