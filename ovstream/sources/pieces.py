"""Access units out of FFmpeg's RTP packets, without FFmpeg's parsers.

With its parsers on, FFmpeg joins what comes: a packet that a network repeats ends up twice inside of a picture, a read
that was interrupted cuts the picture it met, and a picture without its beginning is handed out like any other. Without
them each RTP packet is seen as it was taken out of its payload format, so that all three can be told.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ovstream.nal import START_CODE, nal_type
from ovstream.rtp import MalformedPacket
from ovstream.rtp.h264 import H264Builder
from ovstream.rtp.h265 import H265Builder

# NAL units that stand before the first slice of their picture: H.264 7.4.1.2.3, H.265 7.4.2.4.4.
_LEADING = {
    "h264": frozenset({6, 7, 8, 9, 14, 15, 16, 17, 18}),
    "h265": frozenset({32, 33, 34, 35, 39, 41, 42, 43, 44}),
}
_SLICES = {"h264": range(1, 6), "h265": range(32)}
# Of several video tracks FFmpeg sets the clocks anew at each sender report, which may come inside of a picture.
SLACK_TICKS = 900


@dataclass(frozen=True, slots=True)
class Part:
    """What FFmpeg handed out: an access unit, or what one RTP packet brought of it.

    Attributes:
        data: Annex B; behind the first packet of a fragmented NAL unit only its further bytes.
        pts: As FFmpeg says; None where it does not know.
        dts: Likewise.
        duration: 0 where it does not know.
        keyframe: A decoder can start here; False for what one packet brought.
        damaged: Bytes are missing, or may be.
        arrival_ns: Monotonic clock, of the last packet.
        sender_time_ns: The sender's wall clock (RTCP sender report), or None.
    """

    data: bytes
    pts: int | None
    dts: int | None
    duration: int
    keyframe: bool
    damaged: bool
    arrival_ns: int
    sender_time_ns: int | None


class PieceAssembler:
    """Collects the packets of one access unit after the other; a unit is known to end when the next one begins.

    Packets that come twice count once, units whose beginning is missing are flagged. What is open when a connection
    ends is dropped: nothing tells whether it was whole.

    Args:
        codec: "h264" or "h265".
    """

    def __init__(self, codec: str) -> None:
        self._codec = codec
        self._builder = H264Builder() if codec == "h264" else H265Builder()
        self._before: tuple[bytes, int | None] | None = None
        self._unit: Part | None = None  # the unit that is open; its data is in the builder

    def push(self, piece: Part) -> Part | None:
        """Takes what the next packet brought; returns the unit before when it is complete."""
        if self._before == (piece.data, piece.pts):
            return None
        self._before = piece.data, piece.pts
        nals = piece.data.split(START_CODE)[1:] if piece.data.startswith(START_CODE) else []
        whole = self._take() if self._ends_before(piece, nals) else None
        if self._unit is None:
            if not nals and whole is None:  # the rest of a picture from before we joined
                return None
            self._unit = replace(piece, data=b"")
        self._unit = replace(
            self._unit,
            pts=self._unit.pts if piece.pts is None or self._is_timed else piece.pts,
            damaged=self._unit.damaged or piece.damaged or not self._add(piece.data, nals),
            arrival_ns=piece.arrival_ns,
            sender_time_ns=self._unit.sender_time_ns or piece.sender_time_ns,
        )
        return whole

    @property
    def _is_timed(self) -> bool:
        """Whether the open unit has its time: that of its picture."""
        return self._builder.has_picture and self._unit is not None and self._unit.pts is not None

    def _ends_before(self, piece: Part, nals: list[bytes]) -> bool:
        """Whether the open unit is complete; parameter sets alone wait for their picture."""
        if self._unit is None or not (self._builder.has_picture or self._unit.damaged):
            return False
        if nals and self._begins_unit(nals[0]):
            return True
        if piece.pts is None or self._unit.pts is None:
            return False
        return abs(piece.pts - self._unit.pts) > SLACK_TICKS

    def _begins_unit(self, nal: bytes) -> bool:
        if self._is_slice(nal):
            return self._builder.begins_picture(nal)
        return bool(nal) and nal_type(nal, self._codec) in _LEADING[self._codec]

    def _is_slice(self, nal: bytes) -> bool:
        return bool(nal) and nal_type(nal, self._codec) in _SLICES[self._codec]

    def _add(self, data: bytes, nals: list[bytes]) -> bool:
        """Appends to the open unit; returns whether it is whole as far as can be told."""
        try:
            if not nals:
                begun = self._builder.start is not None
                self._builder.extend(data)
                return begun
            return all([self._add_nal(nal) for nal in nals])
        except MalformedPacket:
            return False

    def _add_nal(self, nal: bytes) -> bool:
        if not nal:
            return False
        first_slice = self._is_slice(nal) and not self._builder.has_picture
        whole = not first_slice or self._builder.begins_picture(nal)
        self._builder.add(nal)
        return whole

    def _take(self) -> Part | None:
        unit, keyframe = self._unit, self._builder.keyframe
        self._unit = None
        data = self._builder.take()
        return None if unit is None else replace(unit, data=data, keyframe=keyframe)
