"""One publisher, or one server that we watch: from packets to access units, until it ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from ovstream.config import SourceConfig
from ovstream.errors import SourceError, SourceTimeout
from ovstream.rtp import ReorderLimits, RtpPacket, RtpReceiver, RtpUnit
from ovstream.sources.rtp_intake import RtpIntake
from ovstream.sources.webrtc.codecs import CLOCK_RATE_HZ
from ovstream.sources.webrtc.sdp import Offer
from ovstream.sources.webrtc.transport import Transport

# A retransmission takes one round trip; without any, a packet is only late.
WAIT_FOR_RETRANSMISSION = ReorderLimits(packets=512, wait_ns=200_000_000)
WAIT_FOR_LATE = ReorderLimits(packets=256, wait_ns=50_000_000)
# An encoder needs this long to answer; asking more often costs it bits and us nothing but those.
KEYFRAME_REQUEST_NS = 500_000_000


class MediaSession:
    """Receives over one `Transport` into an intake; keeps the time of silence.

    Args:
        name: Of the source, for errors.
        intake: Takes the units.
        config: Timeouts.

    Attributes:
        heard_ns: Monotonic clock when the last packet came; None before the first.
    """

    def __init__(self, name: str, *, intake: RtpIntake, config: SourceConfig) -> None:
        self.transport = Transport(self)
        self.heard_ns: int | None = None
        self._name = name
        self._intake = intake
        self._config = config
        self._receiver: RtpReceiver | None = None
        self._codec: str | None = None
        self._ended: asyncio.Future[SourceError] = asyncio.get_running_loop().create_future()
        self._started_ns = time.monotonic_ns()
        self._asked_ns: int | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def answer(self, offer: Offer) -> str:
        """Accepts an offer; see `Transport.answer`."""
        return await self.transport.answer(offer)

    async def run(self) -> SourceError:
        """Waits for the end; returns why it came: silence, the peer, or something that cannot be read."""
        while True:
            left_seconds = self._left_seconds()
            if left_seconds <= 0:
                return self._silence()
            # never longer than the silence that counts: the first packet may come while we wait for it
            await asyncio.wait({self._ended}, timeout=min(left_seconds, self._config.read_timeout_seconds))
            if self._ended.done():
                return self._ended.result()

    def end(self, reason: SourceError) -> None:
        """Ends `run`."""
        if not self._ended.done():
            self._ended.set_result(reason.with_traceback(None))

    def silent_seconds(self) -> float:
        """Since the last packet, or since the beginning."""
        return (time.monotonic_ns() - (self.heard_ns or self._started_ns)) / 1e9

    async def aclose(self) -> None:
        """Frees everything; may be called again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self.transport.aclose()

    def on_state(self, state: str) -> None:
        """See `PacketSink`."""
        if state == "failed":
            before = "broke" if self.heard_ns is not None else "was never made"
            self.end(SourceError(f"{self._name}: the WebRTC connection {before}"))
        elif state == "closed":
            self.end(SourceError(f"{self._name} ended the stream"))

    def on_control(self, data: bytes) -> None:
        """See `PacketSink`. BYE ends nothing: browsers send it when a sender pauses."""
        if self._receiver is not None:
            self._receiver.receive_control(data, now_ns=time.monotonic_ns(), wall_ns=time.time_ns())

    def on_packet(self, packet: RtpPacket, codec: str) -> None:
        """See `PacketSink`."""
        if self._ended.done():
            return
        self.heard_ns = now_ns = time.monotonic_ns()
        try:
            receiver = self._receiver_for(codec)
            self._take(receiver.receive(packet, now_ns=now_ns), receiver, now_ns)
        except SourceError as error:
            self.end(error)

    def _receiver_for(self, codec: str) -> RtpReceiver:
        """The receiver of this codec; another codec, or the first one, starts anew."""
        if self._receiver is None or self._codec != codec:
            limits = WAIT_FOR_RETRANSMISSION if self.transport.retransmits else WAIT_FOR_LATE
            self._receiver = RtpReceiver(codec, clock_rate_hz=CLOCK_RATE_HZ, limits=limits)
            self._codec = codec
            self._intake.connect(codec, clock_rate_hz=CLOCK_RATE_HZ)
        return self._receiver

    def _take(self, units: Iterable[RtpUnit], receiver: RtpReceiver, now_ns: int) -> None:
        for unit in units:
            self._intake.take((unit,), receiver)
            if unit.damaged or self._intake.needs_keyframe:
                self._ask(now_ns)
        if self._timer is None and receiver.deadline_ns is not None:
            wait_seconds = max(receiver.deadline_ns - now_ns, 0) / 1e9
            self._timer = asyncio.get_running_loop().call_later(wait_seconds, self._give_up_missing)

    def _ask(self, now_ns: int) -> None:
        if self._asked_ns is None or now_ns - self._asked_ns >= KEYFRAME_REQUEST_NS:
            self._asked_ns = now_ns
            self.transport.request_keyframe()

    def _give_up_missing(self) -> None:
        self._timer = None
        if self._receiver is None or self._ended.done():
            return
        now_ns = time.monotonic_ns()
        try:
            self._take(self._receiver.poll(now_ns=now_ns), self._receiver, now_ns)
        except SourceError as error:
            self.end(error)

    def _left_seconds(self) -> float:
        limit = (
            self._config.open_timeout_seconds if self.heard_ns is None else self._config.read_timeout_seconds
        )
        return limit - self.silent_seconds()

    def _silence(self) -> SourceError:
        what = "sent no video in time" if self.heard_ns is None else "has fallen silent"
        return SourceTimeout(f"{self._name} {what}")
