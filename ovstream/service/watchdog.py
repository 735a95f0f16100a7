"""Sees whether a stream gets on, and when it must be stopped: it hangs, or has grown too large."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ovstream.config import SuperviseConfig

_SILENT_SECONDS = 3.0  # without a picture: not live


class Watchdog:
    """Watches one life of a stream after the other.

    Args:
        clock: Monotonic seconds.

    Attributes:
        barks: Set when the stream must be stopped.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.barks = asyncio.Event()
        self._clock = clock
        self._frames, self._at = 0, 0.0  # pictures so far, and since when

    @property
    def silent(self) -> bool:
        """Whether no picture has come for so long that the stream is not live."""
        return self._clock() - self._at > _SILENT_SECONDS

    def begin(self) -> None:
        """A life begins."""
        self.barks.clear()
        self._frames, self._at = 0, self._clock()

    def look(
        self, config: SuperviseConfig, *, frames: int, memory_bytes: int, excused: bool
    ) -> tuple[bool, str]:
        """Looks once.

        Args:
            config: Limits.
            frames: Pictures of this life.
            memory_bytes: That the stream holds.
            excused: It is known why no pictures come.

        Returns:
            Whether pictures came since the last look, and what is wrong for good; empty: nothing.
        """
        now, came = self._clock(), frames != self._frames
        if came:
            self._frames, self._at = frames, now
        if now - self._at > config.stall_seconds and not excused:
            self.barks.set()
        if memory_bytes <= config.max_memory_mb * 2**20:
            return came, ""
        self.barks.set()
        return came, (
            f"holds {memory_bytes / 2**20:.0f} MB, more than supervise.max_memory_mb = {config.max_memory_mb:g}: "
            "lower plan.max_tokens or source.queue_units, or raise the limit"
        )
