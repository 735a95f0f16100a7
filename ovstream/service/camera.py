"""One supervised stream: started, watched, started again, and never in the way of the others."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any

from ovstream.config import PublishConfig, StreamConfig
from ovstream.errors import (
    ConfigError,
    FencedError,
    ModelError,
    OvstreamError,
    SourceAuthError,
    SourceNotFound,
)
from ovstream.pipeline import Stream
from ovstream.service.facts import Facts, Origin, Seen, State
from ovstream.service.home import Home
from ovstream.service.levels import LEVELS, describe
from ovstream.service.lives import Lives
from ovstream.service.monitor import Monitor
from ovstream.service.timeline import Timeline
from ovstream.service.watchdog import Watchdog
from ovstream.sources.pacing import Backoff
from ovstream.types import Checkpoint

_CLOSE_SECONDS = 5.0  # then a stuck thread is left behind, and counted
_MOST_ABANDONED = 3
_STEADY_SECONDS = 60.0  # a life as long as this is no sign of a fault at the start

_log = logging.getLogger("ovstream")


class Camera:
    """Keeps one stream going until it is stopped; its failures end nowhere but here.

    Args:
        config: Of the stream.
        home: The service around it.
        origin: Who named it.
        restore: Where it stood in another process.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        config: StreamConfig,
        home: Home,
        *,
        origin: Origin = "file",
        restore: Checkpoint | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config
        self.origin: Origin = origin
        self.monitor = Monitor(clock=clock)
        self.restarts = 0
        self.abandoned = 0
        self.failure = ""
        self.opened = asyncio.Event()
        self._home = home
        self._clock = clock
        self._stream: Stream | None = None
        self._level = 0
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._trouble = ""
        self._checkpoint = restore
        self._lives = Lives()
        self._watchdog = Watchdog(clock)
        self._state: State = "paused" if config.supervise.paused else "stopped"

    @property
    def stream_id(self) -> str:
        """Its name."""
        return self.config.stream_id

    @property
    def timeline(self) -> Timeline:
        """Its last ten minutes."""
        return self.monitor.timeline

    @property
    def stream(self) -> Stream | None:
        """The running stream; None between two lives."""
        return self._stream

    @property
    def state(self) -> State:
        """How it is, in one word."""
        if self._state == "live" and self._watchdog.silent:
            return "waiting"
        return self._state

    @property
    def detail(self) -> str:
        """Why it is so, where there is something to say."""
        return self.failure or (self._trouble if self.state in ("waiting", "starting") else "")

    def ease(self, level: int, reason: str) -> None:
        """Does as much as a level of `LEVELS` says, from now on and in all lives to come."""
        self._level = level
        if self._stream is not None:
            self._stream.effort = LEVELS[level]
            self._stream.tell("load", f"{describe(level)}: {reason}")

    def facts(self) -> Facts:
        """How it is."""
        stream, trace = self._stream, self.monitor.trace
        counts, seconds = self._lives.latency(stream)
        return Facts(
            state=self.state,
            detail=self.detail,
            opened=self.opened.is_set(),
            restarts=self.restarts,
            abandoned=self.abandoned,
            memory_bytes=stream.memory_bytes if stream else 0,
            active_rules=stream.active_rules if stream else (),
            conditions=stream.conditions if stream else (),
            model=stream.model.model_id if stream else None,
            trained=stream.model.trained if stream else None,
            totals=self.totals(),
            latency_counts=counts,
            latency_seconds=seconds,
            seen=Seen.of(trace) if trace is not None else None,
        )

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
        """Has its checkpoint kept."""
        checkpoint = self.checkpoint()
        if checkpoint is not None:
            self._home.save(checkpoint)

    def tick(self) -> None:
        """Once a second: closes the second, and looks for a stream that hangs or has grown too large."""
        stream = self._stream
        if stream is None:
            return
        self.monitor.tick(stream.stats, stream.latency)
        came, failure = self._watchdog.look(
            self.config.supervise,
            frames=stream.stats.frames,
            memory_bytes=stream.memory_bytes,
            excused=bool(self._trouble),
        )
        self._state = "live" if came else self._state
        self.failure = failure or self.failure

    def totals(self) -> dict[str, Any]:
        """Counters over all lives, as in `StreamStats`; they only grow."""
        return self._lives.totals(self._stream)

    async def picture(self, *, width: int, fresh: bool) -> bytes | None:
        """The newest picture as JPEG; None before the first.

        Args:
            width: See `preview.jpeg`.
            fresh: Decode, if the last decoded one is older than a second.
        """
        return await self.monitor.jpeg(self._stream.picture if fresh and self._stream else None, width=width)

    async def overlay(self, *, after: int = 0) -> tuple[int, dict[str, Any]] | None:
        """What may be drawn over the picture, and the number of that picture; None where none came after `after`."""
        if self.monitor.pictures <= after or (found := self.monitor.overlay()) is None:
            return None
        return self.monitor.pictures, found

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
        encode, encoders = self.config.encode, self._home.encoders
        try:
            encoder = await encoders.take(encode, self.stream_id)
        except ModelError as error:  # it will not get better; what fails while it runs may
            self.failure = str(error)
            return error
        except OvstreamError as error:
            return error
        try:
            stream = await self._make(encoder)
            return await self._follow(stream)
        except OvstreamError as error:
            return error
        except Exception as error:
            _log.exception("%s: stream failed", self.stream_id)
            return error
        finally:
            encoders.give_back(encode, self.stream_id)

    async def _make(self, encoder: Any) -> Stream:
        config = self.config
        life = await self._home.begin(config, lambda: stream.checkpoint())
        source = config.source
        if "keep_trying" not in source.model_fields_set:
            source = source.model_copy(update={"keep_trying": True})
        own = config.model_copy(update={"publish": PublishConfig(), "sinks": (), "source": source})
        stream = Stream(
            own,
            source=self._home.source(own, lambda kind, detail: stream.tell(kind, detail)),
            encoder=encoder,
            sinks=life.sinks,
            restore=self._checkpoint or life.restore,
            observe=self.monitor.observe,
        )
        return stream

    async def _follow(self, stream: Stream) -> Exception | None:
        self._watchdog.begin()
        self.monitor.forget_rates()
        news = asyncio.create_task(self._listen(stream))
        try:
            await stream.__aenter__()
            self._stream = stream
            self._trouble = ""
            stream.effort = LEVELS[self._level]
            self.opened.set()
            return await self._until_over(stream)
        finally:
            await self._close(stream)
            news.cancel()
            await asyncio.gather(news, return_exceptions=True)

    async def _until_over(self, stream: Stream) -> Exception | None:
        work = asyncio.create_task(stream.run())
        stall = asyncio.create_task(self._watchdog.barks.wait())
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
                self._lives.over(stream)
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
        self._home.tell(self.stream_id, kind, detail)
