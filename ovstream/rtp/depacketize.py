"""Payload formats put back together: what all codecs share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

from ovstream.nal import START_CODE
from ovstream.rtp.packet import MalformedPacket

# No picture is larger: 4096 x 2304 at 8 bit, 4:2:0, uncompressed, takes 14 MB.
MAX_UNIT_BYTES = 16 * 1024 * 1024


class UnitBuilder(Protocol):
    """Collects the payloads of one access unit, in order.

    Attributes:
        codec: As in `AccessUnit`.
        has_picture: Coded picture data is there, not parameter sets alone.
        keyframe: A decoder can start here.
        start: What the unit began with: units of one kind begin alike; None when its beginning is missing.
    """

    codec: str
    has_picture: bool
    keyframe: bool
    start: int | None

    def add(self, payload: bytes) -> None:
        """Takes the next payload.

        Raises:
            MalformedPacket: It breaks the format, or continues what did not begin.
        """
        ...

    def cut(self) -> None:
        """Drops a NAL unit whose rest will not come."""
        ...

    def begins_picture(self, payload: bytes) -> bool:
        """Whether `payload` can be the first of a picture, or stands before one."""
        ...

    def surely_begins(self) -> bool:
        """Whether nothing that matters can stand before what the unit began with."""
        ...

    def complete(self) -> bool:
        """Whether everything that was begun has its end."""
        ...

    def take(self) -> bytes:
        """The access unit; the builder is empty then."""
        ...


class NalBuilder(ABC):
    """What H.264 and H.265 share: NAL units in Annex B, some of them in fragments.

    Subclasses read payload headers and call `_nal` and `_fragment`.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self._fragment_at: int | None = None
        self.has_picture = False
        self.keyframe = False
        self.start: int | None = None

    def cut(self) -> None:
        """Drops a NAL unit whose rest will not come."""
        if self._fragment_at is not None:
            del self._data[self._fragment_at :]
            self._fragment_at = None

    def complete(self) -> bool:
        """Whether the last fragmented NAL unit has its end."""
        return self._fragment_at is None

    def take(self) -> bytes:
        """The access unit; the builder is empty then."""
        self.cut()
        data = bytes(self._data)
        self._data.clear()
        self.has_picture = self.keyframe = False
        self.start = None
        return data

    def extend(self, body: bytes) -> None:
        """Appends further bytes of the last NAL unit, for who takes payloads out of fragments elsewhere.

        Raises:
            MalformedPacket: The access unit becomes too large.
        """
        self._check_size(len(body))
        self._data += body

    @abstractmethod
    def _begin_nal(self, nal: bytes) -> None:
        """Notes what the first bytes of a NAL unit say about the access unit."""

    def _nal(self, nal: bytes) -> None:
        """Appends a whole NAL unit."""
        self._expect_no_fragment()
        self._append(nal)

    def _fragment(self, header: bytes, body: bytes, *, first: bool, last: bool) -> None:
        """Appends a part of a NAL unit; `header` is the one of the whole."""
        if not body:
            raise MalformedPacket("fragment without bytes")
        if first:
            self._expect_no_fragment()
            at = len(self._data)
            self._append(header + body)
            self._fragment_at = at
        elif self._fragment_at is None:
            raise MalformedPacket("fragment without a beginning")
        else:
            self._check_size(len(body))
            self._data += body
        if last:
            self._fragment_at = None

    def _append(self, nal: bytes) -> None:
        self._check_size(len(nal) + len(START_CODE))
        self._begin_nal(nal)
        self._data += START_CODE
        self._data += nal

    def _aggregated(self, payload: bytes, position: int) -> list[bytes]:
        """NAL units with 16-bit sizes (RFC 6184 5.7.1, RFC 7798 4.4.2), all or none."""
        nals = []
        while position < len(payload):
            size = int.from_bytes(payload[position : position + 2], "big")
            position += 2
            if not 0 < size <= len(payload) - position:
                raise MalformedPacket("aggregate with a wrong size")
            nals.append(payload[position : position + size])
            position += size
        return nals

    def _expect_no_fragment(self) -> None:
        if self._fragment_at is not None:
            self.cut()
            raise MalformedPacket("fragment without an end")

    def _check_size(self, more: int) -> None:
        if len(self._data) + more > MAX_UNIT_BYTES:
            raise MalformedPacket("access unit too large")
