"""What all RTP sources share: assembled units in, access units out through the keyframe gate."""

from __future__ import annotations

import time
from collections.abc import Iterable
from fractions import Fraction

from ovstream.errors import SourceProtocolError
from ovstream.nal import leading_nals
from ovstream.rtp import RtpReceiver, RtpUnit
from ovstream.sources.base import OnEvent, SourceStats
from ovstream.sources.gate import KeyframeGate, UnitQueue
from ovstream.sources.parameter_sets import ParameterSets
from ovstream.sources.picture_size import nals_size, vp8_size
from ovstream.sources.timeline import Timeline
from ovstream.types import AccessUnit

# Units that may be damaged at the beginning, before that means something else than a bad network.
MAX_UNREADABLE_UNITS = 250


class RtpIntake:
    """Turns the units of one source, over all its connections, into `AccessUnit`s.

    Each new connection counts `epoch` up and starts at a keyframe with `discontinuity` set. After a loss nothing
    is handed on until the next keyframe. Parameter sets that a stream leaves out are put in; time stamps go on
    over reconnects.

    Args:
        name: Of the source.
        stats: Its counters.
        max_pixels: Largest picture accepted.
        on_event: Told about connections, losses, changed parameters and clocks.

    Attributes:
        queue: Where units go; set by the owner before the first one.
    """

    queue: UnitQueue

    def __init__(self, name: str, *, stats: SourceStats, max_pixels: int, on_event: OnEvent) -> None:
        self._name = name
        self._stats = stats
        self._max_pixels = max_pixels
        self._on_event = on_event
        self._gate = KeyframeGate(stats)
        self._timeline = Timeline(from_zero=True)
        self._epoch = 0
        self._codec: str | None = None
        self._parameter_sets: ParameterSets | None = None
        self._size: tuple[int, int] | None = None
        self._clock_told = False
        self._joined = False
        self._changed = False
        self._unreadable = 0

    @property
    def last_arrival_ns(self) -> int | None:
        """Monotonic clock when the newest unit arrived; None before the first."""
        return self._timeline.last_arrival_ns

    @property
    def connected_before(self) -> bool:
        """Whether there was a connection."""
        return self._codec is not None

    @property
    def needs_keyframe(self) -> bool:
        """Nothing is handed on before a keyframe comes."""
        return self._gate.waits

    def connect(
        self, codec: str, *, clock_rate_hz: int = 90_000, parameter_sets: Iterable[bytes] = ()
    ) -> None:
        """A connection, or another format, begins.

        Args:
            codec: As in `AccessUnit`.
            clock_rate_hz: Of the RTP timestamps.
            parameter_sets: NAL units that were told out of band.

        Raises:
            SourceProtocolError: The pictures are larger than `max_pixels`.
        """
        if self._codec is not None:
            self._epoch += 1
            self._stats.reconnects += 1
            self._gate.lost()
        self._joined = False
        self._unreadable = 0
        other_codec = self._codec not in (None, codec)
        self._codec = codec
        self._timeline.connect(Fraction(1, clock_rate_hz))
        self._changed = other_codec
        if codec == "vp8":
            self._parameter_sets = None
        else:
            nals = list(parameter_sets)
            if self._parameter_sets is None or other_codec:
                self._parameter_sets = ParameterSets(codec)
            self._changed |= self._parameter_sets.absorb(nals)
            self._check_size(nals_size(nals, codec))
        size = f" {self._size[0]}x{self._size[1]}" if self._size and not other_codec else ""
        self._on_event("connected", f"{self._name}: {codec}{size}")

    def take(self, units: Iterable[RtpUnit], receiver: RtpReceiver) -> None:
        """Hands on what is whole.

        Raises:
            SourceProtocolError: What comes cannot be put together, or its pictures are too large.
        """
        for unit in units:
            if unit.discontinuity and (self._joined or not unit.damaged):
                self._lost(damaged=unit.damaged)
            if unit.damaged or not self._has_parameter_sets(unit):
                self._leave_out()
                continue
            if unit.restart or self._timeline.leaps(unit.timestamp, unit.arrival_ns):
                self._timeline.connect(self._timeline.time_base)
            self._joined = True
            self._gate.deliver(self._unit(unit, receiver), self.queue)

    def _has_parameter_sets(self, unit: RtpUnit) -> bool:
        if self._parameter_sets is None or self._parameter_sets.ready:
            return True
        self._parameter_sets.absorb(list(leading_nals(unit.data, unit.codec)))
        return self._parameter_sets.ready

    def _leave_out(self) -> None:
        """Drops a damaged unit; a connection begins inside of one, but not inside of hundreds."""
        if self._joined:
            return
        self._stats.dropped += 1
        self._stats.unusable += 1
        self._unreadable += 1
        if self._unreadable > MAX_UNREADABLE_UNITS:
            raise SourceProtocolError(f"{self._name} sends video that cannot be put together")

    def _lost(self, *, damaged: bool) -> None:
        self._stats.lost += 1
        self._gate.lost()
        what = "damaged data" if damaged else "packets are missing"
        self._on_event("lost", f"{self._name}: {what}; waiting for a keyframe")

    def _unit(self, unit: RtpUnit, receiver: RtpReceiver) -> AccessUnit:
        data, changed = self._with_parameter_sets(unit)
        capture_time_ns = receiver.clock.capture_time_ns(unit.timestamp)
        self._tell_clock(receiver)
        return AccessUnit(
            codec=unit.codec,
            data=data,
            pts=self._timeline.place(unit.timestamp, unit.arrival_ns),
            time_base=self._timeline.time_base,
            keyframe=unit.keyframe,
            params_changed=changed,
            arrival_ns=unit.arrival_ns,
            capture_time_ns=_arrived_ns(unit) if capture_time_ns is None else capture_time_ns,
            clock_quality="arrival" if capture_time_ns is None else "sender",
            epoch=self._epoch,
        )

    def _with_parameter_sets(self, unit: RtpUnit) -> tuple[bytes, bool]:
        """The unit's bytes, complete for a decoder that starts here, and whether the sequence changed."""
        changed, self._changed = self._changed, False
        data = unit.data
        if self._parameter_sets is None:
            changed |= self._check_size(vp8_size(data))
        else:
            before = data
            data, new = self._parameter_sets.complete(data, start=unit.keyframe)
            if new or (self._size is None and unit.keyframe):
                self._check_size(nals_size(leading_nals(before, unit.codec), unit.codec))
            changed |= new
        if changed:
            self._on_event("params", f"{self._name}: parameter sets changed")
        return data, changed

    def _check_size(self, size: tuple[int, int] | None) -> bool:
        """Remembers the size of the pictures; tells whether it was another one.

        Raises:
            SourceProtocolError: More than `max_pixels`.
        """
        if size is None or size == self._size:
            return False
        if size[0] * size[1] > self._max_pixels:
            raise SourceProtocolError(
                f"{self._name} sends {size[0]}x{size[1]}, more than max_pixels = {self._max_pixels}"
            )
        before, self._size = self._size, size
        return before is not None

    def _tell_clock(self, receiver: RtpReceiver) -> None:
        offset_ns = receiver.clock.offset_ns
        if receiver.clock.quality != "arrival" or self._clock_told or offset_ns is None:
            return
        self._clock_told = True
        detail = f"its clock is {offset_ns / 1e9:+.0f} s off; capture times are times of arrival"
        self._on_event("fallback", f"{self._name}: {detail}")


def _arrived_ns(unit: RtpUnit) -> int:
    return time.time_ns() - (time.monotonic_ns() - unit.arrival_ns)
