"""One RTP stream from datagrams to access units, and the reports about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from ovstream.rtp.assembler import Assembler, RtpUnit
from ovstream.rtp.clock import SenderClock
from ovstream.rtp.depacketize import UnitBuilder
from ovstream.rtp.h264 import H264Builder
from ovstream.rtp.h265 import H265Builder
from ovstream.rtp.packet import MalformedPacket, RtpPacket
from ovstream.rtp.reorder import Ordered, ReorderBuffer, ReorderLimits
from ovstream.rtp.rtcp import Goodbye, ReceiverReport, ReceptionReport, SenderReport, parse_rtcp
from ovstream.rtp.vp8 import Vp8Builder

BUILDERS: dict[str, Callable[[], UnitBuilder]] = {
    "h264": H264Builder,
    "h265": H265Builder,
    "vp8": Vp8Builder,
}


class RtpReceiver:
    """Receives one video stream; owns no socket and no clock.

    Args:
        codec: "h264", "h265" or "vp8".
        clock_rate_hz: Of the RTP timestamps.
        limits: How long missing packets are waited for.

    Attributes:
        clock: The sender's wall clock.
        received: Packets, with those that were not used.
        malformed: Bytes that were no packets.
        ended: The sender said BYE.
    """

    def __init__(self, codec: str, *, clock_rate_hz: int = 90_000, limits: ReorderLimits) -> None:
        self._order = ReorderBuffer(limits)
        self._assembler = Assembler(BUILDERS[codec]())
        self._rate_hz = clock_rate_hz
        self._ssrc: int | None = None
        self._last_report: tuple[int, int] | None = None  # middle 32 bits of NTP, arrival
        self._reported = (0, 0)
        self._transit: int | None = None
        self._jitter = 0.0
        self.clock = SenderClock(clock_rate_hz)
        self.received = self.malformed = 0
        self.ended = False

    @property
    def lost(self) -> int:
        """Packets that never came, or too late."""
        return self._order.lost

    @property
    def damaged_payloads(self) -> int:
        """Payloads that broke their format."""
        return self._assembler.malformed

    @property
    def deadline_ns(self) -> int | None:
        """When `poll` should be called; None while nothing is missing."""
        return self._order.deadline_ns

    def receive(self, packet: RtpPacket, *, now_ns: int) -> Iterator[RtpUnit]:
        """Takes a packet as it arrives; yields the access units that it completes."""
        self.received += 1
        return self._units(self._order.push(packet, now_ns=now_ns))

    def poll(self, *, now_ns: int) -> Iterator[RtpUnit]:
        """Yields access units behind packets that were waited for too long."""
        return self._units(self._order.poll(now_ns=now_ns))

    def receive_control(self, data: bytes, *, now_ns: int, wall_ns: int) -> None:
        """Takes an RTCP compound packet; damaged ones are counted.

        Args:
            data: As it arrived.
            now_ns: Monotonic clock.
            wall_ns: Our wall clock.
        """
        try:
            packets = parse_rtcp(data)
        except MalformedPacket:
            self.malformed += 1
            return
        for packet in packets:
            if isinstance(packet, SenderReport) and packet.ssrc == self._ssrc:
                timestamp = self._assembler.timestamps.near(packet.timestamp)
                self.clock.report(ntp=packet.ntp, timestamp=timestamp, wall_ns=wall_ns)
                self._last_report = (packet.ntp >> 16 & 0xFFFF_FFFF, now_ns)
            elif isinstance(packet, Goodbye) and self._ssrc in packet.ssrcs:
                self.ended = True

    def report(self, *, ssrc: int, now_ns: int) -> ReceiverReport:
        """The receiver report that is due now (RFC 3550 6.4.2, A.3); `ssrc` is ours."""
        if self._ssrc is None:
            return ReceiverReport(ssrc, ())
        expected = self.received - self._order.late + self.lost
        newly_expected, newly_lost = expected - self._reported[0], self.lost - self._reported[1]
        self._reported = (expected, self.lost)
        fraction = min(256 * newly_lost // newly_expected, 255) if newly_expected > 0 else 0
        middle, heard_ns = self._last_report or (0, now_ns)
        block = ReceptionReport(
            ssrc=self._ssrc,
            fraction_lost=max(fraction, 0),
            lost=self.lost,
            highest_sequence=self._order.highest_sequence,
            jitter=round(self._jitter),
            last_sender_report=middle,
            delay_since_last=(now_ns - heard_ns) * 65_536 // 1_000_000_000,
        )
        return ReceiverReport(ssrc, (block,))

    def _units(self, packets: Iterable[Ordered]) -> Iterator[RtpUnit]:
        for ordered in packets:
            if ordered.restart:
                self.clock.restart()
                self._ssrc = ordered.packet.ssrc
                self._last_report = self._transit = None
            yield from self._assembler.push(ordered)
            timestamp = self._assembler.timestamps.near(ordered.packet.timestamp)
            self._measure_jitter(timestamp, ordered.arrival_ns)

    def _measure_jitter(self, timestamp: int, arrival_ns: int) -> None:
        """RFC 3550 A.8."""
        transit = arrival_ns * self._rate_hz // 1_000_000_000 - timestamp
        if self._transit is not None:
            self._jitter += (abs(transit - self._transit) - self._jitter) / 16
        self._transit = transit
