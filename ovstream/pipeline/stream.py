"""Runs one stream: owns its tasks, its thread and its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from ovstream.config import StreamConfig
from ovstream.decode import Picture
from ovstream.encode import Encoder
from ovstream.errors import ConfigError, DecodeError, OvstreamError
from ovstream.health import Condition
from ovstream.pipeline.at_work import AT_WORK
from ovstream.pipeline.dropping import DropTeller
from ovstream.pipeline.effort import FULL_EFFORT, Effort
from ovstream.pipeline.encoders import encoder_of
from ovstream.pipeline.freshness import FreshnessGate
from ovstream.pipeline.latency import Latency
from ovstream.pipeline.outputs import Outputs
from ovstream.pipeline.passes import PASSES
from ovstream.pipeline.stats import StreamStats
from ovstream.pipeline.tape import open_tape
from ovstream.pipeline.telling import Telling
from ovstream.pipeline.turns import TURNS
from ovstream.pipeline.worker import FrameTrace, StreamWorker
from ovstream.sinks import Sink
from ovstream.sources import Source, open_source
from ovstream.types import AccessUnit, BoolArray, Checkpoint, Embedding, EventKind, ModelInfo, StreamEvent

if TYPE_CHECKING:
    from ovstream.pipeline.tracing import UnitTracer

_HEARTBEAT_SECONDS = 1.0

_T = TypeVar("_T")

_log = logging.getLogger("ovstream")


class Stream:
    """An async iterator of `Embedding`, and everything one may want to know about its making.

    Use it as `async with ovstream.open(url) as stream: async for embedding in stream: ...`.

    Attributes:
        config: As given.
        stats: What was done so far.
        latency: From the arrival of a unit until its results are out.

    Args:
        config: Of the stream.
        source: Replaces the source that `config.url` names.
        encoder: Replaces the encoder that `config.encode` names; may be shared between streams.
        sinks: Get every embedding, in order, before the reader does; they stay open when the stream ends.
        restore: Where an earlier worker of the same stream stopped.
        observe: Called with a `FrameTrace` after every picture, in the stream's thread.
        outputs: Opens what `config.publish` and `config.sinks` name; may be shared between streams, and stays open
            when the stream ends. None: the stream has its own.
    """

    def __init__(
        self,
        config: StreamConfig,
        *,
        source: Source | None = None,
        encoder: Encoder | None = None,
        sinks: Sequence[Sink] = (),
        restore: Checkpoint | None = None,
        observe: Callable[[FrameTrace], None] | None = None,
        outputs: Outputs | None = None,
    ) -> None:
        self.config = config
        self.stats, self._tracer = _watched(config)
        self.latency = Latency()
        self.recording: Path | None = None
        self._source = source
        self._encoder = encoder
        self._telling = Telling(config.stream_id, stats=self.stats, sinks=sinks)
        self._outputs = outputs or Outputs()
        self._owns_outputs = outputs is None
        self._freshness = FreshnessGate(config.source.max_latency_seconds)
        self._closing: asyncio.Task[None] | None = None
        self._restore = restore
        self._observe = observe
        self._worker: StreamWorker | None = None
        self._effort = FULL_EFFORT
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=f"ovstream-{config.stream_id}")
        self._tasks: list[asyncio.Task[None]] = []
        self._failure: BaseException | None = None
        self._closed = False

    @property
    def model(self) -> ModelInfo:
        """The model behind the vectors; known once the stream is open."""
        if self._encoder is None:
            raise ConfigError("the stream is not open yet: use 'async with'")
        return self._encoder.info

    def checkpoint(self) -> Checkpoint:
        """Epoch, sequence number and position: enough to go on elsewhere."""
        if self._worker is None:
            raise ConfigError("the stream is not open yet: use 'async with'")
        return self._worker.checkpoint

    @property
    def memory_bytes(self) -> int:
        """What the stream holds and grows with its settings: see `StreamWorker.memory_bytes`."""
        return 0 if self._worker is None else self._worker.memory_bytes

    @property
    def active_rules(self) -> tuple[str, ...]:
        """Names of the rules whose events are going on."""
        return () if self._worker is None else self._worker.watcher.active

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """What is wrong with the camera now, told by its metadata alone; empty when it is well."""
        return () if self._worker is None else self._worker.conditions

    @property
    def effort(self) -> Effort:
        """What the stream may cost at present; may be set at any time."""
        return self._effort

    @effort.setter
    def effort(self, effort: Effort) -> None:
        self._effort = effort

    async def picture(self) -> tuple[Picture, BoolArray]:
        """Decodes the newest picture, between two others; with (rows, cols) bool, its masked patches.

        Raises:
            DecodeError: There is none yet.
        """
        worker = self._worker
        if worker is None or self._closed:
            raise DecodeError("the stream is not open")
        return await self._in_thread(worker.picture)

    def tell(self, kind: EventKind, detail: str) -> None:
        """Adds an event of somebody who watches over the stream to its own; to be called in its loop."""
        self._telling.event(kind, detail)

    async def __aenter__(self) -> Self:
        if self._tasks or self._closed:
            raise ConfigError("a stream can be opened once; make another with ovstream.open")
        self._loop = asyncio.get_running_loop()
        try:
            await self._open()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> AsyncIterator[Embedding]:
        return self

    async def __anext__(self) -> Embedding:
        if not self._tasks and not self._closed:
            raise ConfigError("the stream is not open: use 'async with ovstream.open(...)'")
        embedding = await self._telling.result(wait=not self._closed)
        if embedding is not None:
            return embedding
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        raise StopAsyncIteration

    async def run(self) -> StreamStats:
        """Consumes the stream to its end, for those who only want its sinks."""
        async for _ in self:
            pass
        return self.stats

    def events(self) -> AsyncIterator[StreamEvent]:
        """Yields what happens beside the frames, until the stream ends; the oldest of 256 unread ones give way."""
        return self._telling.events()

    async def aclose(self) -> None:
        """Ends the stream: no task, thread, socket or decoder is left. May be called twice, and cancelled."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self._closed = True
        PASSES.leave(self.config.stream_id)
        async with (
            contextlib.AsyncExitStack() as stack
        ):  # last in, first out; each runs whatever the others do
            stack.callback(self._telling.end_results)
            stack.callback(self._telling.end_events)
            if self._owns_outputs:
                stack.push_async_callback(asyncio.to_thread, self._outputs.close)  # may wait for messages
            stack.callback(self._end)
            if self._worker is not None:
                stack.callback(self._worker.close)
            stack.push_async_callback(self._end_thread)
            if self._source is not None:
                stack.push_async_callback(self._source.aclose)
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _end_thread(self) -> None:
        """Waits for the call that runs; not in a thread of the loop's, which a call that hangs would keep for good."""
        last = asyncio.get_running_loop().run_in_executor(self._executor, lambda: None)
        self._executor.shutdown(wait=False)
        await last
        self._executor.shutdown()  # the thread is on its way out

    async def _open(self) -> None:
        config = self.config
        if self._encoder is None:
            self._encoder = await self._in_thread(lambda: encoder_of(config.encode))
        self._telling.add(self._outputs.of(config))
        if self._source is None:
            self._source = open_source(config.url, config=config.source, on_event=self._from_source)
        restore, (epoch, next_seq) = self._restore, self._resume()
        tape = open_tape(
            config,
            encoder=self._encoder,
            stats=self.stats,
            epoch=max(restore.epoch + 1 if restore else 0, epoch),
            next_seq=max(restore.next_seq if restore else 0, next_seq),
            on_event=lambda detail: self._from_source("error", detail),
        )
        self.recording = None if tape is None else tape.path
        self._worker = StreamWorker(
            config,
            encoder=self._encoder,
            stats=self.stats,
            restore=restore,
            first_epoch=epoch,
            first_seq=next_seq,
            on_event=self._from_source,
            observe=self._observe,
            tape=tape,
        )
        PASSES.join(config.stream_id)
        TURNS.widen(self._encoder.backend.lanes)  # those that share a run wait for each other
        known = self._worker.checkpoint
        self._telling.announce(known.epoch, known.next_seq)
        self._tasks = [
            asyncio.create_task(self._run(self._source, self._worker), name=f"ovstream-{config.stream_id}"),
            asyncio.create_task(self._heartbeat(self._source)),
        ]

    async def _run(self, source: Source, worker: StreamWorker) -> None:
        try:
            units = source.units()
            async with contextlib.aclosing(units):
                async for unit in units:
                    await self._take(source, worker, unit)
            for embedding in await self._in_thread(worker.flush):
                await self._telling.deliver(embedding, live=source.live)
        except OvstreamError as error:
            self._fail(error)
        except Exception as error:
            _log.exception("%s: stream failed", self.config.stream_id)
            self._fail(error)
        self._copy_source_stats(source)
        self._end()
        await self._telling.last_result()

    async def _take(self, source: Source, worker: StreamWorker, unit: AccessUnit) -> None:
        fresh = self._freshness.admit(unit) if source.live else unit
        self._copy_source_stats(source)  # who looks while this unit is at work sees what went before it
        if fresh is not None:
            self._telling.packet(fresh)
            if (told := self._freshness.report()) is not None:
                self._telling.event("dropped", told)
            trace = self._tracer.begin(fresh) if self._tracer is not None else None
            results = await self._loop.run_in_executor(self._executor, self._work, source, worker, fresh)
            worked = (
                self._tracer.worked(trace, results) if self._tracer is not None and trace is not None else 0
            )
            for embedding in results:
                await self._telling.deliver(embedding, live=source.live)
            if self._tracer is not None and trace is not None:
                self._tracer.end(trace, worked)
            if unit.arrival_ns:
                self.latency.observe(1e-9 * (time.monotonic_ns() - unit.arrival_ns))
        self._copy_source_stats(source)

    def _work(self, source: Source, worker: StreamWorker, unit: AccessUnit) -> list[Embedding]:
        """Takes a unit through the worker, when it is its turn; of live streams whole passes take turns, too."""
        name, stats = self.config.stream_id, self.stats
        with TURNS:
            if not source.live:
                worker.effort = self._effort
                return AT_WORK.run(name, lambda: worker.process(unit))
            passes, spent = stats.frames_dense, stats.cpu_seconds.get("encode", 0.0)
            worker.effort = replace(self._effort, whole=PASSES.admits(name))
            results = AT_WORK.run(name, lambda: worker.process(unit))
            spent = stats.cpu_seconds.get("encode", 0.0) - spent
            PASSES.done(name, spent if stats.frames_dense > passes else 0.0, put_off=worker.put_off)
            return results

    def _copy_source_stats(self, source: Source) -> None:
        self.stats.source_lost = source.stats.lost
        self.stats.reconnects = source.stats.reconnects
        self.stats.leave_out(
            keyframe=source.stats.unusable,
            queue=source.stats.dropped - source.stats.unusable,
            late=self._freshness.dropped,
            reader=self._telling.dropped,
        )

    def _resume(self) -> tuple[int, int]:
        """The lowest epoch and number that no earlier process has used, as far as the sinks know.

        Without a checkpoint epochs begin at the time of day, so that they grow from process to process anyhow.
        """
        epoch, number = self._telling.resume()
        return max(epoch, 0 if self._restore else int(time.time())), number

    def _end(self) -> None:
        """Tells once that the stream is over."""
        if self._telling.begun:
            self._telling.end(self._source.name if self._source else "", last=self._last_events())

    def _last_events(self) -> Iterator[tuple[EventKind, str]]:
        if self._worker is None:
            return
        for event in self._worker.watcher.finish():
            yield "rule", str(event)
        for condition in self._worker.conditions:
            yield "recovered", f"{condition}: not watched any more"

    async def _heartbeat(self, source: Source) -> None:
        worker = self._worker
        assert worker is not None
        seen, last, drops = 0, time.monotonic(), DropTeller()
        while True:
            self._telling.heartbeat()
            self._copy_source_stats(source)
            if (told := drops.report(self.stats.dropped_for)) is not None:
                self._telling.event("dropped", told)
            now = time.monotonic()
            if self.stats.frames != seen:
                seen, last = self.stats.frames, now
            for event in worker.watcher.silent(now - last, now):
                self._telling.event("rule", str(event))
            await asyncio.sleep(_HEARTBEAT_SECONDS)

    async def _in_thread(self, call: Callable[[], _T]) -> _T:
        name = self.config.stream_id
        return await self._loop.run_in_executor(self._executor, lambda: AT_WORK.run(name, call))

    def _fail(self, error: BaseException) -> None:
        self._failure = error
        self._telling.event("error", str(error))

    def _from_source(self, kind: EventKind, detail: str) -> None:
        """Takes an event from any thread; the end is told by the stream, when its last result is out."""
        if kind == "ended":
            return
        self._loop.call_soon_threadsafe(self._telling.event, kind, detail)


def _watched(config: StreamConfig) -> tuple[StreamStats, UnitTracer | None]:
    """Counters, and the tracer that reads them where traces are wanted."""
    if not config.trace.share:
        return StreamStats(), None
    from ovstream.pipeline.tracing import TracedStats, UnitTracer

    stats = TracedStats()
    return stats, UnitTracer(config.stream_id, share=config.trace.share, stats=stats)
