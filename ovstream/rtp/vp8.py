"""VP8 over RTP (RFC 7741)."""

from __future__ import annotations

from ovstream.rtp.depacketize import MAX_UNIT_BYTES
from ovstream.rtp.packet import MalformedPacket


class Vp8Builder:
    """Collects the partitions of one frame."""

    codec = "vp8"

    def __init__(self) -> None:
        self._data = bytearray()
        self.start: int | None = None
        self.has_picture = self.keyframe = False

    def add(self, payload: bytes) -> None:
        """Takes the next part of the frame."""
        body = payload[descriptor_bytes(payload) :]
        if not body:
            raise MalformedPacket("VP8 payload without a frame")
        if len(self._data) + len(body) > MAX_UNIT_BYTES:
            raise MalformedPacket("frame too large")
        begins = self.begins_picture(payload)
        if begins == bool(self._data):
            raise MalformedPacket("frame without an end" if begins else "frame without a beginning")
        if begins:
            self.start = 0
            self.keyframe = not body[0] & 1  # inverse key frame flag, RFC 6386 9.1
        self._data += body
        self.has_picture = True

    def cut(self) -> None:
        """Partitions have no ends of their own: nothing to drop."""

    def begins_picture(self, payload: bytes) -> bool:
        """Whether this is the start of the first partition: S = 1, PID = 0 (RFC 7741 4.2)."""
        return payload[0] & 0x17 == 0x10

    def surely_begins(self) -> bool:
        """Whether the frame began: its first byte is marked, so this is certain."""
        return self.start is not None

    def complete(self) -> bool:
        """The marker bit alone tells the end."""
        return True

    def take(self) -> bytes:
        """The frame; the builder is empty then."""
        data = bytes(self._data)
        self._data.clear()
        self.start = None
        self.has_picture = self.keyframe = False
        return data


def descriptor_bytes(payload: bytes) -> int:
    """Length of the payload descriptor (RFC 7741 4.2): X, then I, L, T, K and what they announce.

    Raises:
        MalformedPacket: The payload ends inside.
    """
    size = 1
    if payload[0] & 0x80 and len(payload) > 1:
        flags = payload[1]
        size = 2
        if flags & 0x80:  # I: PictureID of 7 or 15 bits
            long_id = size < len(payload) and payload[size] & 0x80
            size += 2 if long_id else 1
        size += bool(flags & 0x40) + bool(flags & 0x30)  # L: TL0PICIDX; T or K: TID, Y, KEYIDX in one byte
    if size > len(payload) or (payload[0] & 0x80 and len(payload) < 2):
        raise MalformedPacket("VP8 payload descriptor is cut")
    return size
