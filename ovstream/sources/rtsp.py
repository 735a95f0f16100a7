"""Cameras over RTSP by our own client: no thread, no added delay, and every loss is known."""

from __future__ import annotations

import asyncio

from ovstream.config import SourceConfig
from ovstream.errors import ConfigError, SourceError, SourceProtocolError, SourceTimeout
from ovstream.sources.base import OnEvent, ignore_event
from ovstream.sources.credentials import credentials
from ovstream.sources.reconnecting import ReconnectingSource
from ovstream.sources.rtsp_auth import Authenticator
from ovstream.sources.rtsp_connection import Address
from ovstream.sources.rtsp_session import Redirected, RtspSession, SessionOptions
from ovstream.sources.rtsp_tls import tls_context
from ovstream.sources.urls import CameraUrl, parse_url, redact_url

DEFAULT_PORTS = {"rtsp": 554, "rtsps": 322}
MAX_REDIRECTS = 5


class RtspSource(ReconnectingSource):
    """Receives a camera and never gives it up.

    The first connection attempt raises its error unless `config.keep_trying`; after one success every failure
    leads to another attempt, with growing pauses. Each new connection counts `epoch` up and starts at a keyframe
    with `discontinuity` set. After a loss nothing is handed on until the next keyframe.

    Args:
        url: `rtsp://` or `rtsps://`.
        config: Uses all but `backend`, `pace` and `loop`.
        on_event: Called in the event loop.
        give_up: Errors of this kind are raised in any case, as long as no unit has arrived.

    Raises:
        ConfigError: The URL names no host.
    """

    def __init__(
        self,
        url: str,
        *,
        config: SourceConfig | None = None,
        on_event: OnEvent = ignore_event,
        give_up: tuple[type[SourceError], ...] = (),
    ) -> None:
        used = config or SourceConfig()
        super().__init__(redact_url(url), config=used, on_event=on_event, give_up=give_up)
        self._url = parse_url(url)
        if not self._url.host:
            raise ConfigError(f"{self.name} names no host")

    async def _connection(self) -> SourceError:
        """Connects once and receives until it breaks; returns why."""
        session: RtspSession | None = None
        try:
            async with asyncio.timeout(self._config.open_timeout_seconds):
                session = await self._open()
            self._connected(session)
            return await session.run()
        except TimeoutError:
            return SourceTimeout(f"{self.name} does not answer in time")
        except SourceError as error:
            return error.with_traceback(None)  # its frames know the password
        finally:
            if session is not None:
                await session.aclose()

    async def _open(self) -> RtspSession:
        if self._config.password_file is None:
            username, password = credentials(self._config, self._url)
        else:  # a file system may hang
            username, password = await asyncio.to_thread(credentials, self._config, self._url)
        known = username is not None or password is not None
        authenticator = Authenticator(username or "", password or "") if known else None
        options = SessionOptions(
            name=self.name,
            transport=self._config.transport,
            read_timeout_seconds=self._config.read_timeout_seconds,
            on_units=self._intake.take,
            on_fallback=lambda detail: self._on_event("fallback", detail),
        )
        url = self._url
        for _ in range(MAX_REDIRECTS + 1):
            try:
                own = url.host == self._url.host
                return await RtspSession.open(
                    f"{url.scheme}://{url.location}",
                    await self._address(url),
                    authenticator=authenticator if own else None,  # a password is for one host only
                    options=options,
                )
            except Redirected as redirected:
                url = self._follow(redirected.location)
        raise SourceProtocolError(f"{self.name} redirects in a circle")

    async def _address(self, url: CameraUrl) -> Address:
        port = url.port or DEFAULT_PORTS[url.scheme]
        if url.scheme != "rtsps":
            return Address(url.host, port, None, None)
        context = await asyncio.to_thread(tls_context, self._config)
        return Address(url.host, port, context, self._config.tls_fingerprint)

    def _follow(self, location: str) -> CameraUrl:
        url = parse_url(location)
        if url.scheme not in DEFAULT_PORTS or url.fault:
            raise SourceProtocolError(f"{self.name} redirects to something that is not RTSP")
        if self._url.scheme == "rtsps" and url.scheme != "rtsps":
            raise SourceProtocolError(f"{self.name} redirects from TLS to plain text")
        return url

    def _connected(self, session: RtspSession) -> None:
        track = session.track
        self._intake.connect(
            track.codec, clock_rate_hz=track.clock_rate_hz, parameter_sets=track.parameter_sets
        )
