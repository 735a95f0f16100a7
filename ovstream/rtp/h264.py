"""H.264 over RTP (RFC 6184), packetization modes 0 and 1."""

from __future__ import annotations

from ovstream.nal import recovery_frame_cnt
from ovstream.rtp.depacketize import NalBuilder
from ovstream.rtp.packet import MalformedPacket

# Payload types beyond nal_unit_type, RFC 6184 table 1.
STAP_A = 24
FU_A = 28
IDR_SLICE, SEI, SPS, ACCESS_UNIT_DELIMITER = 5, 6, 7, 9
FIRST_SLICES = frozenset({1, 2, IDR_SLICE})
SLICES = frozenset(range(1, 6))


class H264Builder(NalBuilder):
    """Collects the NAL units of one access unit."""

    codec = "h264"

    def add(self, payload: bytes) -> None:
        """Takes a single NAL unit, STAP-A or FU-A."""
        kind = payload[0] & 0x1F
        if 1 <= kind < STAP_A:
            self._nal(payload)
        elif kind == STAP_A:
            for nal in self._aggregated(payload, 1):
                self._nal(nal)
        elif kind == FU_A and len(payload) > 2:
            # RFC 6184 5.8: FU indicator has F and NRI, FU header S, E, R and the type
            header = payload[0] & 0xE0 | payload[1] & 0x1F
            first, last = bool(payload[1] & 0x80), bool(payload[1] & 0x40)
            self._fragment(bytes((header,)), payload[2:], first=first, last=last)
        else:
            raise MalformedPacket(f"payload type {kind} is not of packetization mode 0 or 1")

    def begins_picture(self, payload: bytes) -> bool:
        """Whether `payload` starts with first_mb_in_slice 0, or with a NAL unit before the first slice."""
        kind, at = payload[0] & 0x1F, 1
        if kind == STAP_A and len(payload) > 4:
            kind, at = payload[3] & 0x1F, 4
        elif kind == FU_A and len(payload) > 2:
            if not payload[1] & 0x80:
                return False
            kind, at = payload[1] & 0x1F, 2
        return kind not in SLICES or _is_first_slice(kind, payload[at : at + 1])

    def surely_begins(self) -> bool:
        """Whether the unit began with a delimiter, or an SPS: only that stands before one (H.264 7.4.1.2.3)."""
        return self.start in (ACCESS_UNIT_DELIMITER, SPS)

    def _begin_nal(self, nal: bytes) -> None:
        kind = nal[0] & 0x1F
        if self.start is None and (kind not in SLICES or _is_first_slice(kind, nal[1:2])):
            self.start = kind
        self.has_picture |= kind in SLICES
        self.keyframe |= kind == IDR_SLICE or (kind == SEI and recovery_frame_cnt(nal) == 0)


def _is_first_slice(kind: int, following: bytes) -> bool:
    """first_mb_in_slice is ue(v): a first bit of 1 means 0 (H.264 7.3.3, 9.1)."""
    return kind in FIRST_SLICES and following >= b"\x80"
