"""An iterator of received events that knows what it missed; in asyncio and without."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Self

from ovstream.errors import ConfigError
from ovstream.publish.events import Event, Gap
from ovstream.publish.reception import BATCH, Reception, StreamHealth, SubscriptionStats
from ovstream.types import Embedding

_DELIVERIES_PER_TURN = 64
_TICK_SECONDS = 0.1  # between looks at what takes too long, while nothing arrives


class Subscription:
    """What publishers send, in the order of sending; made by `subscribe`.

    Enter it with `async with` and iterate it with `async for`, or, without asyncio, with `with` and `for`. In asyncio
    a task of its own drains the sockets, so a slow reader loses by the declared policy, visibly, instead of
    reading ever older messages; without, they are drained whenever the next event is asked for.
    """

    def __init__(self, connect: Callable[[], Reception]) -> None:
        self._connect = connect
        self._reception: Reception | None = None
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()  # something to read, or the end
        self._room = asyncio.Event()  # a full lossless ring was read from
        self._closed = False
        self._failure: BaseException | None = None
        self._taken = 0

    @property
    def stats(self) -> SubscriptionStats:
        """A copy of the counters."""
        return SubscriptionStats() if self._reception is None else self._reception.stats

    @property
    def gaps(self) -> deque[Gap]:
        """The last 1000 gaps; `stats.lost` counts all of them."""
        return deque() if self._reception is None else self._reception.gaps

    def streams(self) -> dict[str, StreamHealth]:
        """Every stream heard so far, by name; a publisher that died is one not heard for seconds."""
        return {} if self._reception is None else self._reception.health()

    async def ready(self) -> None:
        """Waits for the first message of any kind: from then on every loss is noticed.

        Use `asyncio.timeout` around it; a publisher that is not there yet sends nothing.
        """
        while not self._opened().heard and not self._over:
            self._changed.clear()
            await self._changed.wait()
        self._raise_failure()

    async def embeddings(self) -> AsyncIterator[Embedding]:
        """Yields embeddings alone, for those who read `stats.lost` instead of gaps."""
        async for event in self:
            if isinstance(event, Embedding):
                yield event

    async def aclose(self) -> None:
        """Closes the sockets and ends the task; what waits to be read is given up. May be called twice."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self.close()
        self._changed.set()

    def close(self) -> None:
        """Closes the sockets; for use without asyncio. May be called twice."""
        self._closed = True
        if self._reception is not None and not self._reception.sockets.closed:
            self._reception.close()

    async def __aenter__(self) -> Self:
        self.__enter__()
        self._task = asyncio.create_task(self._run(), name="ovstream-subscription")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __enter__(self) -> Self:
        if self._reception is not None or self._closed:
            raise ConfigError("a subscription is used once: call subscribe() again")
        self._reception = self._connect()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        reception = self._opened()
        self._taken += 1
        if self._taken % _DELIVERIES_PER_TURN == 0:
            await asyncio.sleep(0)
        while True:
            if not (self._closed or reception.finished or reception.waiting):
                reception.read()
            event = reception.pop()
            if event is not None:
                self._room.set()
                return event
            self._raise_failure()
            if self._over:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        if self._task is not None:
            raise ConfigError("opened with 'async with': iterate it with 'async for'")
        reception = self._opened()
        while True:
            if not (self._closed or reception.waiting):
                reception.read()
            event = reception.pop()
            if event is not None:
                return event
            if self._over:
                raise StopIteration
            reception.sockets.wait(_TICK_SECONDS)

    @property
    def _over(self) -> bool:
        return self._closed or self._opened().finished

    def _opened(self) -> Reception:
        if self._reception is None:
            raise ConfigError("use it as 'async with ovstream.subscribe(...) as events'")
        return self._reception

    async def _run(self) -> None:
        """Drains the sockets for as long as the subscription is open."""
        reception = self._opened()
        try:
            async with _Readable(reception.sockets.descriptors) as readable:
                while not reception.finished:
                    if reception.full:
                        self._room.clear()
                        await self._room.wait()
                        continue
                    count = reception.read()
                    self._changed.set()
                    if count >= BATCH:
                        await asyncio.sleep(0)
                    else:
                        await readable.wait(_TICK_SECONDS)
        except Exception as error:
            self._failure = error
            self._closed = True
        self._changed.set()

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure


class _Readable:
    """Waits until sockets signal; the signal is edge-triggered, so they must have been drained before."""

    def __init__(self, descriptors: list[int]) -> None:
        self._descriptors = descriptors
        self._signalled = asyncio.Event()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for descriptor in self._descriptors:
            loop.add_reader(descriptor, self._signalled.set)
        return self

    async def __aexit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        for descriptor in self._descriptors:
            loop.remove_reader(descriptor)

    async def wait(self, seconds: float) -> None:
        timer = asyncio.get_running_loop().call_later(seconds, self._signalled.set)
        await self._signalled.wait()
        self._signalled.clear()
        timer.cancel()
