"""An async iterator of received embeddings that knows what it missed."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

from ovstream.errors import ConfigError, WireError
from ovstream.publish.receiving import ReceivingSocket
from ovstream.publish.ring import Ring
from ovstream.publish.tracker import Gap, StreamState, Tracker
from ovstream.types import Embedding
from ovstream.wire import Message, Published, Status, parse

_BATCH = 256  # messages read before other tasks get a turn
_DELIVERIES_PER_TURN = 64
_GAPS_KEPT = 1000


@dataclass(slots=True)
class SubscriptionStats:
    """What happened on the way; counters only grow.

    Attributes:
        received: Fresh embeddings that arrived.
        delivered: Of those, given to the reader.
        dropped: Of those, pushed out of the ring by newer ones before they were read.
        stale: Of those, older than `max_age_seconds` when their turn came.
        lost: Embeddings that were sent but never arrived, over all gaps.
        duplicates: Embeddings with a number already seen.
        fenced: Messages of an earlier epoch.
        invalid: Messages that are none, or one stream too many.
        heartbeats: Signs of life and status messages.
        age_ms: Of the last delivery: now minus publish time, by the wall clocks of both machines.
    """

    received: int = 0
    delivered: int = 0
    dropped: int = 0
    stale: int = 0
    lost: int = 0
    duplicates: int = 0
    fenced: int = 0
    invalid: int = 0
    heartbeats: int = 0
    age_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class StreamHealth:
    """How a stream stands, seen from a subscriber.

    Attributes:
        stream_id: Name of the stream.
        epoch: The latest one seen.
        next_seq: The number expected next.
        heard_ago_seconds: Time since its last message; publishers send a heartbeat every second.
        ended: The publisher said that it is over.
    """

    stream_id: str
    epoch: int
    next_seq: int
    heard_ago_seconds: float
    ended: bool


class Subscription:
    """Embeddings of a publisher, in the order of sending; made by `subscribe`.

    Enter it with `async with`, iterate it with `async for`. A task of its own drains the socket, so a slow
    reader loses by the declared policy, visibly, instead of reading ever older messages.

    Attributes:
        gaps: The last 1000 gaps; `stats.lost` counts all of them.
    """

    def __init__(
        self,
        connect: Callable[[], ReceivingSocket],
        *,
        streams: Sequence[str] | None,
        ring: Ring,
        max_age_seconds: float | None,
        until_end: bool,
        on_gap: Callable[[Gap], None] | None,
        on_status: Callable[[Status], None] | None,
        clock_ns: Callable[[], int],
    ) -> None:
        self.gaps: deque[Gap] = deque(maxlen=_GAPS_KEPT)
        self._connect = connect
        self._streams = streams
        self._ring = ring
        self._max_age_seconds = max_age_seconds
        self._until_end = until_end
        self._on_gap = on_gap
        self._on_status = on_status
        self._clock_ns = clock_ns
        self._tracker = Tracker()
        self._stats = SubscriptionStats()
        self._socket: ReceivingSocket | None = None
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()  # something to read, or the end
        self._room = asyncio.Event()  # a full lossless ring was read from
        self._ended = False
        self._failure: BaseException | None = None

    @property
    def stats(self) -> SubscriptionStats:
        """A copy of the counters."""
        return replace(self._stats)

    def streams(self) -> dict[str, StreamHealth]:
        """Every stream heard so far, by name; a publisher that died is one not heard for seconds."""
        now = time.monotonic()
        return {name: _health(state, now) for name, state in self._tracker.streams.items()}

    async def ready(self) -> None:
        """Waits for the first message of any kind: from then on every loss is noticed.

        Use `asyncio.timeout` around it; a publisher that is not there yet sends nothing.
        """
        while not self._tracker.streams and not self._ended:
            self._changed.clear()
            await self._changed.wait()
        self._raise_failure()

    async def aclose(self) -> None:
        """Closes the socket and ends the task; what waits in the ring is given up. May be called twice."""
        self._ended = True
        self._changed.set()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.close()
        while self._ring:
            self._ring.pop()

    async def __aenter__(self) -> Self:
        if self._socket is not None or self._ended:
            raise ConfigError("a subscription is used once: call subscribe() again")
        self._socket = self._connect()
        self._task = asyncio.create_task(self._run(), name="ovstream-subscription")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __aiter__(self) -> AsyncIterator[Embedding]:
        return self

    async def __anext__(self) -> Embedding:
        if self._socket is None and not self._ended:
            raise ConfigError("use it as 'async with ovstream.subscribe(...) as events'")
        if self._stats.delivered % _DELIVERIES_PER_TURN == 0:
            await asyncio.sleep(0)
        while True:
            self._drain()
            while self._ring:
                embedding = self._ring.pop()
                self._room.set()
                if self._deliverable(embedding):
                    return embedding
            self._raise_failure()
            if self._ended:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()

    async def _run(self) -> None:
        """Drains the socket for as long as the subscription is open."""
        try:
            while not self._ended:
                if self._ring.full:
                    self._room.clear()
                    await self._room.wait()
                elif self._drain() == _BATCH:
                    await asyncio.sleep(0)
                else:
                    await self._readable()
        except Exception as error:
            self._failure = error
            self._ended = True
        self._changed.set()

    async def _readable(self) -> None:
        """Waits until the socket signals; its signal is edge-triggered, so it must be drained before."""
        socket = self._socket
        if socket is None:
            return
        loop = asyncio.get_running_loop()
        signalled = asyncio.Event()
        loop.add_reader(socket.descriptor, signalled.set)
        try:
            await signalled.wait()
        finally:
            loop.remove_reader(socket.descriptor)

    def _drain(self) -> int:
        """Reads what has arrived, up to a batch or a full ring, without waiting; returns how many messages."""
        for count in range(_BATCH):
            if self._socket is None or self._ended or self._ring.full:
                return count
            frames = self._socket.receive()
            if frames is None:
                return count
            self._take(frames)
        return _BATCH

    def _take(self, frames: list[bytes]) -> None:
        try:
            message = parse(frames)
        except WireError:
            self._stats.invalid += 1
            return
        verdict, gaps = self._tracker.accept(message, now_seconds=time.monotonic())
        self._changed.set()
        for gap in gaps:
            self._report(gap)
        if verdict == "fresh":
            self._take_fresh(message)
        elif verdict == "duplicate":
            self._stats.duplicates += 1
        elif verdict == "fenced":
            self._stats.fenced += 1
        else:
            self._stats.invalid += 1

    def _take_fresh(self, message: Message) -> None:
        if isinstance(message, Published):
            self._stats.received += 1
            self._stats.dropped += self._ring.push(message.embedding)
            return
        self._stats.heartbeats += 1
        if isinstance(message, Status):
            if self._on_status is not None:
                self._on_status(message)
            self._ended = self._ended or (self._until_end and self._all_ended())

    def _report(self, gap: Gap) -> None:
        self.gaps.append(gap)
        self._stats.lost += gap.count
        if self._on_gap is not None:
            self._on_gap(gap)

    def _all_ended(self) -> bool:
        known = self._tracker.streams
        wanted = known.keys() if self._streams is None else self._streams
        return all(name in known and known[name].ended for name in wanted)

    def _deliverable(self, embedding: Embedding) -> bool:
        age_seconds = (self._clock_ns() - embedding.publish_time_ns) * 1e-9
        if self._max_age_seconds is not None and age_seconds > self._max_age_seconds:
            self._stats.stale += 1
            return False
        self._stats.delivered += 1
        self._stats.age_ms = age_seconds * 1e3
        return True

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure


def _health(state: StreamState, now_seconds: float) -> StreamHealth:
    return StreamHealth(
        stream_id=state.stream_id,
        epoch=state.epoch,
        next_seq=state.next_seq,
        heard_ago_seconds=now_seconds - state.heard_seconds,
        ended=state.ended,
    )
