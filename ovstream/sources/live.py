"""Live sources that run in the event loop: one task that receives, one bounded queue."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncGenerator

from ovstream.sources.base import MAX_QUEUE_BYTES, OnEvent, SourceStats, ignore_event
from ovstream.types import AccessUnit


class LiveQueue:
    """A bounded queue as `KeyframeGate` wants it, with a consumer that waits.

    Args:
        size: Most units that wait.
        max_bytes: Most bytes that wait; a single larger unit passes.
    """

    def __init__(self, size: int, *, max_bytes: int = MAX_QUEUE_BYTES) -> None:
        self._size = size
        self._max_bytes = max_bytes
        self._bytes = 0
        self._units: deque[AccessUnit] = deque()
        self._ended = False
        self._changed = asyncio.Event()

    def offer(self, unit: AccessUnit) -> bool:
        """Appends if there is room; tells whether there was."""
        size = len(unit.data)
        if len(self._units) >= self._size or (self._units and self._bytes + size > self._max_bytes):
            return False
        self._units.append(unit)
        self._bytes += size
        self._changed.set()
        return True

    def take_all(self) -> list[AccessUnit]:
        """Empties the queue."""
        taken = list(self._units)
        self._units.clear()
        self._bytes = 0
        return taken

    def end(self) -> None:
        """Nothing more will come."""
        self._ended = True
        self._changed.set()

    async def get(self) -> AccessUnit | None:
        """The next unit; None at the end."""
        while not self._units:
            if self._ended:
                return None
            self._changed.clear()
            await self._changed.wait()
        unit = self._units.popleft()
        self._bytes -= len(unit.data)
        return unit


class LiveSource(ABC):
    """A `Source` whose receiving needs no thread: subclasses write `_receive`, this class does the rest.

    Args:
        name: See `Source`.
        queue_units: Most access units between network and consumer.
        on_event: Called in the event loop.
    """

    live = True

    def __init__(self, name: str, *, queue_units: int, on_event: OnEvent = ignore_event) -> None:
        self.name = name
        self.stats = SourceStats()
        self._queue_units = queue_units
        self._on_event = on_event
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    @abstractmethod
    async def _receive(self, queue: LiveQueue) -> None:
        """Fills `queue` until the source ends, breaks (raises), or is cancelled; leaves nothing open."""

    async def units(self) -> AsyncGenerator[AccessUnit, None]:
        """Yields access units in coded order; see `Source`."""
        if self._task is not None:
            raise RuntimeError("this source is being iterated already")
        if self._closed:
            return
        queue = LiveQueue(self._queue_units)
        self._task = task = asyncio.create_task(self._receive(queue), name=f"ovstream-{type(self).__name__}")
        task.add_done_callback(lambda _task: queue.end())
        try:
            while (unit := await queue.get()) is not None:
                if self._closed:
                    return
                self.stats.units += 1
                self.stats.bytes += len(unit.data)
                yield unit
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error
        finally:
            self._task = None
            await _cancelled(task)
        if not self._closed:
            self._on_event("ended", self.name)

    async def aclose(self) -> None:
        """Ends a running iteration and frees everything; may be called again."""
        self._closed = True
        if self._task is not None:
            await _cancelled(self._task)


async def _cancelled(task: asyncio.Task[None]) -> None:
    """Waits for the end of a task that is not needed any more."""
    task.cancel()
    await asyncio.wait({task})
