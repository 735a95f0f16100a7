"""`ovstream serve`: supervisor, HTTP server, watched file and signals, from start to drain."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn

from ovstream.config import HttpConfig, RunConfig, load_config
from ovstream.errors import ConfigError
from ovstream.service.api import create_app
from ovstream.service.connections import MAX_CONNECTIONS, bounded_protocol
from ovstream.service.notify import Notifier, watchdog_seconds
from ovstream.service.security import Guard, check_door
from ovstream.service.supervisor import Supervisor
from ovstream.service.usage import available_cores

_BACKLOG = 64
_KEEP_ALIVE_SECONDS = 15

_log = logging.getLogger("ovstream")


class _Server(uvicorn.Server):
    """Leaves the signals to whoever runs it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


async def serve(
    path: Path,
    *,
    notifier: Notifier | None = None,
    on_start: Callable[[str, Supervisor], None] = lambda address, supervisor: None,
    on_stop: Callable[[Supervisor], None] = lambda supervisor: None,
) -> None:
    """Serves a configuration file until SIGTERM or SIGINT; SIGHUP reads it again, as every change of it does.

    Args:
        path: YAML file.
        notifier: Of the service manager.
        on_start: Called with the address of the page when it is open.
        on_stop: Called in the signal handler that begins the end.

    Raises:
        ConfigError: The file makes no sense, or the address cannot be bound.
    """
    config = load_config(path, may_be_empty=True)
    http = config.service.http
    check_door(http)
    listening = _bind(http)
    tell = notifier or Notifier()
    stop = asyncio.Event()
    supervisor = Supervisor(
        config.service,
        config.streams,
        defaults=config.defaults,
        workers=config.service.workers or round(available_cores()),
    )
    app = create_app(supervisor, reload=lambda: asyncio.to_thread(load_config, path, may_be_empty=True))
    with contextlib.ExitStack() as undo:
        undo.callback(listening.close)
        server = _server(Guard(app, http), http)
        undo.pop_all()  # from here on the server closes it
    async with supervisor:
        tasks = [
            asyncio.create_task(server.serve(sockets=[listening]), name="ovstream-http"),
            asyncio.create_task(_watch_file(path, supervisor), name="ovstream-reload"),
            asyncio.create_task(_report(supervisor, tell), name="ovstream-notify"),
        ]
        _on_signals(stop, path, supervisor, on_stop)
        address = _address(http, listening)
        supervisor.publishers.announce(address)
        on_start(address, supervisor)
        try:
            waiting = asyncio.create_task(stop.wait())
            await asyncio.wait({waiting, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            tell.send(STOPPING=1, STATUS="draining")
            server.should_exit = True
            supervisor.begin_drain()
            for task in (waiting, *tasks[1:]):
                task.cancel()
            ended = await asyncio.gather(supervisor.aclose(), waiting, *tasks, return_exceptions=True)
    for error in ended:
        if isinstance(error, Exception):  # not the cancellation, which is ours
            raise error


def _bind(http: HttpConfig) -> socket.socket:
    family = socket.AF_INET6 if ":" in http.host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((http.host, http.port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise ConfigError(f"service.http: cannot bind {http.host}:{http.port}: {error.strerror}") from None
    return listening


def _address(http: HttpConfig, listening: socket.socket) -> str:
    scheme = "https" if http.tls_cert_file else "http"
    host = f"[{http.host}]" if ":" in http.host else http.host
    return f"{scheme}://{host}:{listening.getsockname()[1]}/"


def _server(app: Any, http: HttpConfig) -> _Server:
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        http=bounded_protocol(),
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=1,
        ssl_certfile=http.tls_cert_file,
        ssl_keyfile=http.tls_key_file,
    )
    try:
        config.load()  # reads the certificate
    except OSError as error:
        raise ConfigError(f"service.http: tls_cert_file and tls_key_file cannot be used: {error}") from None
    return _Server(config)


def _on_signals(
    stop: asyncio.Event, path: Path, supervisor: Supervisor, on_stop: Callable[[Supervisor], None]
) -> None:
    loop = asyncio.get_running_loop()

    def end(*_: object) -> None:
        """Runs at once, also while the loop is busy: the time to drain counts from here."""
        if not stop.is_set():
            on_stop(supervisor)
            loop.call_soon_threadsafe(supervisor.begin_drain)
            loop.call_soon_threadsafe(stop.set)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    running: set[asyncio.Task[None]] = set()  # the loop holds tasks weakly

    def reload() -> None:
        task = asyncio.create_task(reload_file(path, supervisor))
        running.add(task)
        task.add_done_callback(running.discard)

    loop.add_signal_handler(signal.SIGHUP, reload)


async def _watch_file(path: Path, supervisor: Supervisor) -> None:
    """Reloads when the file changes, also where an editor or a ConfigMap replaces it."""
    from watchfiles import awatch

    before = _fingerprint(path)
    try:
        async for _ in awatch(
            path.parent, debounce=300, step=50, recursive=False, rust_timeout=2000, yield_on_timeout=True
        ):
            now = _fingerprint(path)
            if now != before and now is not None:
                before = now
                await reload_file(path, supervisor)
    except (OSError, RuntimeError) as error:  # such as too many watches on this machine
        _log.warning("the file is not watched any more: %s", error)
        supervisor.log.add("", "error", f"the file is not watched any more, SIGHUP still works: {error}")
    await asyncio.Event().wait()


async def reload_file(path: Path, supervisor: Supervisor) -> None:
    """Reads a file again; one that makes no sense is told about and changes nothing."""
    try:
        config: RunConfig = await asyncio.to_thread(load_config, path, may_be_empty=True)
        await supervisor.reload(config)
    except (ConfigError, OSError) as error:
        supervisor.log.add("", "error", f"reload: nothing was changed: {error}")


def _fingerprint(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


async def _report(supervisor: Supervisor, tell: Notifier) -> None:
    """Tells the service manager when all is up, and that it still is."""
    pause = min(watchdog_seconds() or 5.0, 5.0)
    ready = False
    while True:
        if not ready and supervisor.started:
            ready = True
            tell.send(READY=1)
        live = sum(camera.state == "live" for camera in supervisor.cameras.values())
        if supervisor.alive:
            tell.send(WATCHDOG=1, STATUS=f"{live} of {len(supervisor.cameras)} streams are live")
        await asyncio.sleep(pause if ready else 0.2)
