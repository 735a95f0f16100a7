"""Time: camera speed for files, growing pauses between connection attempts."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

# A longer gap between two pictures is a jump of the clock, not a pause to wait for.
LONGEST_GAP_SECONDS = 10.0


class Pacer:
    """Holds a stream back to the speed of its own clock.

    The first wait anchors the stream's clock to ours; so does each jump back and each gap of more than 10 s.

    Args:
        clock: Seconds, monotonic.
        sleep: Waits that many seconds.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._anchor: float | None = None
        self._last = 0.0

    async def wait(self, due_seconds: float) -> None:
        """Returns when `due_seconds` of the stream's clock is reached; at once when it has passed."""
        now = self._clock()
        if self._anchor is None or not 0 <= due_seconds - self._last <= LONGEST_GAP_SECONDS:
            self._anchor = now - due_seconds
        self._last = due_seconds
        remaining = self._anchor + due_seconds - now
        if remaining > 0:
            await self._sleep(remaining)


class Backoff:
    """Pauses that double from `initial_seconds` to `max_seconds`, each cut by a random part of up to a half.

    The random part keeps cameras that failed together from coming back together.
    """

    def __init__(
        self, *, initial_seconds: float, max_seconds: float, jitter: Callable[[], float] = random.random
    ) -> None:
        self._initial = initial_seconds
        self._max = max_seconds
        self._jitter = jitter
        self._failures = 0

    def next_seconds(self, *, slow: bool = False) -> float:
        """The pause after one more failure; `slow` goes to the longest at once."""
        exponent = min(self._failures, 32)
        self._failures += 1
        pause = self._max if slow else min(self._max, self._initial * 2**exponent)
        return pause * (1.0 - 0.5 * self._jitter())

    def reset(self) -> None:
        """Starts from the shortest pause again."""
        self._failures = 0
