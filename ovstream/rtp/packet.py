"""RTP packets (RFC 3550 5.1) and counters that wrap."""

from __future__ import annotations

import struct
from typing import NamedTuple

HEADER = struct.Struct("!BBHII")
VERSION = 2


class MalformedPacket(ValueError):  # noqa: N818 - counted by the receiver, never shown to users
    """Bytes that are no RTP packet, or a payload that breaks its format."""


class RtpPacket(NamedTuple):
    """One RTP packet without its header extension and padding, which nobody here reads.

    Attributes:
        sequence: 16 bits, wraps.
        timestamp: 32 bits, wraps.
        marker: Ends an access unit, with senders that keep to the rules.
        payload_type: 7 bits.
        ssrc: The sender's name of this stream, 32 bits.
        payload: May be empty: packets that only probe the network.
    """

    sequence: int
    timestamp: int
    marker: bool
    payload_type: int
    ssrc: int
    payload: bytes

    @classmethod
    def parse(cls, data: bytes) -> RtpPacket:
        """Reads a datagram or an interleaved frame.

        Raises:
            MalformedPacket: Not RTP version 2, or shorter than its header says.
        """
        if len(data) < HEADER.size or data[0] >> 6 != VERSION:
            raise MalformedPacket("no RTP header")
        flags, second, sequence, timestamp, ssrc = HEADER.unpack_from(data)
        start, end = HEADER.size + 4 * (flags & 0x0F), len(data)  # CSRC list
        if flags & 0x10:  # extension: profile, length in words
            start += 4 + 4 * int.from_bytes(data[start + 2 : start + 4], "big")
        if flags & 0x20:
            if not 0 < data[-1] <= end - start:
                raise MalformedPacket("padding is longer than the packet")
            end -= data[-1]
        if start > end:
            raise MalformedPacket("header is longer than the packet")
        return cls(sequence, timestamp, second >= 0x80, second & 0x7F, ssrc, data[start:end])

    def to_bytes(self) -> bytes:
        """The packet on the wire, with the shortest header."""
        second = self.marker << 7 | self.payload_type
        return HEADER.pack(VERSION << 6, second, self.sequence, self.timestamp, self.ssrc) + self.payload


class Unwrapper:
    """Turns a counter of `bits` bits that wraps into one that goes on.

    A value is taken to be nearest to the last one given to `advance`; the first stays as it is.
    """

    def __init__(self, bits: int) -> None:
        self._span = 1 << bits
        self._last: int | None = None

    def near(self, value: int) -> int:
        """The unwrapped value, without remembering it."""
        if self._last is None:
            return value
        forward = (value - self._last) % self._span
        return self._last + forward - (self._span if forward >= self._span // 2 else 0)

    def advance(self, value: int) -> int:
        """The unwrapped value; the next ones are near to it."""
        self._last = self.near(value)
        return self._last

    def restart(self) -> None:
        """Forgets the last value."""
        self._last = None
