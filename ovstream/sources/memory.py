"""A source made of what a test wants to happen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from dataclasses import dataclass

from ovstream.sources.base import OnEvent, SourceStats, ignore_event
from ovstream.types import AccessUnit, EventKind


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing arrives for a while."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Notice:
    """The source reports an event."""

    kind: EventKind
    detail: str = ""


class MemorySource:
    """Plays a script: yields access units, raises exceptions, pauses, reports events.

    Each iteration starts at the beginning.

    Args:
        script: What happens, in order.
        live: See `Source`.
        name: See `Source`.
        on_event: Receives the notices, and "ended" at the end.
        sleep: Waits that many seconds; tests give one that returns at once.
    """

    def __init__(
        self,
        script: Iterable[AccessUnit | Exception | Pause | Notice],
        *,
        live: bool = False,
        name: str = "memory",
        on_event: OnEvent = ignore_event,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.name = name
        self.live = live
        self.stats = SourceStats()
        self._script = tuple(script)
        self._on_event = on_event
        self._sleep = sleep
        self._closed = False

    async def units(self) -> AsyncGenerator[AccessUnit, None]:
        """Yields the access units of the script."""
        for step in self._script:
            if self._closed:
                return
            if isinstance(step, Exception):
                raise step
            if isinstance(step, Pause):
                await self._sleep(step.seconds)
            elif isinstance(step, Notice):
                self._on_event(step.kind, step.detail)
            else:
                self.stats.units += 1
                self.stats.bytes += len(step.data)
                yield step
        self._on_event("ended", self.name)

    async def aclose(self) -> None:
        """Ends a running iteration before its next step; may be called again."""
        self._closed = True
