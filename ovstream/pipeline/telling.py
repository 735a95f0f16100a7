"""Tells what a stream finds: every sink first, in order, then whoever reads the stream."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import TypeVar

from ovstream.errors import FencedError
from ovstream.pipeline.stats import StreamStats
from ovstream.sinks import Sink
from ovstream.types import AccessUnit, Embedding, EventKind, StreamEvent

_RESULT_QUEUE = 64  # results waiting for a slow reader; live streams then drop the oldest
_EVENT_QUEUE = 256

_T = TypeVar("_T")

_log = logging.getLogger("ovstream")


class Telling:
    """Results and events of one stream, on their way to its sinks and its reader.

    To be called in the loop of the stream. A sink that fails is counted in `stats.sink_errors`, told about once, and
    costs the others nothing; only one that says that somebody else runs the stream now (`FencedError`) ends it.

    Attributes:
        dropped: Results that gave way because the reader of a live stream was slow.

    Args:
        stream_id: Of the stream.
        stats: Its counters.
        sinks: Get every embedding, in order, before the reader does; they stay open when the stream ends.
    """

    def __init__(self, stream_id: str, *, stats: StreamStats, sinks: Iterable[Sink]) -> None:
        self.dropped = 0
        self._stream_id = stream_id
        self._stats = stats
        self._sinks = list(sinks)
        self._results: asyncio.Queue[Embedding | None] = asyncio.Queue(_RESULT_QUEUE)
        self._events: asyncio.Queue[StreamEvent | None] = asyncio.Queue(_EVENT_QUEUE)
        self._announced_epoch: int | None = None
        self._ended = False

    @property
    def begun(self) -> bool:
        """Whether the sinks know the stream and wait for its end."""
        return self._announced_epoch is not None and not self._ended

    def add(self, sinks: Iterable[Sink]) -> None:
        """Adds sinks; before anything is told."""
        self._sinks += sinks

    def resume(self) -> tuple[int, int]:
        """The lowest epoch and number that no earlier process has used, as far as the sinks know; (0, 0) if none does."""
        known = [found for sink in self._sinks if (found := sink.resume(self._stream_id)) is not None]
        return max([0, *(epoch for epoch, _ in known)]), max([0, *(number for _, number in known)])

    def announce(self, epoch: int, next_seq: int) -> None:
        """Tells the sinks which epoch begins, and with which number."""
        self._announced_epoch = epoch
        self._each(
            lambda sink: sink.announce(self._stream_id, epoch=epoch, next_seq=next_seq), may_be_fenced=True
        )

    def packet(self, unit: AccessUnit) -> None:
        """Hands on what the camera sent, to the sinks that keep it."""
        self._each(lambda sink: sink.packet(self._stream_id, unit))

    async def deliver(self, embedding: Embedding, *, live: bool) -> None:
        """Hands on a result; waits for a slow reader unless the stream is live."""
        if embedding.epoch != self._announced_epoch:
            self.announce(embedding.epoch, embedding.seq)
        self._each(lambda sink: sink.publish(embedding), may_be_fenced=True)
        if not live:
            await self._results.put(embedding)
        elif _put_dropping_oldest(self._results, embedding):
            self.dropped += 1

    def event(self, kind: EventKind, detail: str) -> None:
        """Tells what happened beside the frames."""
        event = StreamEvent(kind, self._stream_id, time.monotonic_ns(), detail)
        _log.info("%s: %s: %s", self._stream_id, kind, detail)
        _put_dropping_oldest(self._events, event)
        if kind != "ended":
            self._each(lambda sink: sink.event(event))

    def heartbeat(self) -> None:
        """Tells the sinks that the stream lives, whether its camera does or not."""
        self._each(lambda sink: sink.heartbeat(time.time_ns(), stream_id=self._stream_id))

    def end(self, detail: str, *, last: Iterable[tuple[EventKind, str]] = ()) -> None:
        """Tells the `last` events and that the stream is over; results on their way may still be read."""
        self._ended = True
        for kind, what in last:
            self.event(kind, what)
        self.event("ended", detail)
        self._each(lambda sink: sink.end(self._stream_id))
        self.end_events()

    async def last_result(self) -> None:
        """Lets the reader know, behind what waits, that no result comes any more."""
        await self._results.put(None)

    def end_results(self) -> None:
        """The same without waiting: the oldest result gives way if need be."""
        _put_dropping_oldest(self._results, None)

    def end_events(self) -> None:
        """Lets the reader of the events know that none comes any more."""
        _put_dropping_oldest(self._events, None)

    async def result(self, *, wait: bool) -> Embedding | None:
        """The next result; None at the end, however often one asks, and where none is there and none is waited for."""
        if not wait and self._results.empty():
            return None
        embedding = await self._results.get()
        if embedding is None:
            self.end_results()
        return embedding

    async def events(self) -> AsyncIterator[StreamEvent]:
        """Yields what happens beside the frames, until the stream ends; the oldest of 256 unread ones give way."""
        while (event := await self._events.get()) is not None:
            yield event
        self._events.put_nowait(None)

    def _each(self, call: Callable[[Sink], None], *, may_be_fenced: bool = False) -> None:
        """Calls every sink; whether somebody else runs this stream now, the next result tells."""
        for sink in self._sinks:
            try:
                call(sink)
            except Exception as error:
                if may_be_fenced and isinstance(error, FencedError):
                    raise
                if not self._stats.sink_errors:
                    _log.exception("%s: a sink failed: %r", self._stream_id, sink)
                self._stats.sink_errors += 1


def _put_dropping_oldest(queue: asyncio.Queue[_T], item: _T) -> bool:
    """Puts without waiting; returns whether an older item had to give way."""
    dropped = False
    while queue.full():
        queue.get_nowait()
        dropped = True
    queue.put_nowait(item)
    return dropped
