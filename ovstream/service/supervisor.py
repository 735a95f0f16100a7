"""All streams of the process: come, go, change, share, and degrade when the box is full."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from ovstream.config import RunConfig, ServiceConfig, StreamConfig, changed_config
from ovstream.errors import ConfigError
from ovstream.pipeline import Outputs
from ovstream.service.added import AddedStreams
from ovstream.service.balance import Balance
from ovstream.service.checkpoints import StateFolder
from ovstream.service.costs import Costs
from ovstream.service.draining import drain
from ovstream.service.encoders import EncoderPool
from ovstream.service.events import EventLog
from ovstream.service.home import OwnHome
from ovstream.service.load import LoadPolicy
from ovstream.service.placement import Placement
from ovstream.service.publishers import Publishers
from ovstream.service.roster import Roster, StreamExists, TooManyStreams
from ovstream.service.saving import Saving
from ovstream.service.watched import Watched
from ovstream.service.workers import Workers
from ovstream.sources import Source

_TICK_SECONDS = 1.0
_ALIVE_SECONDS = 5.0

_log = logging.getLogger("ovstream")


class Supervisor:
    """Runs any number of streams; use it with `async with`.

    Args:
        config: Of the service.
        streams: To begin with.
        defaults: Options that streams added later start from.
        open_source: See `OwnHome`; streams are not shared out between processes then.
        clock: Monotonic seconds.
        workers: Processes that share the streams; fewer than 2: all run in this one.
        silent_seconds: See `Workers`.

    Attributes:
        config: Of the service.
        log: What happened.
        cameras: By name.
        load: Who does less.
        started_at: Wall clock, seconds.
        closing: The service ends; nobody should wait for more.
        publishers: Takes those who send to streams of the URL `whip:NAME`.
        drained_seconds: How long the end took; None before.
    """

    def __init__(
        self,
        config: ServiceConfig | None = None,
        streams: Iterable[StreamConfig] = (),
        *,
        defaults: Mapping[str, Any] | None = None,
        open_source: Callable[[StreamConfig], Source | None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        workers: int = 1,
        silent_seconds: float = 10.0,
    ) -> None:
        self.config = config or ServiceConfig()
        self.log = EventLog()
        self.load = LoadPolicy(self.config.load)
        self.started_at = time.time()
        self.closing = False
        self.publishers = Publishers(max_publishers=self.config.max_streams)
        self.drained_seconds: float | None = None
        self._clock = clock
        self._first = tuple(streams)
        self._state = StateFolder(self.config.state_folder) if self.config.state_folder else None
        costs = Costs(self._state.load_costs() if self._state else None)
        self._outputs = Outputs()
        self._home = OwnHome(
            EncoderPool(),
            self._outputs,
            self.log,
            self._state,
            open_source or (lambda config: None),
            self.publishers,
        )
        self._placement = Placement(
            self._home,
            Workers(
                1 if open_source else workers,
                self.log,
                silent_seconds=silent_seconds,
                clock=clock,
                costs=costs,
            ),
            clock=clock,
        )
        self._roster = Roster(
            self._placement,
            self._outputs,
            self.load,
            max_streams=self.config.max_streams,
            many=len(self._first) > 1,
        )
        self.cameras = self._roster.cameras
        self._balance = Balance(self.load, self.log.add, costs)
        self._added = AddedStreams(self._state, self.log, defaults or {})
        self._file: dict[str, StreamConfig] = {}
        self._changing = asyncio.Lock()
        self._ticker: asyncio.Task[None] | None = None
        self._ticked_at = float("-inf")
        self._saving = Saving(self._state, seconds=self.config.checkpoint_seconds, costs=costs)

    async def __aenter__(self) -> Self:
        self._roster.check_room({config.stream_id for config in self._first})
        added = list(self._added.load())
        for config in self._first:
            self._file[config.stream_id] = config
            self._roster.put(config, "file")
        for config in added:
            if config.stream_id in self.cameras:
                self._added.forget(config.stream_id)
                continue
            try:
                self._roster.put(config, "api")
            except TooManyStreams as error:
                self._added.tell(config.stream_id, error)
        self.workers.costs.keep(self.cameras)
        self._ticker = asyncio.create_task(self._tick_for_ever(), name="ovstream-supervisor")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def outputs(self) -> Outputs:
        """Publishers and sinks of all streams."""
        return self._outputs

    @property
    def models_loaded(self) -> int:
        """Models in memory, of all processes."""
        return self._home.encoders.loaded + self.workers.models

    @property
    def workers(self) -> Workers:
        """The processes that streams are in, if they are not in this one."""
        return self._placement.workers

    @property
    def cpu_share(self) -> float:
        """Of all cores, used by all processes of the service."""
        return self._balance.cpu_share

    @property
    def alive(self) -> bool:
        """Whether the event loop gets to its work."""
        return self._clock() - self._ticked_at < _ALIVE_SECONDS

    @property
    def started(self) -> bool:
        """Whether every stream has been opened once, or has failed for good, or is paused."""
        return all(
            camera.opened.is_set() or camera.state in ("paused", "failed", "ended")
            for camera in self.cameras.values()
        )

    @property
    def ready(self) -> bool:
        """Whether results can flow: a stream is live, or none is wanted."""
        wanted = [camera for camera in self.cameras.values() if camera.state not in ("paused", "ended")]
        return not wanted or any(camera.state == "live" for camera in wanted)

    def camera(self, stream_id: str) -> Watched:
        """The stream of a name.

        Raises:
            NoSuchStream: There is none.
        """
        return self._roster.camera(stream_id)

    async def add(self, options: StreamConfig | Mapping[str, Any]) -> Watched:
        """Adds a stream and starts it.

        Args:
            options: A whole configuration, or options as `stream_config` takes them, with `url`; the defaults of the
                file and the environment fill in the rest.

        Raises:
            ConfigError: An option is unknown or has a wrong value.
            StreamExists: The name is taken.
            TooManyStreams: `max_streams` are there.
        """
        async with self._changing:
            asked, config = self._added.asked(options)
            if config.stream_id in self.cameras:
                raise StreamExists(f"there is a stream '{config.stream_id}' already")
            camera = self._roster.put(config, "api")
            self._added.keep(config.stream_id, asked)
            self._added.save()
            self.log.add(config.stream_id, "added", "through the API")
            return camera

    async def remove(self, stream_id: str) -> None:
        """Ends a stream and forgets it."""
        async with self._changing:
            await self._roster.drop(stream_id)
            if self._state is not None:
                self._state.forget(stream_id)
            self._added.forget(stream_id)
            self._added.save()
            self.log.add(stream_id, "removed", "through the API")

    async def change(self, stream_id: str, changes: Mapping[str, Any]) -> Watched:
        """Changes options of a stream, nested as in the file; it goes on with the next number.

        Raises:
            ConfigError: A change makes no sense; the stream goes on as it was.
        """
        async with self._changing:
            camera = self.camera(stream_id)
            asked = None
            if camera.origin == "api":
                asked, config = self._added.changed(stream_id, changes)
            else:
                config = changed_config(camera.config, changes)
            if config.stream_id != stream_id:
                raise ConfigError("a stream keeps its stream_id: remove it and add another")
            if config != camera.config:
                await self._roster.reconfigure(camera, config)
                camera = self.camera(stream_id)
                if asked is not None:
                    self._added.keep(stream_id, asked)
                    self._added.save()
                self.log.add(stream_id, "changed", ", ".join(sorted(changes)))
            return camera

    async def pause(self, stream_id: str, *, paused: bool) -> Watched:
        """Stops reading a stream, or goes on."""
        camera = self.camera(stream_id)
        if camera.config.supervise.paused != paused:
            camera = await self.change(stream_id, {"supervise": {"paused": paused}})
        elif not paused and camera.state in ("failed", "ended", "stopped"):
            await camera.reconfigure(camera.config)
        return camera

    async def restart(self, stream_id: str) -> Watched:
        """Starts a stream again, with the next number."""
        camera = self.camera(stream_id)
        async with self._changing:
            await camera.stop()
            await self._roster.go_on(camera, camera.config)
            self.log.add(stream_id, "restarted", "through the API")
        return camera

    async def reload(self, config: RunConfig) -> dict[str, list[str]]:
        """Takes over a changed file: only streams whose entry changed are touched.

        What the API added stays; changed `defaults` hold for it too. A changed `service` section waits for the next
        start, but for `load`.

        Returns:
            Names under "added", "changed", "removed".

        Raises:
            ConfigError: There would be too many streams, or one that the API added makes no sense under the new
                defaults; nothing was changed.
        """
        async with self._changing:
            wanted = {one.stream_id: one for one in config.streams}
            staying = {name for name in self.cameras if name not in self._file or name in wanted}
            self._roster.check_room(staying | set(wanted))
            others = self._added.under(config.defaults)
            done: dict[str, list[str]] = {"added": [], "changed": [], "removed": []}
            for name in [name for name in self._file if name not in wanted]:
                if name in self.cameras:
                    await self._roster.drop(name)
                done["removed"].append(name)
            fresh = {name: new for name, new in wanted.items() if self._file.get(name) != new}
            for name, new in {
                **others,
                **fresh,
            }.items():  # all before the first begins again: they may share outputs
                camera = self.cameras.get(name)
                if camera is not None and camera.config != new:
                    await self._roster.stop(camera, new)
            for name, new in fresh.items():
                camera = self.cameras.get(name)
                if camera is None:
                    self._roster.put(new, "file")
                else:
                    camera.origin = "file"
                    self._added.forget(name)
                    await self._roster.go_on(camera, new)
                done["changed" if camera else "added"].append(name)
            self._file = wanted
            self._added.take_defaults(config.defaults)
            for name, new in others.items():
                camera = self.cameras.get(name)
                if camera is not None and camera.origin == "api" and camera.config != new:
                    await self._roster.go_on(camera, new)
                    done["changed"].append(name)
            self.load.reconfigure(config.service.load)
            self._added.save()
            what = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in done.items() if names)
            self.log.add("", "reload", what or "no stream changed")
            if config.service.model_copy(update={"load": self.config.load}) != self.config:
                self.log.add("", "reload", "the section 'service' changed: it counts from the next start")
            return done

    def begin_drain(self) -> None:
        """Stops reading everywhere at once; `aclose` waits for the end."""
        self.closing = True
        for camera in self.cameras.values():
            camera.begin_stop()

    def save_now(self) -> None:
        """Writes down where every stream stands; for the very last moment."""
        self._saving.now(list(self.cameras.values()))

    async def aclose(self) -> None:
        """Drains, within `drain_seconds`: every stream ends, its last results leave, its checkpoint is written.

        Streams have most of that time, outputs most of the rest; what is not over then is left behind. May be called
        twice.
        """
        began, seconds = self._clock(), self.config.drain_seconds
        self.begin_drain()
        ticker, self._ticker = self._ticker, None
        if ticker is not None:
            ticker.cancel()
            await asyncio.wait({ticker})
        streams = len(self.cameras)
        await drain(self.cameras, self._outputs, seconds=seconds, saving=self._saving.task, clock=self._clock)
        await self.workers.aclose()
        if self.drained_seconds is not None:
            return  # the second time
        self.drained_seconds = self._clock() - began
        if streams:
            _log.info("drained %d streams in %.1f s", streams, self.drained_seconds)

    async def _tick_for_ever(self) -> None:
        while True:
            self.tick()
            await asyncio.sleep(_TICK_SECONDS)

    def tick(self) -> None:
        """One second of looking after everything."""
        now = self._ticked_at = self._clock()
        for camera in self.cameras.values():
            camera.tick()
        self._balance.step(self.cameras, self.workers.numbers, pids=self.workers.pids, now=now)
        self._saving.step(self.cameras.values(), now=now)
