"""One supervised stream: started, watched, started again, and never in the way of the others."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from ovstream.config import PublishConfig, StreamConfig
from ovstream.errors import (
    ConfigError,
    DecodeError,
    FencedError,
    ModelError,
    OvstreamError,
    SourceAuthError,
    SourceNotFound,
)
from ovstream.pipeline import FULL_EFFORT, Effort, Latency, Outputs, Stream
from ovstream.service.checkpoints import Fence, StateFolder
from ovstream.service.encoders import EncoderPool
from ovstream.service.events import EventLog
from ovstream.service.monitor import Monitor
from ovstream.service.preview import jpeg
from ovstream.service.publishers import Publishers
from ovstream.sources import Source
from ovstream.sources.pacing import Backoff
from ovstream.types import Checkpoint, EventKind

State = Literal["starting", "live", "waiting", "paused", "ended", "failed", "stopped"]
Origin = Literal["file", "api"]

_CLOSE_SECONDS = 5.0  # then a stuck thread is left behind, and counted
_MOST_ABANDONED = 3
_SILENT_SECONDS = 3.0  # without a picture: not live
_STEADY_SECONDS = 60.0  # a life as long as this is no sign of a fault at the start
_FRESH_SECONDS = 1.0

_log = logging.getLogger("ovstream")


@dataclass(slots=True)
class Shared:
    """What all streams of a service have in common.

    Attributes:
        encoders: Models.
        outputs: Publishers and sinks.
        log: Gets every event.
        state: Where checkpoints go; None: nowhere.
        open_source: Replaces the source that a configuration names (for tests and embedding); None: does not.
        publishers: Makes the sources of streams that are sent to us; None: there are none.
    """

    encoders: EncoderPool
    outputs: Outputs
    log: EventLog
    state: StateFolder | None = None
    open_source: Callable[[StreamConfig], Source | None] = field(default=lambda config: None)
    publishers: Publishers | None = None


class Camera:
    """Keeps one stream going until it is stopped; its failures end nowhere but here.

    Args:
        config: Of the stream.
        shared: With all others.
        origin: Who named it.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        config: StreamConfig,
        shared: Shared,
        *,
        origin: Origin = "file",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config
        self.origin: Origin = origin
        self.monitor = Monitor(clock=clock)
        self.restarts = 0
        self.abandoned = 0
        self.failure = ""
        self.opened = asyncio.Event()
        self._shared = shared
        self._clock = clock
        self._stream: Stream | None = None
        self._effort = FULL_EFFORT
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._trouble = ""
        self._checkpoint: Checkpoint | None = None
        self._past: dict[str, Any] = {}
        self._past_latency = list(Latency().counts), 0.0
        self._progress = (0, 0.0)
        self._stalled = asyncio.Event()
        self._state: State = "paused" if config.supervise.paused else "stopped"

    @property
    def stream_id(self) -> str:
        """Its name."""
        return self.config.stream_id

    @property
    def outputs(self) -> list[str]:
        """Names of its publisher and sinks."""
        return self._shared.outputs.names(self.stream_id)

    @property
    def stream(self) -> Stream | None:
        """The running stream; None between two lives."""
        return self._stream

    @property
    def state(self) -> State:
        """How it is, in one word."""
        if self._state == "live" and self._clock() - self._progress[1] > _SILENT_SECONDS:
            return "waiting"
        return self._state

    @property
    def detail(self) -> str:
        """Why it is so, where there is something to say."""
        return self.failure or (self._trouble if self.state in ("waiting", "starting") else "")

    @property
    def effort(self) -> Effort:
        """What it may cost at present."""
        return self._effort

    @effort.setter
    def effort(self, effort: Effort) -> None:
        self._effort = effort
        if self._stream is not None:
            self._stream.effort = effort

    def start(self) -> None:
        """Begins, unless it runs already or is paused."""
        if self._task is None and not self.config.supervise.paused:
            self.failure, self._state, self._stopping = "", "starting", False
            self._task = asyncio.create_task(self._run(), name=f"camera-{self.stream_id}")

    async def stop(self, state: State = "stopped") -> None:
        """Ends the stream and remembers where it stood; may be called twice."""
        task, self._task = self._task, None
        if task is not None:
            if not self._stopping:
                task.cancel()
            await asyncio.wait({task})
        self._state = state

    def begin_stop(self) -> None:
        """Begins the end without waiting for it; `stop` waits."""
        if self._task is not None and not self._stopping:
            self._stopping = True
            self._task.cancel()

    async def reconfigure(self, config: StreamConfig) -> None:
        """Goes on under another configuration of the same name, with the next number."""
        await self.stop()
        if (config.url, config.plan.masks) != (self.config.url, self.config.plan.masks):
            self.monitor.forget_picture()
        self.config = config
        self._state = "paused" if config.supervise.paused else "stopped"
        self.start()

    def checkpoint(self) -> Checkpoint | None:
        """Where it stands; None before its first life."""
        if self._stream is not None:
            with contextlib.suppress(ConfigError):
                self._checkpoint = self._stream.checkpoint()
        return self._checkpoint

    def save(self) -> None:
        """Writes the checkpoint, where there is a place for it.

        Nobody waits for the disk: a power cut may lose the newest number, but never gives one away twice, for each
        epoch was written before its first result left.
        """
        checkpoint = self.checkpoint()
        if self._shared.state is not None and checkpoint is not None:
            with contextlib.suppress(OSError):  # a full disk is no reason to stop a stream
                self._shared.state.save(checkpoint, durable=False)

    def tick(self) -> None:
        """Once a second: closes the second, and looks for a stream that hangs or has grown too large."""
        stream = self._stream
        if stream is None:
            return
        self.monitor.tick(stream.stats, stream.latency)
        now, frames = self._clock(), stream.stats.frames
        if frames != self._progress[0]:
            self._progress = frames, now
            self._state = "live"
        silent = now - self._progress[1]
        if silent > self.config.supervise.stall_seconds and not self._trouble:
            self._stalled.set()
        limit = self.config.supervise.max_memory_mb
        if stream.memory_bytes > limit * 2**20:
            self.failure = (
                f"holds {stream.memory_bytes / 2**20:.0f} MB, more than supervise.max_memory_mb = {limit:g}: "
                "lower plan.max_tokens or source.queue_units, or raise the limit"
            )
            self._stalled.set()

    def totals(self) -> dict[str, Any]:
        """Counters over all lives, as in `StreamStats`; they only grow."""
        now = self._stream.stats.as_dict() if self._stream is not None else {}
        return _added(self._past, now)

    def latency_totals(self) -> tuple[list[int], float]:
        """Counts of the latency histogram and their sum in seconds, over all lives."""
        counts, total = self._past_latency
        if self._stream is not None:
            now = self._stream.latency
            return [
                one + other for one, other in zip(counts, now.counts, strict=True)
            ], total + now.sum_seconds
        return counts, total

    async def picture(self, *, width: int, fresh: bool) -> bytes | None:
        """The newest picture as JPEG; None before the first.

        Args:
            width: See `preview.jpeg`.
            fresh: Decode, if the last decoded one is older than a second.
        """
        monitor = self.monitor
        if fresh and self._clock() - monitor.picture_at > _FRESH_SECONDS and self._stream is not None:
            with contextlib.suppress(DecodeError):
                monitor.picture, monitor.picture_masked = await self._stream.picture()
                monitor.picture_at = self._clock()
        if monitor.picture is None or monitor.picture_masked is None:
            return None
        return await asyncio.to_thread(jpeg, monitor.picture, monitor.picture_masked, width=width)

    async def _run(self) -> None:
        backoff = Backoff(initial_seconds=0.5, max_seconds=30.0)
        while True:
            began = self._clock()
            error = await self._live()
            self.opened.set()  # tried at least: the others must not wait for this one
            if error is None and not self.failure:
                self._state = "ended"
                self._tell("ended", "the source is over")
                return
            if self.abandoned >= _MOST_ABANDONED:
                self.failure = f"{self.abandoned} threads hang: restart the service ({error})"
            if self.failure or isinstance(error, (ConfigError, FencedError)):
                self._fail(self.failure or str(error))
                return
            self._trouble = str(error)
            self._tell("error", self._trouble)
            if self._clock() - began > _STEADY_SECONDS:
                backoff.reset()
            self._state = "waiting"
            self.restarts += 1
            await asyncio.sleep(
                backoff.next_seconds(slow=isinstance(error, (SourceAuthError, SourceNotFound)))
            )

    async def _live(self) -> Exception | None:
        """One life of the stream; returns what ended it, None for the end of the source."""
        config, shared = self.config, self._shared
        encode = config.encode
        try:
            encoder = await shared.encoders.take(encode, self.stream_id)
        except ModelError as error:  # it will not get better; what fails while it runs may
            self.failure = str(error)
            return error
        except OvstreamError as error:
            return error
        try:
            stream = self._make(encoder)
            return await self._follow(stream)
        except OvstreamError as error:
            return error
        except Exception as error:
            _log.exception("%s: stream failed", self.stream_id)
            return error
        finally:
            shared.encoders.give_back(encode, self.stream_id)

    def _make(self, encoder: Any) -> Stream:
        config, shared = self.config, self._shared
        restore = self._checkpoint or (shared.state.load(self.stream_id) if shared.state else None)
        source = config.source
        if "keep_trying" not in source.model_fields_set:
            source = source.model_copy(update={"keep_trying": True})
        own = config.model_copy(update={"publish": PublishConfig(), "sinks": (), "source": source})
        sinks = shared.outputs.of(config)
        if shared.state is not None:
            sinks = [Fence(shared.state, lambda: stream.checkpoint()), *sinks]
        stream = Stream(
            own,
            source=self._source(own, lambda kind, detail: stream.tell(kind, detail)),
            encoder=encoder,
            sinks=sinks,
            restore=restore,
            observe=self.monitor.observe,
        )
        return stream

    def _source(self, config: StreamConfig, tell: Callable[[EventKind, str], None]) -> Source | None:
        """What replaces the source that the stream would open by its URL, if anything does."""
        source = self._shared.open_source(self.config)
        if source is not None or self._shared.publishers is None:
            return source

        def on_event(kind: EventKind, detail: str) -> None:
            if kind != "ended":  # the stream says so itself
                tell(kind, detail)

        return self._shared.publishers.source(config, on_event)

    async def _follow(self, stream: Stream) -> Exception | None:
        self._stalled.clear()
        self._progress = 0, self._clock()
        self.monitor.forget_rates()
        news = asyncio.create_task(self._listen(stream))
        try:
            await stream.__aenter__()
            self._stream = stream
            self._trouble = ""
            stream.effort = self._effort
            self.opened.set()
            return await self._until_over(stream)
        finally:
            await self._close(stream)
            news.cancel()
            await asyncio.gather(news, return_exceptions=True)

    async def _until_over(self, stream: Stream) -> Exception | None:
        work = asyncio.create_task(stream.run())
        stall = asyncio.create_task(self._stalled.wait())
        try:
            await asyncio.wait({work, stall}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                error = work.exception()
                return error if isinstance(error, Exception) else None
            return OvstreamError(f"no progress for {self.config.supervise.stall_seconds:g} s: starting again")
        finally:
            for task in (work, stall):
                task.cancel()
            await asyncio.gather(work, stall, return_exceptions=True)

    async def _close(self, stream: Stream) -> None:
        """Ends a stream; one whose thread hangs is left behind."""
        closing = asyncio.create_task(stream.aclose())
        try:
            done, _ = await asyncio.wait({closing}, timeout=_CLOSE_SECONDS)
            if not done:
                self.abandoned += 1
                self._tell("error", "a thread hangs and was left behind")
        finally:  # also when somebody stops the camera meanwhile
            if self._stream is stream:
                self.save()
                self._past, self._past_latency = self.totals(), self.latency_totals()
                self._stream = None

    async def _listen(self, stream: Stream) -> None:
        async for event in stream.events():
            if event.kind == "connected":
                self._trouble = ""
            elif event.kind in ("reconnecting", "waiting"):
                self._trouble = event.detail
                self._state = "waiting" if self._state == "starting" else self._state
            if event.kind != "ended":
                self._tell(event.kind, event.detail)

    def _fail(self, why: str) -> None:
        self.failure, self._state = why, "failed"
        self.opened.set()
        self._tell("error", why)

    def _tell(self, kind: str, detail: str) -> None:
        self._shared.log.add(self.stream_id, kind, detail)


def _added(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Sums two dictionaries of numbers, and of dictionaries of numbers."""
    result = dict(one)
    for name, value in other.items():
        old = result.get(name)
        result[name] = _added(old or {}, value) if isinstance(value, dict) else value + (old or 0)
    return result
