"""WHEP (draft-ietf-wish-whep): watches a stream of another server."""

from __future__ import annotations

import asyncio
import base64
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

from ovstream.config import SourceConfig
from ovstream.errors import (
    ConfigError,
    SourceAuthError,
    SourceCodecError,
    SourceError,
    SourceNotFound,
    SourceProtocolError,
    SourceTimeout,
)
from ovstream.sources.base import OnEvent, ignore_event
from ovstream.sources.credentials import credentials
from ovstream.sources.reconnecting import ReconnectingSource
from ovstream.sources.rtsp_connection import Address
from ovstream.sources.rtsp_tls import tls_context
from ovstream.sources.urls import CameraUrl, parse_url, redact_url
from ovstream.sources.webrtc.http_client import HttpAnswer, http_request
from ovstream.sources.webrtc.sdp import BadDescription, UnacceptableMedia, clean_answer
from ovstream.sources.webrtc.session import MediaSession

DEFAULT_PORTS = {"http": 80, "https": 443}
MAX_REDIRECTS = 5
GOODBYE_SECONDS = 0.5
_REDIRECTS = frozenset({301, 302, 307, 308})
_SDP = {"Content-Type": "application/sdp", "Accept": "application/sdp"}


class _Url(NamedTuple):
    """An HTTP URL without credentials."""

    scheme: str
    host: str
    port: int
    target: str

    @classmethod
    def parse(cls, text: str) -> _Url:
        """Takes a URL apart.

        Raises:
            ValueError: It is none.
        """
        parts = urlsplit(text)
        port = parts.port or DEFAULT_PORTS.get(parts.scheme, 0)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(parts.scheme, parts.hostname or "", port, target)

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port

    def text(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.target}"


class WhepSource(ReconnectingSource):
    """Receives a stream from a WebRTC server, such as MediaMTX or go2rtc, and never gives it up.

    Args:
        url: `whep+https://` or `whep+http://`; user and password in it are sent as Basic, a password alone as
            Bearer token.
        config: Uses `token`, `username`, `password`, TLS, timeouts, reconnects, `queue_units` and `max_pixels`.
        on_event: Called in the event loop.

    Raises:
        ConfigError: The URL names no host.
    """

    def __init__(
        self, url: str, *, config: SourceConfig | None = None, on_event: OnEvent = ignore_event
    ) -> None:
        super().__init__(redact_url(url), config=config or SourceConfig(), on_event=on_event)
        parsed = parse_url(url)
        if not parsed.host:
            raise ConfigError(f"{self.name} names no host")
        self._url = _Url.parse(f"{parsed.scheme.removeprefix('whep+')}://{parsed.location}")
        self._credentials = parsed
        self._authorization: str | None = None

    async def _connection(self) -> SourceError:
        session = MediaSession(self.name, intake=self._intake, config=self._config)
        resource: _Url | None = None
        try:
            async with asyncio.timeout(self._config.open_timeout_seconds):
                self._authorization = await asyncio.to_thread(_authorization, self._config, self._credentials)
                offer = await session.transport.offer()
                resource, answer = await self._subscribe(offer)
                await session.transport.accept(answer)
            return await session.run()
        except TimeoutError:
            return SourceTimeout(f"{self.name} does not answer in time")
        except BadDescription as error:
            return SourceProtocolError(f"{self.name}: {error}")
        except SourceError as error:
            return error.with_traceback(None)  # its frames know the token
        finally:
            await session.aclose()
            if resource is not None:
                await self._say_goodbye(resource)

    async def _subscribe(self, offer: str) -> tuple[_Url | None, str]:
        """Sends the offer; returns the URL of the session and the answer."""
        url = self._url
        for _ in range(MAX_REDIRECTS + 1):
            response = await self._request("POST", url, offer.encode())
            location = response.headers.get("Location")
            if response.status in _REDIRECTS and location:
                url = self._follow(url, location)
                continue
            self._check(response)
            resource = self._elsewhere(url, location) if location else None
            if resource is not None and resource.origin != url.origin:
                resource = None  # nobody may make us delete something elsewhere
            try:
                return resource, clean_answer(response.body.decode("utf-8", "replace"))
            except UnacceptableMedia:
                raise SourceCodecError(f"{self.name} offers no video that can be read") from None
        raise SourceProtocolError(f"{self.name} redirects in a circle")

    def _follow(self, url: _Url, location: str) -> _Url:
        following = self._elsewhere(url, location)
        if following.scheme not in DEFAULT_PORTS or not following.host:
            raise SourceProtocolError(f"{self.name} redirects to something that is not HTTP")
        if url.scheme == "https" and following.scheme != "https":
            raise SourceProtocolError(f"{self.name} redirects from TLS to plain text")
        return following

    def _elsewhere(self, url: _Url, location: str) -> _Url:
        try:
            return _Url.parse(urljoin(url.text(), location))
        except ValueError:
            pass
        raise SourceProtocolError(f"{self.name} names an address that is none")

    def _check(self, response: HttpAnswer) -> None:
        status = response.status
        if status == 201:
            return
        if status in (401, 403):
            raise SourceAuthError(f"{self.name} refuses the token or password ({status})")
        if status == 404:
            raise SourceNotFound(f"{self.name}: no such stream, or nobody publishes it")
        kind = SourceProtocolError if status in (400, 405, 406, 415, 422, 501) else SourceError
        raise kind(f"{self.name} answers {status} instead of 201")

    async def _request(self, method: str, url: _Url, body: bytes = b"") -> HttpAnswer:
        headers = dict(_SDP) if body else {}
        if (
            self._authorization is not None and url.origin == self._url.origin
        ):  # a secret is for one host only
            headers["Authorization"] = self._authorization
        context = await asyncio.to_thread(tls_context, self._config) if url.scheme == "https" else None
        address = Address(url.host, url.port, context, self._config.tls_fingerprint)
        return await http_request(method, address, url.target, headers=headers, body=body, name=self.name)

    async def _say_goodbye(self, resource: _Url) -> None:
        """Frees the place on the server; it would notice our silence much later."""
        with suppress(SourceError, TimeoutError):
            async with asyncio.timeout(GOODBYE_SECONDS):
                await self._request("DELETE", resource)


def _authorization(config: SourceConfig, url: CameraUrl) -> str | None:
    """Value of the Authorization field: a token wins over a password, and a password without a user is a token."""
    if config.token is not None:
        return f"Bearer {config.token.get_secret_value()}"
    user, secret = credentials(config, url)
    if not user:
        return f"Bearer {secret}" if secret else None
    return "Basic " + base64.b64encode(f"{user}:{secret or ''}".encode()).decode()
