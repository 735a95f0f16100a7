"""The sender's wall clock out of its reports."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovstream.rtp import SenderClock
from ovstream.rtp.clock import MAX_OFFSET_NS, NTP_TO_UNIX_SECONDS

SECOND = 1_000_000_000
NOON = 1_800_000_000 * SECOND


def ntp(unix_ns: int) -> int:
    """64-bit NTP timestamp, rounded up so that reading it gives `unix_ns` again."""
    return -(-((unix_ns + NTP_TO_UNIX_SECONDS * SECOND) << 32) // SECOND)


def report(
    clock: SenderClock, at_ns: int, *, offset_ns: int = 0, delay_ns: int = 0, drift: float = 0.0
) -> None:
    """A report about the moment `at_ns` of our clock; the stream's timestamps count from noon."""
    since = at_ns - NOON
    sender_ns = at_ns + offset_ns + round(since * drift)
    clock.report(ntp=ntp(sender_ns), timestamp=since * 90_000 // SECOND, wall_ns=at_ns + delay_ns)


def test_nothing_without_a_report() -> None:
    clock = SenderClock(90_000)
    assert (clock.quality, clock.offset_ns, clock.drift_ppm) == ("none", None, None)
    assert clock.capture_time_ns(0) is None
    clock.report(ntp=0, timestamp=0, wall_ns=NOON)  # RFC 3550 6.4.1: a sender without a clock
    assert clock.quality == "none"


@given(st.integers(-MAX_OFFSET_NS, MAX_OFFSET_NS), st.integers(-(10**7), 10**7))
def test_timestamps_become_the_senders_time(offset_ns: int, ticks: int) -> None:
    clock = SenderClock(90_000)
    report(clock, NOON, offset_ns=offset_ns)
    captured = clock.capture_time_ns(ticks)
    assert captured is not None
    assert abs(captured - (NOON + offset_ns + ticks * SECOND // 90_000)) <= 2
    assert clock.quality == "sender"


@given(st.lists(st.integers(0, SECOND // 10), min_size=1, max_size=30))
def test_the_fastest_report_tells_the_offset(delays_ns: list[int]) -> None:
    clock = SenderClock(90_000)
    for index, delay_ns in enumerate(delays_ns):
        report(clock, NOON + index * SECOND, offset_ns=5 * SECOND, delay_ns=delay_ns)
    assert clock.offset_ns == pytest.approx(5 * SECOND - min(delays_ns), abs=2)


@pytest.mark.parametrize("offset_ns", [-MAX_OFFSET_NS - SECOND, MAX_OFFSET_NS + SECOND, -NOON])
def test_a_clock_that_was_never_set_is_not_used(offset_ns: int) -> None:
    clock = SenderClock(90_000)
    report(clock, NOON, offset_ns=offset_ns)
    assert clock.quality == "arrival"
    assert clock.capture_time_ns(0) is None
    assert clock.offset_ns == pytest.approx(offset_ns, abs=2)


def test_drift() -> None:
    clock = SenderClock(90_000)
    for second in range(0, 25, 5):
        report(clock, NOON + second * SECOND, drift=100e-6)
        assert (clock.drift_ppm is None) == (second < 10)
    assert clock.drift_ppm == pytest.approx(100, abs=0.1)


def test_a_clock_that_is_set_starts_the_estimate_anew() -> None:
    clock = SenderClock(90_000)
    for second in range(20):
        report(clock, NOON + second * SECOND, offset_ns=40 * SECOND)
    report(clock, NOON + 20 * SECOND, offset_ns=SECOND)
    assert clock.offset_ns == pytest.approx(SECOND, abs=2)
    assert clock.drift_ppm is None
    assert clock.capture_time_ns(20 * 90_000) == pytest.approx(NOON + 21 * SECOND, abs=2)
