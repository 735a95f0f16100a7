"""Time stamps that keep rising when a stream is connected again."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(slots=True)
class Timeline:
    """Keeps pts rising over reconnects: a new connection goes on where the old one would be by now."""

    time_base: Fraction = Fraction(1, 90_000)
    shift: int = 0
    last_pts: int = 0
    last_arrival_ns: int | None = None
    joined: bool = False

    def connect(self, time_base: Fraction) -> None:
        """The next pts belongs to a new connection, or to a clock that was set."""
        self.last_pts = round(self.last_pts * self.time_base / time_base)
        self.time_base, self.joined = time_base, False

    def place(self, pts: int, arrival_ns: int) -> int:
        """Moves a pts to the common line."""
        if not self.joined:
            self.shift = self._resume_pts(arrival_ns) - pts if self.last_arrival_ns else 0
            self.joined = True
        pts += self.shift
        if self.last_arrival_ns is None or pts > self.last_pts:
            self.last_pts, self.last_arrival_ns = pts, arrival_ns
        return pts

    def leap_seconds(self, pts: int, arrival_ns: int) -> float:
        """How far a pts is from where its arrival puts it."""
        if not self.joined or self.last_arrival_ns is None:
            return 0.0
        return float((pts + self.shift - self._resume_pts(arrival_ns)) * self.time_base)

    def _resume_pts(self, arrival_ns: int) -> int:
        assert self.last_arrival_ns is not None
        away_seconds = Fraction(arrival_ns - self.last_arrival_ns, 1_000_000_000)
        return self.last_pts + max(round(away_seconds / self.time_base), 1)
