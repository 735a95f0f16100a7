"""Access units out of ordered packets: where one ends, and whether all of it is there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ovstream.rtp.depacketize import UnitBuilder
from ovstream.rtp.packet import MalformedPacket, RtpPacket, Unwrapper
from ovstream.rtp.reorder import Ordered


@dataclass(frozen=True, slots=True)
class RtpUnit:
    """One access unit as it came out of its packets.

    Attributes:
        codec: "h264", "h265" or "vp8".
        data: Annex B, or one VP8 frame. When `damaged`: the NAL units that arrived whole; may be empty.
        timestamp: RTP timestamp, unwrapped; starts anew with `restart`.
        keyframe: A decoder can start here.
        damaged: Packets of this unit are missing or malformed, or may be.
        discontinuity: `damaged`, or packets between the unit before and this one are missing.
        restart: The sender started again: `timestamp` does not go on from the unit before.
        arrival_ns: Monotonic clock when the last of its packets arrived.
    """

    codec: str
    data: bytes = field(repr=False)
    timestamp: int
    keyframe: bool
    damaged: bool
    discontinuity: bool
    restart: bool
    arrival_ns: int


class Assembler:
    """Collects the packets of one access unit after the other.

    A unit ends at its marker bit, so it is not delayed; failing that, where the timestamp changes. Parameter sets
    that a sender ends with a marker stay with the picture behind them. A sender that sets the marker inside of
    pictures is found out by the rest that follows; from then on only the timestamp counts.

    After a gap the beginning of a unit counts as whole when nothing that matters can stand before it, or when it
    begins like the last intact unit of its kind (keyframe or not). The very first unit gets the benefit of the
    doubt: its parameter sets may be out of band.

    Args:
        builder: Of the codec.

    Attributes:
        timestamps: Unwraps RTP timestamps of this stream.
        malformed: Payloads that broke their format.
    """

    def __init__(self, builder: UnitBuilder) -> None:
        self._builder = builder
        self._timestamp = 0
        self._ended_timestamp: int | None = None
        self._ended_bare = False  # without a picture
        self._trust_marker = True
        self._usual_start: dict[bool, int | None] = {}
        self._first = True
        self._joined = self._begun = self._gap = False
        self._arrival_ns = 0
        self._discontinuity = self._restart = self._damaged = self._unsure = False
        self.timestamps = Unwrapper(32)
        self.malformed = 0

    def push(self, ordered: Ordered) -> Iterator[RtpUnit]:
        """Takes the next packet; yields what it completes: usually nothing or one unit, at most two."""
        packet = ordered.packet
        if ordered.gap:
            self._cut()
        if ordered.restart:
            yield from self._end()
            self.timestamps.restart()
            self._ended_timestamp, self._restart = None, True
        timestamp = self.timestamps.advance(packet.timestamp)
        if not packet.payload:  # only probes the network
            return
        if self._begun and timestamp != self._timestamp:
            yield from self._change_timestamp()
        self._add(packet, timestamp)
        self._arrival_ns = max(self._arrival_ns, ordered.arrival_ns)
        if packet.marker and self._trust_marker and (self._builder.has_picture or self._damaged):
            yield from self._end()

    def _cut(self) -> None:
        """Packets are missing: a unit that is open may have lost its end, the next one its beginning."""
        self._damaged |= self._begun
        self._builder.cut()
        self._gap = True

    def _change_timestamp(self) -> Iterator[RtpUnit]:
        """Ends the open unit; parameter sets alone wait for their picture."""
        if self._builder.has_picture or self._damaged:
            yield from self._end()

    def _add(self, packet: RtpPacket, timestamp: int) -> None:
        if not self._begun:
            self._begun = True
            self._unsure |= self._gap
            if timestamp == self._ended_timestamp:
                inside = not self._builder.begins_picture(packet.payload)
                self._trust_marker &= not inside
                self._damaged |= (
                    inside or self._ended_bare
                )  # what stood before the picture went with that unit
        self._discontinuity |= self._gap and self._joined
        self._joined, self._gap = True, False
        self._timestamp = timestamp
        try:
            self._builder.add(packet.payload)
        except MalformedPacket:
            self.malformed += not self._damaged and not self._unsure  # else the gap explains it
            self._damaged = True

    def _end(self) -> Iterator[RtpUnit]:
        if not self._begun:
            return
        builder = self._builder
        self._ended_bare = not builder.has_picture
        keyframe, start = builder.keyframe, builder.start
        damaged = self._damaged or not builder.has_picture or not builder.complete() or start is None
        if self._unsure and not damaged and not builder.surely_begins():
            damaged = self._usual_start.get(keyframe, start if self._first else None) != start
        elif not damaged:
            self._usual_start[keyframe] = start
        yield RtpUnit(
            codec=builder.codec,
            data=builder.take(),
            timestamp=self._timestamp,
            keyframe=keyframe,
            damaged=damaged,
            discontinuity=self._discontinuity or damaged,
            restart=self._restart,
            arrival_ns=self._arrival_ns,
        )
        self._ended_timestamp = self._timestamp
        self._first = self._begun = self._discontinuity = self._restart = self._damaged = self._unsure = False
