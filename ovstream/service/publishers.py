"""Streams that cameras send to us, instead of us asking them: `whip:NAME`, below `/whip` of the service's own door."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ovstream.config import StreamConfig
from ovstream.sources import OnEvent, Source
from ovstream.sources.webrtc import WhipEndpoint

PREFIX = "/whip"
SCHEME = "whip:"
_NOBODY = b'{"detail":"no stream here takes publishers; one does with url: whip:NAME"}'

_Message = MutableMapping[str, Any]


class Publishers:
    """One WHIP endpoint for all streams of a service; closed while no stream wants publishers.

    A stream's `source.token` is what its publishers must show, never the service's own; without one only programs
    and pages of this machine may publish.

    Args:
        max_publishers: Most at once.
    """

    def __init__(self, *, max_publishers: int) -> None:
        self._endpoint = WhipEndpoint(max_publishers=max_publishers)

    def announce(self, address: str) -> None:
        """Tells under which address people reach the service; ends with a slash."""
        self._endpoint.url = address.rstrip("/") + PREFIX

    @staticmethod
    def takes(config: StreamConfig) -> bool:
        """Whether a stream takes publishers."""
        scheme, _, name = config.url.partition(":")
        return scheme.lower() + ":" == SCHEME and not name.startswith("//")

    def source(self, config: StreamConfig, on_event: OnEvent) -> Source | None:
        """The source of a stream that takes publishers; None for all others.

        Raises:
            ConfigError: The name is none that a URL can have.
        """
        if not self.takes(config):
            return None
        name = config.url.partition(":")[2]
        return self._endpoint.source(name, config=config.source, on_event=on_event)

    def app(self) -> Callable[[_Message, Any, Any], Awaitable[None]]:
        """The ASGI application, to be mounted at `PREFIX`."""
        inner = self._endpoint.app()

        async def app(scope: _Message, receive: Any, send: Any) -> None:
            if self._endpoint.stream_names:
                await inner(scope, receive, send)
                return
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 404, "headers": headers})
            await send({"type": "http.response.body", "body": _NOBODY})

        return app
