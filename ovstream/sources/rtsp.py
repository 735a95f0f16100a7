"""Cameras over RTSP by our own client: no thread, no added delay, and every loss is known."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from fractions import Fraction

from ovstream.config import SourceConfig
from ovstream.errors import ConfigError, SourceAuthError, SourceError, SourceProtocolError, SourceTimeout
from ovstream.rtp import RtpReceiver, RtpUnit
from ovstream.sources.base import OnEvent, ignore_event
from ovstream.sources.gate import KeyframeGate
from ovstream.sources.live import LiveQueue, LiveSource
from ovstream.sources.pacing import Backoff
from ovstream.sources.parameter_sets import ParameterSets, leading_nals
from ovstream.sources.picture_size import nals_size, vp8_size
from ovstream.sources.rtsp_auth import Authenticator
from ovstream.sources.rtsp_connection import Address
from ovstream.sources.rtsp_session import Redirected, RtspSession, SessionOptions
from ovstream.sources.rtsp_tls import tls_context
from ovstream.sources.timeline import Timeline
from ovstream.sources.urls import CameraUrl, parse_url, redact_url
from ovstream.types import AccessUnit

DEFAULT_PORTS = {"rtsp": 554, "rtsps": 322}
MAX_REDIRECTS = 5
# Units that may be damaged at the beginning, before that means something else than a bad network.
MAX_UNREADABLE_UNITS = 250


class RtspSource(LiveSource):
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
        self._config = config or SourceConfig()
        super().__init__(redact_url(url), queue_units=self._config.queue_units, on_event=on_event)
        self._url = parse_url(url)
        if not self._url.host:
            raise ConfigError(f"{self.name} names no host")
        self._give_up = give_up
        self._gate = KeyframeGate(self.stats)
        self._timeline = Timeline(from_zero=True)
        self._epoch = 0
        self._connected_before = False
        self._parameter_sets: ParameterSets | None = None
        self._size: tuple[int, int] | None = None
        self._clock_told = False
        self._joined = False
        self._codec: str | None = None
        self._rate_hz = 90_000
        self._changed = False
        self._unreadable = 0
        self._queue: LiveQueue

    async def _receive(self, queue: LiveQueue) -> None:
        self._queue = queue
        backoff = Backoff(
            initial_seconds=self._config.reconnect_initial_seconds,
            max_seconds=self._config.reconnect_max_seconds,
        )
        while True:
            before = self._timeline.last_arrival_ns
            failure = await self._connection()
            if self._is_final(failure):
                raise failure
            if self._timeline.last_arrival_ns != before:
                backoff.reset()
            pause_seconds = backoff.next_seconds(slow=isinstance(failure, SourceAuthError))
            self._on_event("reconnecting", f"{failure}; next attempt in {pause_seconds:.1f} s")
            await asyncio.sleep(pause_seconds)

    def _is_final(self, failure: SourceError) -> bool:
        if self._timeline.last_arrival_ns is not None:
            return False
        unreadable = isinstance(failure, SourceProtocolError)
        first = not self._connected_before or unreadable
        return isinstance(failure, self._give_up) or (first and not self._config.keep_trying)

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
        secret = self._config.password
        username = self._config.username or self._url.username
        password = secret.get_secret_value() if secret else self._url.password
        known = username is not None or password is not None
        authenticator = Authenticator(username or "", password or "") if known else None
        options = SessionOptions(
            name=self.name,
            transport=self._config.transport,
            read_timeout_seconds=self._config.read_timeout_seconds,
            on_units=self._take,
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
        if url.scheme not in DEFAULT_PORTS or not url.host:
            raise SourceProtocolError(f"{self.name} redirects to something that is not RTSP")
        if self._url.scheme == "rtsps" and url.scheme != "rtsps":
            raise SourceProtocolError(f"{self.name} redirects from TLS to plain text")
        return url

    def _connected(self, session: RtspSession) -> None:
        track = session.track
        if self._connected_before:
            self._epoch += 1
            self.stats.reconnects += 1
            self._gate.lost()
        self._connected_before, self._joined = True, False
        self._unreadable = 0
        other_codec = self._codec not in (None, track.codec)
        self._codec, self._rate_hz = track.codec, track.clock_rate_hz
        self._timeline.connect(Fraction(1, track.clock_rate_hz))
        self._changed = other_codec
        if track.codec == "vp8":
            self._parameter_sets = None
        else:
            if self._parameter_sets is None or other_codec:
                self._parameter_sets = ParameterSets(track.codec)
            self._changed |= self._parameter_sets.absorb(list(track.parameter_sets))
            self._check_size(nals_size(track.parameter_sets, track.codec))
        size = f" {self._size[0]}x{self._size[1]}" if self._size and not other_codec else ""
        self._on_event("connected", f"{self.name}: {track.codec}{size}")

    def _take(self, units: Iterable[RtpUnit], receiver: RtpReceiver) -> None:
        for unit in units:
            if unit.discontinuity and (self._joined or not unit.damaged):
                self._lost(damaged=unit.damaged)
            if unit.damaged or not self._has_parameter_sets(unit):
                self._leave_out()
                continue
            if unit.restart or self._timeline.leaps(unit.timestamp, unit.arrival_ns):
                self._timeline.connect(self._timeline.time_base)
            self._joined = True
            self._gate.deliver(self._unit(unit, receiver), self._queue)

    def _has_parameter_sets(self, unit: RtpUnit) -> bool:
        if self._parameter_sets is None or self._parameter_sets.ready:
            return True
        self._parameter_sets.absorb(list(leading_nals(unit.data, unit.codec)))
        return self._parameter_sets.ready

    def _leave_out(self) -> None:
        """Drops a damaged unit; a connection begins inside of one, but not inside of hundreds."""
        if self._joined:
            return
        self.stats.dropped += 1
        self._unreadable += 1
        if self._unreadable > MAX_UNREADABLE_UNITS:
            raise SourceProtocolError(f"{self.name} sends video that cannot be put together")

    def _lost(self, *, damaged: bool) -> None:
        self.stats.lost += 1
        self._gate.lost()
        what = "damaged data" if damaged else "packets are missing"
        self._on_event("lost", f"{self.name}: {what}; waiting for a keyframe")

    def _unit(self, unit: RtpUnit, receiver: RtpReceiver) -> AccessUnit:
        data, changed = self._with_parameter_sets(unit)
        capture_time_ns = receiver.clock.capture_time_ns(unit.timestamp)
        self._tell_clock(receiver)
        return AccessUnit(
            codec=unit.codec,
            data=data,
            pts=self._timeline.place(unit.timestamp, unit.arrival_ns),
            time_base=self._timeline.time_base,
            keyframe=unit.keyframe,
            params_changed=changed,
            arrival_ns=unit.arrival_ns,
            capture_time_ns=self._arrived_ns(unit) if capture_time_ns is None else capture_time_ns,
            clock_quality="arrival" if capture_time_ns is None else "sender",
            epoch=self._epoch,
        )

    def _with_parameter_sets(self, unit: RtpUnit) -> tuple[bytes, bool]:
        """The unit's bytes, complete for a decoder that starts here, and whether the sequence changed."""
        changed, self._changed = self._changed, False
        data = unit.data
        if self._parameter_sets is None:
            changed |= self._check_size(vp8_size(data))
        else:
            before = data
            data, new = self._parameter_sets.complete(data, start=unit.keyframe)
            if new or (self._size is None and unit.keyframe):
                self._check_size(nals_size(leading_nals(before, unit.codec), unit.codec))
            changed |= new
        if changed:
            self._on_event("params", f"{self.name}: parameter sets changed")
        return data, changed

    def _check_size(self, size: tuple[int, int] | None) -> bool:
        """Remembers the size of the pictures; tells whether it was another one.

        Raises:
            SourceProtocolError: More than `max_pixels`.
        """
        if size is None or size == self._size:
            return False
        if size[0] * size[1] > self._config.max_pixels:
            raise SourceProtocolError(
                f"{self.name} sends {size[0]}x{size[1]}, more than max_pixels = {self._config.max_pixels}"
            )
        before, self._size = self._size, size
        return before is not None

    def _tell_clock(self, receiver: RtpReceiver) -> None:
        offset_ns = receiver.clock.offset_ns
        if receiver.clock.quality != "arrival" or self._clock_told or offset_ns is None:
            return
        self._clock_told = True
        detail = f"its clock is {offset_ns / 1e9:+.0f} s off; capture times are times of arrival"
        self._on_event("fallback", f"{self.name}: {detail}")

    def _arrived_ns(self, unit: RtpUnit) -> int:
        return time.time_ns() - (time.monotonic_ns() - unit.arrival_ns)
