"""When a picture was taken: the sender's wall clock out of RTCP sender reports, never trusted blindly."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from ovstream.types import ClockQuality

NTP_TO_UNIX_SECONDS = 2_208_988_800  # from 1900 to 1970, RFC 3550 4
# A camera whose clock is farther off than this was never set; its idea of the time would only mislead.
MAX_OFFSET_NS = 60 * 1_000_000_000
# A report that contradicts the one before by more than this means that the camera's clock was set.
STEP_NS = 500_000_000
WINDOW_REPORTS = 32
DRIFT_NEEDS_NS = 10 * 1_000_000_000


class _Report(NamedTuple):
    sender_ns: int
    timestamp: int
    wall_ns: int


class SenderClock:
    """Maps RTP timestamps to the sender's wall clock.

    Args:
        clock_rate_hz: Of the RTP timestamps.
    """

    def __init__(self, clock_rate_hz: int) -> None:
        self._rate_hz = clock_rate_hz
        self._reports: deque[_Report] = deque(maxlen=WINDOW_REPORTS)

    @property
    def quality(self) -> ClockQuality:
        """Says "none" before the first report, "arrival" while its clock is not plausible, then "sender"."""
        offset_ns = self.offset_ns
        if offset_ns is None:
            return "none"
        return "sender" if abs(offset_ns) <= MAX_OFFSET_NS else "arrival"

    @property
    def offset_ns(self) -> int | None:
        """Sender's clock minus ours, too small by the shortest way of a report; None before the first.

        Delay only makes a report look older: of those remembered, the largest difference is the best.
        """
        return max((report.sender_ns - report.wall_ns for report in self._reports), default=None)

    @property
    def drift_ppm(self) -> float | None:
        """How much faster than ours the sender's clock runs; None before reports cover 10 s."""
        if not self._reports:
            return None
        first, last = self._reports[0], self._reports[-1]
        passed_ns = last.wall_ns - first.wall_ns
        if passed_ns < DRIFT_NEEDS_NS:
            return None
        return ((last.sender_ns - first.sender_ns) / passed_ns - 1.0) * 1e6

    def report(self, *, ntp: int, timestamp: int, wall_ns: int) -> None:
        """Takes a sender report.

        Args:
            ntp: 64-bit NTP timestamp; 0 when the sender has no clock.
            timestamp: The same moment as an RTP timestamp, unwrapped like those of the stream.
            wall_ns: Our wall clock when the report arrived.
        """
        if ntp == 0:
            return
        sender_ns = ((ntp * 1_000_000_000) >> 32) - NTP_TO_UNIX_SECONDS * 1_000_000_000
        if self._reports and abs(self._at(timestamp) - sender_ns) > STEP_NS:
            self._reports.clear()
        self._reports.append(_Report(sender_ns, timestamp, wall_ns))

    def restart(self) -> None:
        """Forgets everything: the RTP timestamps start anew."""
        self._reports.clear()

    def capture_time_ns(self, timestamp: int) -> int | None:
        """Sender's wall clock (UTC, Unix) at an RTP timestamp; None without a plausible report."""
        return self._at(timestamp) if self.quality == "sender" else None

    def _at(self, timestamp: int) -> int:
        newest = self._reports[-1]
        return newest.sender_ns + (timestamp - newest.timestamp) * 1_000_000_000 // self._rate_hz
