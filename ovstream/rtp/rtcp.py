"""RTCP packets (RFC 3550 6): sender reports and BYE in, receiver reports out."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from ovstream.rtp.packet import VERSION, MalformedPacket

SENDER_REPORT, RECEIVER_REPORT, SOURCE_DESCRIPTION, BYE = 200, 201, 202, 203
CNAME = 1
REPORT_BLOCK = struct.Struct("!IIIIII")
SENDER_INFO = struct.Struct("!IQIII")


class ReceptionReport(NamedTuple):
    """What one receiver says about one sender (RFC 3550 6.4.1).

    Attributes:
        ssrc: Of the sender.
        fraction_lost: Since the report before, in 1/256.
        lost: Since the beginning; negative when packets came twice.
        highest_sequence: Extended highest sequence number received.
        jitter: Interarrival jitter in timestamp units.
        last_sender_report: Middle 32 bits of the NTP time in the last sender report; 0 for none.
        delay_since_last: Since then, in 1/65536 seconds.
    """

    ssrc: int
    fraction_lost: int
    lost: int
    highest_sequence: int
    jitter: int
    last_sender_report: int
    delay_since_last: int

    def to_bytes(self) -> bytes:
        """The report block on the wire."""
        lost = max(-0x80_0000, min(self.lost, 0x7F_FFFF)) & 0xFF_FFFF
        return REPORT_BLOCK.pack(
            self.ssrc,
            self.fraction_lost << 24 | lost,
            self.highest_sequence & 0xFFFF_FFFF,
            self.jitter & 0xFFFF_FFFF,
            self.last_sender_report,
            self.delay_since_last & 0xFFFF_FFFF,
        )

    @classmethod
    def parse(cls, data: bytes) -> ReceptionReport:
        """Reads a report block of 24 bytes."""
        ssrc, lost, highest, jitter, last, delay = REPORT_BLOCK.unpack(data)
        signed = (lost & 0xFF_FFFF) - (lost << 1 & 0x100_0000)
        return cls(ssrc, lost >> 24, signed, highest, jitter, last, delay)


class SenderReport(NamedTuple):
    """The sender's clocks at one moment (RFC 3550 6.4.1).

    Attributes:
        ssrc: Of the sender.
        ntp: 64-bit NTP timestamp.
        timestamp: RTP timestamp of the same moment, 32 bits.
        packets: Sent so far.
        octets: Sent so far, payload only.
    """

    ssrc: int
    ntp: int
    timestamp: int
    packets: int
    octets: int

    def to_bytes(self) -> bytes:
        """The packet on the wire, without report blocks."""
        return _packet(SENDER_REPORT, 0, SENDER_INFO.pack(*self))


class ReceiverReport(NamedTuple):
    """What a receiver says (RFC 3550 6.4.2)."""

    ssrc: int
    reports: tuple[ReceptionReport, ...]

    def to_bytes(self) -> bytes:
        """The packet on the wire."""
        blocks = b"".join(report.to_bytes() for report in self.reports)
        return _packet(RECEIVER_REPORT, len(self.reports), self.ssrc.to_bytes(4, "big") + blocks)


class Goodbye(NamedTuple):
    """The end of some senders (RFC 3550 6.6)."""

    ssrcs: tuple[int, ...]

    def to_bytes(self) -> bytes:
        """The packet on the wire."""
        return _packet(BYE, len(self.ssrcs), b"".join(ssrc.to_bytes(4, "big") for ssrc in self.ssrcs))


class SourceDescription(NamedTuple):
    """The canonical name of one participant (RFC 3550 6.5)."""

    ssrc: int
    cname: bytes

    def to_bytes(self) -> bytes:
        """The packet on the wire."""
        item = bytes((CNAME, len(self.cname))) + self.cname + b"\0"
        chunk = self.ssrc.to_bytes(4, "big") + item
        return _packet(SOURCE_DESCRIPTION, 1, chunk + bytes(-len(chunk) % 4))


RtcpPacket = SenderReport | ReceiverReport | Goodbye


def parse_rtcp(data: bytes) -> list[RtcpPacket]:
    """Reads a compound packet; kinds that nobody here needs are left out.

    Raises:
        MalformedPacket: A packet in it is longer than the bytes, or too short for its kind.
    """
    try:
        return list(_parse(data))
    except struct.error:
        pass
    raise MalformedPacket("RTCP packet is cut")


def _parse(data: bytes) -> Iterator[RtcpPacket]:
    position = 0
    while position < len(data):
        first, kind, words = struct.unpack_from("!BBH", data, position)
        body = data[position + 4 : position + 4 + 4 * words]
        if first >> 6 != VERSION or len(body) < 4 * words:
            raise MalformedPacket("no RTCP header")
        position += 4 + 4 * words
        count = first & 0x1F
        if kind == SENDER_REPORT:
            yield SenderReport(*SENDER_INFO.unpack_from(body))
        elif kind == RECEIVER_REPORT:
            blocks = (body[at : at + REPORT_BLOCK.size] for at in range(4, 4 + 24 * count, 24))
            (ssrc,) = struct.unpack_from("!I", body)
            yield ReceiverReport(ssrc, tuple(ReceptionReport.parse(block) for block in blocks))
        elif kind == BYE:
            yield Goodbye(struct.unpack_from(f"!{count}I", body))


def _packet(kind: int, count: int, body: bytes) -> bytes:
    return struct.pack("!BBH", VERSION << 6 | count, kind, len(body) // 4) + body
