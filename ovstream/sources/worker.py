"""One thread that reads for one asyncio consumer, with a bounded queue between them."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import replace
from time import monotonic_ns
from typing import Generic, NamedTuple, TypeVar

from ovstream.sources.base import MAX_QUEUE_BYTES, OnEvent, SourceStats, ignore_event
from ovstream.sources.pacing import Pacer
from ovstream.types import AccessUnit, EventKind

T = TypeVar("T")

# A thread that the system holds (a name being looked up, a disk that hangs) is left to end by itself after this time.
CLOSE_PATIENCE_SECONDS = 0.9


class ReadingStopped(Exception):  # noqa: N818 - a signal, not an error
    """Tells the reading thread that nobody wants more."""


class Worker(Generic[T]):
    """Runs `read(self)` in a thread; iterating gives what `read` puts.

    The thread calls `put` (waits for room) or `offer` and `take_all` (a live source must not wait), `wait` and
    `notify`; they raise `ReadingStopped` as soon as the consumer has closed. The rest belongs to the consumer.

    Args:
        read: Blocking function; its return ends the iteration, its exception is raised to the consumer.
        size: Most items in the queue.
        name: Of the thread.
        weigh: Bytes of an item.
        max_bytes: Most bytes in the queue; a single larger item passes.
    """

    def __init__(
        self,
        read: Callable[[Worker[T]], None],
        *,
        size: int,
        name: str,
        weigh: Callable[[T], int] = lambda item: 0,
        max_bytes: int = MAX_QUEUE_BYTES,
    ) -> None:
        self._read = read
        self._size = size
        self._weigh = weigh
        self._max_bytes = max_bytes
        self._bytes = 0
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._done = False
        self._error: Exception | None = None
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        self._finished = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def stopped(self) -> bool:
        """Whether the consumer has closed."""
        return self._stop.is_set()

    def put(self, item: T) -> None:
        """Appends when there is room."""
        with self._changed:
            self._changed.wait_for(lambda: self._has_room(item) or self.stopped)
            self._append(item)

    def offer(self, item: T) -> bool:
        """Appends if there is room; tells whether there was."""
        with self._changed:
            if not self._has_room(item):
                return False
            self._append(item)
            return True

    def take_all(self) -> list[T]:
        """Empties the queue."""
        with self._changed:
            items = list(self._items)
            self._items.clear()
            self._bytes = 0
            return items

    def wait(self, seconds: float) -> None:
        """Sleeps, but not longer than the consumer stays; 0 only looks whether it is still there."""
        if self._stop.wait(seconds):
            raise ReadingStopped

    def notify(self, callback: Callable[[], None]) -> None:
        """Calls `callback` soon in the consumer's event loop."""
        with suppress(RuntimeError):  # the loop is closed: nobody listens
            self._loop.call_soon_threadsafe(callback)

    def __aiter__(self) -> Worker[T]:
        return self

    async def __anext__(self) -> T:
        while True:
            with self._changed:
                if self._items:
                    self._changed.notify()
                    item = self._items.popleft()
                    self._bytes -= self._weigh(item)
                    return item
                if self._error is not None:
                    raise self._error
                if self._done or self.stopped:
                    raise StopAsyncIteration
                self._ready.clear()
            await self._ready.wait()

    async def aclose(self) -> None:
        """Ends the iteration and the thread; may be called again."""
        with self._changed:
            self._stop.set()
            self._items.clear()
            self._bytes = 0
            self._changed.notify_all()
        self._ready.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._finished.wait(), CLOSE_PATIENCE_SECONDS)
            self._thread.join()

    def _has_room(self, item: T) -> bool:
        if not self._items:
            return True
        return len(self._items) < self._size and self._bytes + self._weigh(item) <= self._max_bytes

    def _append(self, item: T) -> None:
        if self.stopped:
            raise ReadingStopped
        self._items.append(item)
        self._bytes += self._weigh(item)
        if len(self._items) == 1:
            self.notify(self._ready.set)

    def _run(self) -> None:
        try:
            self._read(self)
        except ReadingStopped:
            pass
        except Exception as error:
            if not self.stopped:
                self._error = error
        finally:
            self._done = True
            self.notify(self._ready.set)
            self.notify(self._finished.set)


class Timed(NamedTuple):
    """An access unit and the moment, in seconds of the stream's own clock, when a camera would send it."""

    unit: AccessUnit
    due_seconds: float


class ThreadedSource(ABC):
    """A `Source` whose reading blocks: subclasses write `_read`, this class does the rest.

    Args:
        name: See `Source`.
        queue_units: Most access units between the thread and the consumer.
        pacer: Holds access units back to camera speed; None hands them out as fast as they are taken.
        on_event: Called in the consumer's event loop.
    """

    live = False

    def __init__(
        self, name: str, *, queue_units: int, pacer: Pacer | None = None, on_event: OnEvent = ignore_event
    ) -> None:
        self.name = name
        self.stats = SourceStats()
        self._queue_units = queue_units
        self._pacer = pacer
        self._on_event = on_event
        self._worker: Worker[Timed] | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    @abstractmethod
    def _read(self, worker: Worker[Timed]) -> None:
        """Puts access units into `worker` until there are no more; runs in the thread."""

    async def units(self) -> AsyncGenerator[AccessUnit, None]:
        """Yields access units in coded order; see `Source`."""
        if self._worker is not None:
            raise RuntimeError("this source is being iterated already")
        if self._closed:
            return
        worker = Worker(
            self._read,
            size=self._queue_units,
            name=f"ovstream-{type(self).__name__}",
            weigh=lambda item: len(item.unit.data),
        )
        self._worker = worker
        try:
            async for item in worker:
                unit = await self._paced(item)
                if self._closed:
                    return
                self.stats.units += 1
                self.stats.bytes += len(unit.data)
                yield unit
        finally:
            self._worker = None
            await worker.aclose()
        if not self._closed:
            self._on_event("ended", self.name)

    async def aclose(self) -> None:
        """Ends a running iteration and frees everything; may be called again."""
        self._closed = True
        if self._worker is not None:
            await self._worker.aclose()

    async def _paced(self, item: Timed) -> AccessUnit:
        if self._pacer is None:
            return item.unit
        await self._pacer.wait(item.due_seconds)
        return replace(item.unit, arrival_ns=monotonic_ns())

    def _emit(self, worker: Worker[Timed], kind: EventKind, detail: str) -> None:
        """Reports an event from the thread."""
        worker.notify(lambda: self._on_event(kind, detail))
