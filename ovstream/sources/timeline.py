"""Time stamps that keep rising when a stream is connected again."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from ovstream.sources.pacing import LONGEST_GAP_SECONDS

LONGEST_REORDER_SECONDS = 1.0  # 16 pictures, H.264 A.3.1, at 16 a second


@dataclass(slots=True)
class Timeline:
    """Keeps pts rising over reconnects: a new connection goes on where the old one would be by now.

    Attributes:
        from_zero: The first pts of all becomes 0; else it stays as it is.
        time_base: Of the running connection.
        shift: What is added to its pts.
        last_pts: The largest so far.
        last_arrival_ns: When that one arrived; None before the first.
        joined: The running connection has its shift.
    """

    from_zero: bool = False
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
            self.shift = self._first_pts(pts, arrival_ns) - pts
            self.joined = True
        pts += self.shift
        if self.last_arrival_ns is None or pts > self.last_pts:
            self.last_pts, self.last_arrival_ns = pts, arrival_ns
        return pts

    def leaps(self, pts: int, arrival_ns: int) -> bool:
        """Whether the sender set its clock: pts runs ahead of its arrival, farther back than reordering goes, or stands."""
        if not self.joined or self.last_arrival_ns is None:
            return False
        ahead = pts + self.shift - self._resume_pts(arrival_ns)
        back = self.last_pts - pts - self.shift
        if back == 0 and arrival_ns - self.last_arrival_ns > LONGEST_REORDER_SECONDS * 1e9:
            return True
        return ahead * self.time_base > LONGEST_GAP_SECONDS or back * self.time_base > LONGEST_REORDER_SECONDS

    def _first_pts(self, pts: int, arrival_ns: int) -> int:
        if self.last_arrival_ns is not None:
            return self._resume_pts(arrival_ns)
        return 0 if self.from_zero else pts

    def _resume_pts(self, arrival_ns: int) -> int:
        assert self.last_arrival_ns is not None
        away_seconds = Fraction(arrival_ns - self.last_arrival_ns, 1_000_000_000)
        return self.last_pts + max(round(away_seconds / self.time_base), 1)
