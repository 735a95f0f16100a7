"""Packets back in order, within bounds of number and time; what stays missing becomes a gap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ovstream.rtp.packet import RtpPacket, Unwrapper

# RFC 3550 A.1: farther away than this, a sequence number is a restart of the sender once its successor comes too.
MAX_DROPOUT = 3000
MAX_MISORDER = 100


@dataclass(frozen=True, slots=True)
class ReorderLimits:
    """How long a missing packet is waited for.

    Attributes:
        packets: Most packets kept behind a gap; 0 where the network keeps the order (TCP).
        wait_ns: Longest time that the first packet behind a gap is kept.
    """

    packets: int = 256
    wait_ns: int = 100_000_000


IN_ORDER = ReorderLimits(packets=0, wait_ns=0)


class Ordered(NamedTuple):
    """A packet at its place.

    Attributes:
        packet: As it arrived.
        gap: Packets before it are missing.
        restart: The sender started again: neither counter goes on from the packet before.
        arrival_ns: Monotonic clock.
    """

    packet: RtpPacket
    gap: bool
    restart: bool
    arrival_ns: int


class _Waiting(NamedTuple):
    packet: RtpPacket
    arrival_ns: int


class ReorderBuffer:
    """Gives packets in order of their sequence numbers, each at most once.

    A sequence number far away, or another SSRC, is believed when the packet after it confirms it.

    Args:
        limits: Bounds; a packet is given up when either is reached.

    Attributes:
        lost: Packets given up, or skipped by a jump that is no restart.
        late: Packets that came twice, after they were given up, or from a sender that was not confirmed.
    """

    def __init__(self, limits: ReorderLimits) -> None:
        self._limits = limits
        self._sequence = Unwrapper(16)
        self._next: int | None = None
        self._ssrc = 0
        self._waiting: dict[int, _Waiting] = {}
        self._candidate: _Waiting | None = None
        self._deadline_ns: int | None = None
        self.lost = 0
        self.late = 0

    @property
    def deadline_ns(self) -> int | None:
        """When `poll` will give up the next missing packet; None while nothing is missing."""
        return self._deadline_ns

    @property
    def highest_sequence(self) -> int:
        """Extended highest sequence number given out (RFC 3550 6.4.1)."""
        return (self._next or 0) - 1

    def push(self, packet: RtpPacket, *, now_ns: int) -> Iterator[Ordered]:
        """Takes a packet as it arrives; yields those whose turn has come."""
        if self._next is None:
            yield from self._restart([_Waiting(packet, now_ns)], first=True)
            return
        number = self._sequence.near(packet.sequence)
        ahead = number - self._next
        if packet.ssrc != self._ssrc or not -MAX_MISORDER <= ahead <= MAX_DROPOUT:
            yield from self._doubt(_Waiting(packet, now_ns))
            return
        self._candidate = None
        if ahead == 0 and not self._waiting:
            yield self._give(number, packet, now_ns, gap=False)
        elif ahead < 0 or number in self._waiting:
            self.late += 1
        else:
            self._waiting[number] = _Waiting(packet, now_ns)
            yield from self._release(now_ns)

    def poll(self, *, now_ns: int) -> Iterator[Ordered]:
        """Yields what waited too long, behind its gap."""
        if self._waiting:
            yield from self._release(now_ns)

    def flush(self) -> Iterator[Ordered]:
        """Yields everything that waits."""
        while self._waiting:
            yield from self._skip_to_waiting()

    def _release(self, now_ns: int) -> Iterator[Ordered]:
        yield from self._consecutive()
        while self._waiting:
            oldest_ns = min(waiting.arrival_ns for waiting in self._waiting.values())
            self._deadline_ns = oldest_ns + self._limits.wait_ns
            if len(self._waiting) <= self._limits.packets and now_ns < self._deadline_ns:
                return
            yield from self._skip_to_waiting()
        self._deadline_ns = None

    def _skip_to_waiting(self) -> Iterator[Ordered]:
        number = min(self._waiting)
        assert self._next is not None
        self.lost += number - self._next
        packet, arrival_ns = self._waiting.pop(number)
        yield self._give(number, packet, arrival_ns, gap=True)
        yield from self._consecutive()

    def _consecutive(self) -> Iterator[Ordered]:
        while self._next in self._waiting:
            packet, arrival_ns = self._waiting.pop(self._next)
            yield self._give(self._next, packet, arrival_ns, gap=False)

    def _give(self, number: int, packet: RtpPacket, arrival_ns: int, *, gap: bool) -> Ordered:
        self._sequence.advance(packet.sequence)
        self._next = number + 1
        return Ordered(packet, gap, False, arrival_ns)

    def _doubt(self, arrived: _Waiting) -> Iterator[Ordered]:
        before, self._candidate = self._candidate, arrived
        if before is None:
            return
        followed = (before.packet.sequence + 1) % 65_536 == arrived.packet.sequence
        if not followed or before.packet.ssrc != arrived.packet.ssrc:
            self.late += 1
            return
        yield from self.flush()
        yield from self._restart([before, arrived], first=False)

    def _restart(self, packets: list[_Waiting], *, first: bool) -> Iterator[Ordered]:
        jump = not first and packets[0].packet.ssrc == self._ssrc
        if jump and self._next is not None:
            self.lost += max(self._sequence.near(packets[0].packet.sequence) - self._next, 0)
        self._candidate = self._deadline_ns = None
        self._ssrc = packets[0].packet.ssrc
        self._sequence.restart()
        for index, (packet, arrival_ns) in enumerate(packets):
            number = self._sequence.near(packet.sequence)
            given = self._give(number, packet, arrival_ns, gap=index == 0)
            yield given._replace(restart=index == 0)
