"""Processes that share the streams of a service between the cores: started, watched, started again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import signal
import socket
import sys
from typing import Any

from ovstream.service.events import EventLog
from ovstream.service.link import Link, LinkClosed
from ovstream.service.remote import RemoteCamera
from ovstream.service.usage import available_cores
from ovstream.sources.pacing import Backoff

_CHECK_SECONDS = 1.0
_FIRST_SIGN_SECONDS = 60.0  # libraries are loaded, on a slow and busy machine
_STEADY_SECONDS = 60.0
_END_SECONDS = 2.0
# Signals are the service's business from the first moment on, before the libraries are loaded.
_PROGRAM = (
    "import signal as s; [s.signal(n, s.SIG_IGN) for n in (s.SIGTERM, s.SIGINT, s.SIGHUP)]; "
    "from ovstream.service.inside import main; main()"
)

_log = logging.getLogger("ovstream")


class Worker:
    """One process and its streams; it starts with the first of them.

    Args:
        number: From 1.
        log: Is told when the process ends or hangs.
        cores: Its share of them.
        silent_seconds: Without a sign of life: it hangs, and is killed.

    Attributes:
        cameras: By name.
        restarts: Times it had to be started again.
        models: That it holds.
        pid: Of the process; None while there is none.
    """

    def __init__(self, number: int, log: EventLog, *, cores: float, silent_seconds: float) -> None:
        self.number = number
        self.cameras: dict[str, RemoteCamera] = {}
        self.restarts = 0
        self.models = 0
        self.pid: int | None = None
        self._log = log
        self._cores = cores
        self._silent_seconds = silent_seconds
        self._link: Link | None = None
        self._task: asyncio.Task[None] | None = None
        self._heard_of_it = False
        self._closing = False

    def add(self, camera: RemoteCamera) -> None:
        """Takes a stream."""
        self.cameras[camera.stream_id] = camera
        if self._task is None:
            self._task = asyncio.create_task(self._live_for_ever(), name=f"ovstream-worker-{self.number}")

    def remove(self, stream_id: str) -> None:
        """Forgets a stream that was stopped."""
        del self.cameras[stream_id]
        self.tell("drop", stream_id)

    def tell(self, kind: str, stream_id: str, body: Any = None) -> None:
        """See `Link`; while there is no process nobody hears it, and `attached` says it all again."""
        if self._link is not None:
            self._link.tell(kind, stream_id, body)

    async def ask(self, kind: str, stream_id: str, body: Any = None) -> Any:
        """See `Link`."""
        if self._link is None:
            raise LinkClosed("the worker is starting")
        return await self._link.ask(kind, stream_id, body)

    async def aclose(self, *, seconds: float = _END_SECONDS) -> None:
        """Ends the process: by hanging up, and by force where that does not help."""
        self._closing = True
        task, self._task = self._task, None
        if task is None:
            return
        if self._link is not None:
            self._link.close()
        done, _ = await asyncio.wait({task}, timeout=seconds)
        if not done:
            task.cancel()
            await asyncio.wait({task})

    async def _live_for_ever(self) -> None:
        backoff = Backoff(initial_seconds=0.5, max_seconds=30.0)
        loop = asyncio.get_running_loop()
        while not self._closing:
            began = loop.time()
            try:
                why = await self._live()
            except OSError as error:
                why = f"cannot be started: {error}"
            if self._closing:
                return
            self.restarts += 1
            self._log.add("", "error", f"worker {self.number} {why}: starting it again")
            for camera in list(self.cameras.values()):
                camera.detached(f"its worker {why}: starting again")
            if loop.time() - began > _STEADY_SECONDS:
                backoff.reset()
            await asyncio.sleep(backoff.next_seconds())

    async def _live(self) -> str:
        """One life of the process; returns how it ended."""
        ours, theirs = socket.socketpair()
        with theirs:
            safe = [] if "" in sys.path or os.getcwd() in sys.path else ["-P"]
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *safe,
                "-c",
                _PROGRAM,
                f"ovstream-worker-{self.number}",
                stdin=theirs.fileno(),
                start_new_session=True,
            )
        self.pid = process.pid
        try:
            link = Link(self._heard, self._asked)
            await asyncio.get_running_loop().create_unix_connection(lambda: link, sock=ours)
            level = logging.getLogger("ovstream").getEffectiveLevel()
            link.tell(
                "hello", "", {"cores": self._cores, "turns": math.ceil(self._cores) + 1, "log_level": level}
            )
            self._link = link
            for camera in self.cameras.values():
                camera.attached()
            hung = await self._watch(link)
            if hung:
                _kill(process)
                await asyncio.wait({link.closed}, timeout=_END_SECONDS)  # what it had said before
        finally:
            self._link, self.pid, self.models = None, None, 0
            await _ended(process)
            ours.close()
        return hung or _how(process.returncode)

    async def _watch(self, link: Link) -> str:
        """Waits for the end of the link; returns why the process must be killed, if it must."""
        silent, patience = 0.0, _FIRST_SIGN_SECONDS
        while not link.closed.done():
            self._heard_of_it = False
            await asyncio.wait({link.closed}, timeout=_CHECK_SECONDS)
            if self._heard_of_it:
                silent, patience = 0.0, self._silent_seconds
            else:  # counted, not measured: while this process stands still nobody hears anything
                silent += _CHECK_SECONDS
            if silent >= patience:
                return f"hangs, without a sign of life for {silent:g} s"
        return ""

    def _heard(self, kind: str, stream_id: str, body: Any) -> None:
        self._heard_of_it = True
        if kind == "pulse":
            self.models = body["models"]
            for entry in body["streams"]:
                if (camera := self.cameras.get(entry["id"])) is not None:
                    camera.pulse(entry)
        elif kind == "log":
            logging.getLogger(body[0]).log(body[1], "%s", body[2])
        elif (camera := self.cameras.get(stream_id)) is not None:
            camera.heard(kind, body)

    async def _asked(self, kind: str, stream_id: str, body: Any) -> Any:
        camera = self.cameras.get(stream_id)
        if kind != "begin" or camera is None:
            raise LinkClosed("the stream is gone")
        return await camera.begin()


class Workers:
    """All workers of a service.

    Args:
        count: Most processes; fewer than 2: none.
        log: See `Worker`.
        silent_seconds: See `Worker`.
    """

    def __init__(self, count: int, log: EventLog, *, silent_seconds: float = 10.0) -> None:
        cores = max(available_cores() / max(count, 1), 1.0)
        self._all = (
            [
                Worker(number, log, cores=cores, silent_seconds=silent_seconds)
                for number in range(1, count + 1)
            ]
            if count > 1
            else []
        )

    def __bool__(self) -> bool:
        return bool(self._all)

    @property
    def pids(self) -> list[int]:
        """Of those that live."""
        return [worker.pid for worker in self._all if worker.pid is not None]

    def number(self, stream_id: str) -> int:
        """Of the worker that has a stream; 0: it is in the service's own process."""
        worker = self.of(stream_id)
        return 0 if worker is None else worker.number

    @property
    def numbers(self) -> dict[str, int]:
        """Of the worker, by stream."""
        return {name: worker.number for worker in self._all for name in worker.cameras}

    @property
    def restarts(self) -> int:
        """Of all."""
        return sum(worker.restarts for worker in self._all)

    @property
    def models(self) -> int:
        """That they hold, all together."""
        return sum(worker.models for worker in self._all)

    def choose(self, *, accelerated: bool = False) -> Worker:
        """The one with the fewest streams; always the same for those with an accelerator."""
        if accelerated:
            return self._all[0]
        return min(self._all, key=lambda worker: (len(worker.cameras), worker.number))

    def of(self, stream_id: str) -> Worker | None:
        """The one that has a stream."""
        return next((worker for worker in self._all if stream_id in worker.cameras), None)

    async def aclose(self) -> None:
        """Ends all."""
        await asyncio.gather(*(worker.aclose() for worker in self._all))


def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Waits for the end, at last by force; also when somebody stops waiting.

    Not by force at once: a signal to a process that has just ended takes its status from whoever waits for it.
    """
    try:
        await asyncio.wait_for(process.wait(), _END_SECONDS)
    except (TimeoutError, asyncio.CancelledError):
        _kill(process)
        await process.wait()


def _how(code: int | None) -> str:
    """How a process ended, in words."""
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(-code).name}"
    return f"ended with status {code}"
