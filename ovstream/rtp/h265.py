"""H.265 over RTP (RFC 7798), without decoding order numbers."""

from __future__ import annotations

from ovstream.rtp.depacketize import NalBuilder
from ovstream.rtp.packet import MalformedPacket

# Payload types beyond nal_unit_type, RFC 7798 4.4.
AGGREGATION = 48
FRAGMENTATION = 49
PACI = 50
VPS, ACCESS_UNIT_DELIMITER = 32, 35
RANDOM_ACCESS = range(16, 24)  # IRAP pictures, H.265 table 7-1


class H265Builder(NalBuilder):
    """Collects the NAL units of one access unit."""

    codec = "h265"

    def add(self, payload: bytes) -> None:
        """Takes a single NAL unit, an aggregation packet, a fragmentation unit, or one of them inside PACI."""
        kind = _kind(payload)
        if kind == PACI:
            payload = unwrap_paci(payload)
            kind = _kind(payload)
        if kind < AGGREGATION:
            if len(payload) < 3:
                raise MalformedPacket("NAL unit without bytes")
            self._nal(payload)
        elif kind == AGGREGATION:
            for nal in self._aggregated(payload, 2):
                self._nal(nal)
        elif kind == FRAGMENTATION and len(payload) > 3:
            first, last = bool(payload[2] & 0x80), bool(payload[2] & 0x40)
            self._fragment(_fragment_header(payload), payload[3:], first=first, last=last)
        else:
            raise MalformedPacket(f"payload type {kind}")

    def begins_picture(self, payload: bytes) -> bool:
        """Whether `payload` starts with the first slice segment, or with a NAL unit before it."""
        try:
            kind, at = _kind(payload), 2
            if kind == PACI:
                payload = unwrap_paci(payload)
                kind = _kind(payload)
        except MalformedPacket:
            return False
        if kind == AGGREGATION and len(payload) > 6:
            kind, at = payload[4] >> 1 & 0x3F, 6
        elif kind == FRAGMENTATION and len(payload) > 3:
            if not payload[2] & 0x80:
                return False
            kind, at = payload[2] & 0x3F, 3
        return kind >= VPS or payload[at : at + 1] >= b"\x80"  # first_slice_segment_in_pic_flag

    def surely_begins(self) -> bool:
        """Whether the unit began with a delimiter, or a VPS: only that stands before one (H.265 7.4.2.4.4)."""
        return self.start in (ACCESS_UNIT_DELIMITER, VPS)

    def _begin_nal(self, nal: bytes) -> None:
        kind = _kind(nal)
        if self.start is None and (kind >= VPS or nal[2:3] >= b"\x80"):
            self.start = kind
        self.has_picture |= kind < VPS
        self.keyframe |= kind in RANDOM_ACCESS


def unwrap_paci(payload: bytes) -> bytes:
    """The payload inside a PACI packet (RFC 7798 4.4.4): A, cType (6), PHSsize (5), F0..2, Y, then extensions.

    Raises:
        MalformedPacket: Too short, or PACI inside PACI.
    """
    fields = int.from_bytes(payload[2:4], "big")
    forbidden, kind, extension_bytes = fields >> 15, fields >> 9 & 0x3F, fields >> 4 & 0x1F
    inner = payload[4 + extension_bytes :]
    if kind == PACI or not inner:
        raise MalformedPacket("PACI without a payload")
    return bytes((forbidden << 7 | kind << 1 | payload[0] & 1, payload[1])) + inner


def _kind(payload: bytes) -> int:
    if len(payload) < 2:
        raise MalformedPacket("payload header is cut")
    return payload[0] >> 1 & 0x3F


def _fragment_header(payload: bytes) -> bytes:
    """NAL unit header of the whole: F, the type of the FU header, layer and temporal id (RFC 7798 4.4.3)."""
    return bytes((payload[0] & 0x81 | (payload[2] & 0x3F) << 1, payload[1]))
