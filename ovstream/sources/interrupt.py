"""FFmpeg's calls, made to end early: for a consumer that has left, or a camera that has gone silent.

A call that waits asks PyAV's interrupt callback, at least ten times a second, whether its time is up; the callback asks
the clock of PyAV's module. Ours stands in for that clock, and leaps ahead for a thread whose call shall end: FFmpeg gives
up as it does when a time limit has passed, and frees what it holds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import av.container.core

LEAP_SECONDS = 1e6  # longer than any time limit


class _Clock:
    """The module `time`, with a `monotonic` that leaps in threads whose call shall end."""

    def __init__(self) -> None:
        self._leaps = 0
        self.ends: dict[int, Callable[[], bool]] = {}  # by thread; each entry belongs to its thread alone

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def monotonic(self) -> float:
        """The time; in a call that shall end, at each look much later than at the one before."""
        end = self.ends.get(threading.get_ident())
        if end is None or not end():
            return time.monotonic()
        self._leaps += 1
        return time.monotonic() + self._leaps * LEAP_SECONDS


_clock = _Clock()


@contextmanager
def ended_when(end: Callable[[], bool]) -> Iterator[None]:
    """Calls of FFmpeg by this thread in the block end soon after `end()` becomes true, as if they had timed out.

    Only those of containers that were opened with a `timeout`, and not while the system looks up a name.

    Args:
        end: Called in this thread, many times a second.
    """
    av.container.core.time = _clock  # type: ignore[attr-defined]
    me = threading.get_ident()
    before = _clock.ends.get(me)
    _clock.ends[me] = end
    try:
        yield
    finally:
        if before is None:
            del _clock.ends[me]
        else:
            _clock.ends[me] = before
