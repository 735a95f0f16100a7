"""A process for some of the streams of a service: started, watched, started again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

from ovstream.service.events import EventLog
from ovstream.service.link import Link, LinkClosed
from ovstream.service.quarantine import Record, crashed
from ovstream.service.remote import RemoteCamera
from ovstream.sources.pacing import Backoff

_CHECK_SECONDS = 1.0
_FIRST_SIGN_SECONDS = 60.0  # libraries are loaded, on a slow and busy machine
_STEADY_SECONDS = 60.0
_STEADY_ALONE_SECONDS = 600.0
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
        suspect: Is told whom the process computed for when it crashed or hung, and takes those away that must go.
        alone: For streams that make processes crash: it waits longer before it starts again.

    Attributes:
        cameras: By name.
        restarts: Times it had to be started again.
        models: That it holds.
        alone: As given.
        pid: Of the process; None while there is none.
    """

    def __init__(
        self,
        number: int,
        log: EventLog,
        *,
        cores: float,
        silent_seconds: float,
        suspect: Callable[[set[str]], None] = lambda names: None,
        alone: bool = False,
    ) -> None:
        self.number = number
        self.alone = alone
        self.cameras: dict[str, RemoteCamera] = {}
        self.restarts = 0
        self.models = 0
        self.pid: int | None = None
        self._log = log
        self._cores = cores
        self._silent_seconds = silent_seconds
        self._suspect = suspect
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
        steady, most = (_STEADY_ALONE_SECONDS, 300.0) if self.alone else (_STEADY_SECONDS, 30.0)
        backoff = Backoff(initial_seconds=0.5, max_seconds=most)
        loop = asyncio.get_running_loop()
        while not self._closing:
            began = loop.time()
            at_work: set[str] = set()
            try:
                why, at_work = await self._live()
            except OSError as error:
                why = f"cannot be started: {error}"
            if self._closing:
                return
            self.restarts += 1
            self._log.add("", "error", f"worker {self.number} {why}: starting it again")
            for camera in list(self.cameras.values()):
                camera.detached(f"its worker {why}: starting again")
            self._suspect(at_work & self.cameras.keys())
            if not self.cameras:
                self._task = None
                return  # the next stream starts it
            if loop.time() - began > steady:
                backoff.reset()
            await asyncio.sleep(backoff.next_seconds())

    async def _live(self) -> tuple[str, set[str]]:
        """One life of the process; returns how it ended, and whom it computed for if that may be the cause."""
        with contextlib.closing(Record()) as record:
            return await self._live_with(record)

    async def _live_with(self, record: Record) -> tuple[str, set[str]]:
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
                pass_fds=record.fds,
                start_new_session=True,
            )
        self.pid = process.pid
        try:
            link = Link(self._heard, self._asked)
            await asyncio.get_running_loop().create_unix_connection(lambda: link, sock=ours)
            level = logging.getLogger("ovstream").getEffectiveLevel()
            link.tell(
                "hello",
                "",
                {
                    "cores": self._cores,
                    "turns": math.ceil(self._cores) + 1,
                    "log_level": level,
                    "record": record.fds,
                },
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
        if fault := record.fault:
            _log.error("worker %d: %s", self.number, fault.strip())
        guilty = record.suspects() if hung or crashed(process.returncode) else set()
        return hung or _how(process.returncode), guilty

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
