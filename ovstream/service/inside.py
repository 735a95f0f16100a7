"""The process of a worker: some streams of a service, from their sources to their embeddings.

All that other streams or the outside world share stays with the service: outputs, page, state folder. What is said
there and here is in `remote`, the other end.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import ctypes
import faulthandler
import logging
import mmap
import os
import signal
import socket
from collections.abc import Callable
from typing import Any

from ovstream.config import StreamConfig
from ovstream.errors import FencedError
from ovstream.pipeline import AT_WORK, PASSES, TURNS
from ovstream.service.camera import Camera
from ovstream.service.encoders import EncoderPool
from ovstream.service.home import Life
from ovstream.service.link import Link
from ovstream.service.packing import packed_second, packed_unit
from ovstream.sinks import Sink
from ovstream.sources import OnEvent, Source
from ovstream.types import AccessUnit, Checkpoint, Embedding, StreamEvent
from ovstream.wire import decode_checkpoint, encode, encode_checkpoint

_PULSE_SECONDS = 1.0
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG, prctl(2)


class FarSink(Sink):
    """Hands everything to the service, whose outputs are behind it.

    Args:
        link: To the service.
        stand: Tells where the stream stands.
        resume: What the outputs said.
        results: Somebody wants embeddings.
        packets: Somebody wants compressed pictures, too.
    """

    def __init__(
        self,
        link: Link,
        stand: Callable[[], Checkpoint],
        *,
        resume: tuple[int, int] | None,
        results: bool,
        packets: bool,
    ) -> None:
        self._link = link
        self._stand = stand
        self._resume = resume
        self._results, self._packets = results, packets
        self.fenced = False

    def publish(self, embedding: Embedding) -> None:
        """See `Sink`."""
        if self.fenced:
            raise FencedError(embedding.stream_id)
        if self._results:
            self._link.tell("publish", embedding.stream_id, encode(embedding, dtype="float32"))

    def packet(self, stream_id: str, unit: AccessUnit) -> None:
        """See `Sink`."""
        if self._packets and not self._link.full:
            self._link.tell("packet", stream_id, packed_unit(unit))

    def resume(self, stream_id: str) -> tuple[int, int] | None:
        """See `Sink`."""
        return self._resume

    def announce(self, stream_id: str, *, epoch: int = 0, next_seq: int = 0) -> None:
        """See `Sink`."""
        stand = encode_checkpoint(self._stand())
        self._link.tell("announce", stream_id, (epoch, next_seq, stand))

    def heartbeat(self, now_ns: int, *, stream_id: str | None = None) -> None:
        """See `Sink`."""
        if self._results and stream_id is not None:
            self._link.tell("heartbeat", stream_id, now_ns)

    def event(self, event: StreamEvent) -> None:
        """See `Sink`."""
        if self._results:
            self._link.tell("sink_event", event.stream_id, (event.kind, event.time_ns, event.detail))

    def end(self, stream_id: str) -> None:
        """See `Sink`."""
        self._link.tell("end", stream_id)


class FarHome:
    """The service, at the other end of a link."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._encoders = EncoderPool()
        self.sinks: dict[str, FarSink] = {}

    @property
    def encoders(self) -> EncoderPool:
        """See `Home`."""
        return self._encoders

    async def begin(self, config: StreamConfig, stand: Callable[[], Checkpoint]) -> Life:
        """See `Home`."""
        name = config.stream_id
        found = await self._link.ask("begin", name)
        restore = None if found["restore"] is None else decode_checkpoint(found["restore"])
        resume = None if found["resume"] is None else tuple(found["resume"])
        sink = self.sinks[name] = FarSink(
            self._link, stand, resume=resume, results=found["results"], packets=found["packets"]
        )
        return Life(restore, [sink])

    def save(self, checkpoint: Checkpoint) -> None:
        """See `Home`."""
        self._link.tell("stand", checkpoint.stream_id, encode_checkpoint(checkpoint))

    def tell(self, stream_id: str, kind: str, detail: str) -> None:
        """See `Home`."""
        self._link.tell("event", stream_id, (kind, detail))

    def source(self, config: StreamConfig, on_event: OnEvent) -> Source | None:
        """See `Home`: publishers come to the service, and so their streams are there."""
        return None


class Inside:
    """Does what the service says."""

    def __init__(self) -> None:
        self.link = Link(self._heard, self._asked)
        self._home = FarHome(self.link)
        self._cameras: dict[str, Camera] = {}
        self._lives: dict[str, int] = {}
        self._told: dict[str, Any] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until the service hangs up."""
        pulse = asyncio.create_task(self._pulse())
        await self.link.closed
        pulse.cancel()

    def _heard(self, kind: str, stream_id: str, body: Any) -> None:
        camera = self._cameras.get(stream_id)
        if kind == "hello":
            TURNS.limit(body["turns"])
            PASSES.limit(body["cores"])
            if body["record"]:
                at_work, fault = body["record"]
                AT_WORK.keep(memoryview(mmap.mmap(at_work, 0)))
                faulthandler.enable(fault)
            _forward_log(self.link, body["log_level"])
        elif kind == "put":
            self._lives[stream_id] = body["life"]
            task = asyncio.create_task(self._put(stream_id, body))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif kind == "drop":
            for known in (self._cameras, self._home.sinks, self._lives, self._told):
                known.pop(stream_id, None)
        elif kind == "fence" and stream_id in self._home.sinks:
            self._home.sinks[stream_id].fenced = True
        elif kind == "ease" and camera is not None:
            camera.ease(*body)
        elif kind == "begin_stop" and camera is not None:
            camera.begin_stop()

    async def _asked(self, kind: str, stream_id: str, body: Any) -> Any:
        camera = self._cameras.get(stream_id)
        if camera is None:
            return None
        if kind == "stop":
            await camera.stop()
            return self._entry(stream_id, camera)
        if kind == "picture":
            return await camera.picture(width=body["width"], fresh=body["fresh"])
        return await camera.overlay(after=body)

    async def _put(self, stream_id: str, body: dict[str, Any]) -> None:
        config = StreamConfig.model_validate(body["config"])
        camera = self._cameras.get(stream_id)
        if camera is not None:
            await camera.reconfigure(config)
            return
        camera = self._cameras[stream_id] = Camera(config, self._home)
        camera.ease(body["level"], "")
        camera.start()

    async def _pulse(self) -> None:
        while True:
            for camera in self._cameras.values():
                camera.tick()
            entries = [self._entry(name, camera) for name, camera in self._cameras.items()]
            self.link.tell("pulse", "", {"streams": entries, "models": self._home.encoders.loaded})
            await asyncio.sleep(_PULSE_SECONDS)

    def _entry(self, name: str, camera: Camera) -> dict[str, Any]:
        """What the service should know of one stream."""
        seconds = camera.timeline.seconds
        newest = seconds[-1] if seconds and seconds[-1] is not self._told.get(name) else None
        if newest is not None:
            self._told[name] = newest
        stand = camera.checkpoint()
        return {
            "id": name,
            "life": self._lives.get(name, 0),
            "facts": camera.facts().as_dict(),
            "second": None if newest is None else packed_second(newest),
            "stand": None if stand is None else encode_checkpoint(stand),
        }


class _ForwardingHandler(logging.Handler):
    """Hands records to the log of the service."""

    def __init__(self, link: Link) -> None:
        super().__init__()
        self._link = link
        self._loop = asyncio.get_running_loop()

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        with contextlib.suppress(RuntimeError):  # the loop is over
            self._loop.call_soon_threadsafe(
                self._link.tell, "log", "", (record.name, record.levelno, self.format(record))
            )


def _forward_log(link: Link, level: int) -> None:
    root = logging.getLogger()
    root.handlers = [_ForwardingHandler(link)]
    root.setLevel(level)


async def _work() -> None:
    inside = Inside()
    await asyncio.get_running_loop().create_unix_connection(lambda: inside.link, sock=socket.socket(fileno=0))
    await inside.run()


def main() -> None:
    """Runs until the service is gone, and leaves at once then: nobody is there who would want anything."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # the service says when it is over
        signal.signal(number, signal.SIG_IGN)
    faulthandler.enable()
    with contextlib.suppress(AttributeError):  # not Linux: the end of the link is enough there
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    asyncio.run(_work_and_leave())


async def _work_and_leave() -> None:
    try:
        await _work()
    finally:
        atexit._run_exitfuncs()  # of libraries: what is left of traces, for example
        os._exit(0)
