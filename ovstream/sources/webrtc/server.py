"""The HTTP server of `whip://` URLs: one per address, shared by the streams that name it."""

from __future__ import annotations

import asyncio
import os
import socket
import weakref
from collections.abc import AsyncGenerator, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from ovstream.config import SourceConfig
from ovstream.errors import ConfigError, InsecureBindError, MissingExtraError
from ovstream.sources.base import OnEvent
from ovstream.sources.urls import CameraUrl, parse_url, redact_url
from ovstream.sources.webrtc.endpoint import Place, WhipEndpoint, WhipSource
from ovstream.sources.webrtc.names import is_local

DEFAULT_PORT = 8080
BACKLOG = 64
MAX_CONNECTIONS = 128
SHUTDOWN_SECONDS = 1


@dataclass(slots=True)
class _Server:
    """A running server and how many sources need it."""

    endpoint: WhipEndpoint
    uvicorn: Any
    task: asyncio.Task[None]
    listener: socket.socket
    url: str
    users: int = 0


# Streams of one event loop that name the same address share its server.
_SERVERS: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, int], _Server]] = (
    weakref.WeakKeyDictionary()
)


def whip_source(text: str, *, config: SourceConfig, on_event: OnEvent) -> WhipSource:
    """Makes the source of a `whip://` URL: it listens at the address that the URL names.

    Args:
        text: `whip://127.0.0.1:8080/cam1`; a password in it is the token, unless `config.token` is set.
        config: See `WhipSource`.
        on_event: Called in the event loop.

    Raises:
        ConfigError: The URL makes no sense.
        InsecureBindError: Everybody could publish.
    """
    url, name = parse_url(text), redact_url(text)
    if config.token is None and url.password:
        config = SourceConfig.model_validate(config.model_dump() | {"token": url.password})
    if url.fault and not url.location.startswith("/"):
        raise ConfigError(f"{name} {url.fault}")
    host = url.host or "127.0.0.1"
    if config.token is None and not is_local(host):
        raise InsecureBindError(
            f"{name} would let everybody publish: set source.token (OVSTREAM_SOURCE__TOKEN), "
            "or listen on 127.0.0.1"
        )
    path = url.location.partition("/")[2].partition("?")[0].strip("/")

    def listen() -> AbstractAsyncContextManager[Place]:
        return _listening(host, _port(url), config=config, name=name)

    return WhipSource(path, listen, name=name, config=config, on_event=on_event)


def _port(url: CameraUrl) -> int:
    # parse_url knows no port 0; here it means any that is free
    authority = url.location.partition("/")[0]
    return 0 if authority.endswith(":0") else url.port or DEFAULT_PORT


@asynccontextmanager
async def _listening(host: str, port: int, *, config: SourceConfig, name: str) -> AsyncGenerator[Place]:
    servers = _SERVERS.setdefault(asyncio.get_running_loop(), {})
    server = servers.get((host, port)) if port else None
    if server is None:
        server = _start(host, port, name=name)
        if port:
            servers[host, port] = server
    endpoint = server.endpoint
    endpoint.max_publishers = max(config.max_publishers, endpoint.max_publishers if server.users else 1)
    server.users += 1
    try:
        yield Place(endpoint, server.url)
    finally:
        server.users -= 1
        if not server.users:
            servers.pop((host, port), None)
            server.uvicorn.should_exit = True
            await server.task
            for listener in server.uvicorn.servers:  # a server that ends while it starts leaves them open
                listener.close()
            server.listener.close()


def _start(host: str, port: int, *, name: str) -> _Server:
    try:
        import uvicorn
    except ImportError:
        raise MissingExtraError("uvicorn", extra="server") from None

    class Server(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Generator[None]:
            yield  # signals belong to the program, not to one of its sources

    endpoint = WhipEndpoint()
    app = endpoint.app()
    listener = _bind(host, port, name=name)
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    server = Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]), name=f"ovstream-whip-{host}:{port}")
    shown = host if host not in ("0.0.0.0", "[::]", "::") else socket.gethostname()
    bound = listener.getsockname()[1]
    return _Server(
        endpoint, server, task, listener, f"http://{f'[{shown}]' if ':' in shown else shown}:{bound}"
    )


def _bind(host: str, port: int, *, name: str) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host.strip("[]"), port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
    raise ConfigError(f"{name}: cannot listen there ({reason})")
