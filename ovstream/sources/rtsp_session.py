"""One RTSP session: describe, set up, play, keep alive, tear down (RFC 2326)."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from ovstream.errors import (
    SourceAuthError,
    SourceCodecError,
    SourceError,
    SourceNotFound,
    SourceProtocolError,
    SourceTimeout,
)
from ovstream.sources.rtsp_auth import Authenticator
from ovstream.sources.rtsp_connection import Address, RtspConnection
from ovstream.sources.rtsp_media import OnUnits, RtspMedia
from ovstream.sources.rtsp_messages import Response
from ovstream.sources.rtsp_sdp import VideoTrack, control_uri, parse_sdp

DEFAULT_SESSION_SECONDS = 60.0  # RFC 2326 12.37
KEEPALIVE_SHARE = 0.4
KEEPALIVE_PATIENCE_SECONDS = 5.0
REPORT_SECONDS = 5.0  # RFC 3550 6.2; each pause is varied by a half
STALL_FACTOR = 4  # packets without one whole picture may come for so many times the longest silence
MAX_ATTEMPTS = 3  # of one request: without credentials, with them, with a fresh nonce
UNSUPPORTED_TRANSPORT, AGGREGATE_NOT_ALLOWED, SESSION_NOT_FOUND = 461, 459, 454
OTHER_TRANSPORT = {"tcp": "udp", "udp": "tcp"}
_REDIRECTS = frozenset({301, 302, 303, 305, 307, 308})


class Redirected(Exception):  # noqa: N818 - a signal, not an error
    """The server says where to ask instead.

    Args:
        location: Absolute URL.
    """

    def __init__(self, location: str) -> None:
        super().__init__("redirected")
        self.location = location


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """What the source wants from a session.

    Attributes:
        name: Of the source, for errors.
        transport: "tcp" or "udp"; the other one is tried when the server refuses it.
        read_timeout_seconds: Silence after which the session is given up.
        on_units: Takes what arrives.
        on_fallback: Takes one sentence when the other transport is used.
    """

    name: str
    transport: str
    read_timeout_seconds: float
    on_units: OnUnits
    on_fallback: Callable[[str], None]


class RtspSession:
    """A camera that plays. Made by `open`, lives in `run`, ends with `aclose`.

    Args:
        uri: Without credentials.
        authenticator: None without credentials.
        options: See `SessionOptions`.

    Attributes:
        track: The video track that was chosen.
    """

    track: VideoTrack

    def __init__(self, uri: str, authenticator: Authenticator | None, options: SessionOptions) -> None:
        self._name = options.name
        self._options = options
        self._authenticator = authenticator
        self._connection: RtspConnection
        self._media: RtspMedia | None = None
        self._session_id = ""
        self._session_seconds = DEFAULT_SESSION_SECONDS
        self._uri = self._control = self._track_uri = uri
        self._keepalive_method = "GET_PARAMETER"

    @classmethod
    async def open(
        cls, uri: str, address: Address, *, authenticator: Authenticator | None, options: SessionOptions
    ) -> RtspSession:
        """Connects and lets the camera play.

        Raises:
            Redirected: Ask there instead.
            SourceError: It does not work; the kind says why.
        """
        session = cls(uri, authenticator, options)
        session._connection = await RtspConnection.open(
            address, name=options.name, on_frame=session._on_frame
        )
        try:
            await session._describe()
            await session._set_up(options.transport)
            await session._play()
        except BaseException:
            await session.aclose()
            raise
        return session

    async def run(self) -> SourceError:
        """Hands out what arrives and keeps the session alive until it ends; returns why."""
        assert self._media is not None
        self._media.start()
        closed = self._connection.closed
        report_due = time.monotonic()
        keepalive_due = report_due + KEEPALIVE_SHARE * self._session_seconds
        while not closed.done():
            due = min(report_due, keepalive_due, self._stall_due(self._media))
            await asyncio.wait({closed}, timeout=max(due - time.monotonic(), 0))
            now = time.monotonic()
            if now >= self._stall_due(self._media):
                self._connection.fail(self._stall(self._media, now))
            if now >= report_due:
                self._media.send_report()
                report_due = now + REPORT_SECONDS * random.uniform(0.5, 1.5)
            if now >= keepalive_due and not closed.done():
                await self._keep_alive()
                keepalive_due = now + KEEPALIVE_SHARE * self._session_seconds
        return closed.result()

    def _stall_due(self, media: RtspMedia) -> float:
        """When to give up if nothing more arrives: monotonic clock, seconds."""
        longest_seconds = self._options.read_timeout_seconds
        return min(
            media.heard_ns / 1e9 + longest_seconds, media.whole_ns / 1e9 + STALL_FACTOR * longest_seconds
        )

    def _stall(self, media: RtspMedia, now: float) -> SourceTimeout:
        silent_seconds = now - media.heard_ns / 1e9
        if silent_seconds >= self._options.read_timeout_seconds:
            return SourceTimeout(f"{self._name} is silent for {silent_seconds:.1f} s")
        broken_seconds = now - media.whole_ns / 1e9
        return SourceTimeout(f"{self._name} sends no whole picture for {broken_seconds:.1f} s")

    async def aclose(self) -> None:
        """Says goodbye without waiting for an answer, and frees all sockets."""
        if self._media is not None:
            if self._session_id:
                self._media.send_goodbye()
                self._connection.post("TEARDOWN", self._control, self._headers("TEARDOWN", self._control))
            self._media.close()
        await self._connection.aclose()

    async def _describe(self) -> None:
        response = await self._ask("DESCRIBE", self._uri, Accept="application/sdp")
        description = parse_sdp(response.body.decode("utf-8", "replace"))
        if not description.tracks:
            problem = f"{self._name} offers no video that can be read"
            if not description.others:
                raise SourceProtocolError(problem)
            raise SourceCodecError(f"{problem} (it has {', '.join(description.others)})")
        self.track = description.tracks[0]
        base = response.headers.get("Content-Base") or response.headers.get("Content-Location")
        base = re.sub(r"^(\w+://)[^/@]*@", r"\1", base) if "://" in base else self._uri
        self._control = control_uri(base, description.control)
        self._track_uri = control_uri(base, self.track.control)

    async def _set_up(self, transport: str) -> None:
        self._media = RtspMedia(
            self.track, self._connection, name=self._name, on_units=self._options.on_units
        )
        response = await self._ask_for(transport)
        if response.status == UNSUPPORTED_TRANSPORT:
            other = OTHER_TRANSPORT[transport]
            refusal = f"{self._name} refuses RTP over {transport.upper()}"
            response = await self._ask_for(other)
            if response.status == UNSUPPORTED_TRANSPORT:
                raise SourceProtocolError(f"{refusal} and over {other.upper()}")
            self._options.on_fallback(f"{refusal}; using {other.upper()}")
        self._session_id, _, parameters = response.headers.get("Session").partition(";")
        if timeout := re.search(r"timeout=(\d{1,6})(?!\d)", parameters):
            self._session_seconds = max(float(timeout[1]), 1.0)
        self._media.accept(response.headers.get("Transport"))

    async def _ask_for(self, transport: str) -> Response:
        assert self._media is not None
        wanted = await self._media.offer(transport)
        return await self._ask("SETUP", self._track_uri, accept=UNSUPPORTED_TRANSPORT, Transport=wanted)

    async def _play(self) -> None:
        response = await self._ask("PLAY", self._control, accept=AGGREGATE_NOT_ALLOWED, Range="npt=0.000-")
        if response.status == AGGREGATE_NOT_ALLOWED:
            self._control = self._track_uri
            await self._ask("PLAY", self._control, Range="npt=0.000-")

    async def _keep_alive(self) -> None:
        patience_seconds = min(KEEPALIVE_PATIENCE_SECONDS, self._options.read_timeout_seconds)
        try:
            async with asyncio.timeout(patience_seconds):
                await self._ask(self._keepalive_method, self._control)
        except TimeoutError:
            pass  # some cameras leave keepalives unanswered: data that arrives is what counts
        except SourceProtocolError:
            self._keepalive_method = "OPTIONS"
        except (SourceError, Redirected) as error:
            again = SourceError(f"{self._name} asks to connect again")
            self._connection.fail(error if isinstance(error, SourceError) else again)

    async def _ask(self, method: str, uri: str, *, accept: int = 200, **headers: str) -> Response:
        """Sends a request that succeeds, or fails with `accept`."""
        for _ in range(MAX_ATTEMPTS):
            response = await self._connection.request(method, uri, self._headers(method, uri) | headers)
            if response.status != 401:
                break
            challenges = response.headers.all("WWW-Authenticate")
            if self._authenticator is None or not self._authenticator.learn(challenges):
                break
        if response.status not in (200, accept):
            raise self._refusal(method, response)
        return response

    def _headers(self, method: str, uri: str) -> dict[str, str]:
        headers = {"Session": self._session_id} if self._session_id else {}
        if self._authenticator is not None and (value := self._authenticator.header(method, uri)):
            headers["Authorization"] = value
        return headers

    def _refusal(self, method: str, response: Response) -> Exception:
        status, location = response.status, response.headers.get("Location")
        if status in _REDIRECTS and location:
            return Redirected(location)
        reason = re.sub(r"[^\x20-\x7e]", "?", response.reason[:80])
        answer = f"{method}: {status} {reason}"
        if status in (401, 403, 407):
            return SourceAuthError(f"{self._name}: user name or password is missing or wrong ({answer})")
        if status in (404, 410):
            return SourceNotFound(f"{self._name} does not exist ({answer})")
        if status in (SESSION_NOT_FOUND, 503):
            return SourceError(f"{self._name} does not serve us now ({answer})")
        return SourceProtocolError(f"{self._name} cannot be read ({answer})")

    def _on_frame(self, channel: int, data: bytes) -> None:
        if self._media is not None:
            self._media.on_frame(channel, data)
