"""Time stamps over reconnects."""

from __future__ import annotations

from fractions import Fraction

import pytest

from ovstream.sources.timeline import Timeline

SECOND = 1_000_000_000


def test_a_new_connection_goes_on_where_the_old_one_would_be() -> None:
    line = Timeline()
    line.connect(Fraction(1, 90_000))
    assert [line.place(7 + 3600 * i, SECOND + 40_000_000 * i) for i in range(3)] == [7, 3607, 7207]
    line.connect(Fraction(1, 1000))  # another time base
    assert line.place(500_000, SECOND + 80_000_000 + 2 * SECOND) == 80 + 2000
    assert line.place(500_040, 4 * SECOND) == 80 + 2040


def test_time_never_stands_still() -> None:
    line = Timeline()
    first = line.place(0, SECOND)
    line.connect(line.time_base)
    assert line.place(0, SECOND) == first + 1


def test_leaps_are_measured_against_the_arrival() -> None:
    line = Timeline()
    assert line.leap_seconds(10**9, SECOND) == 0.0
    line.place(0, SECOND)
    assert line.leap_seconds(90_000, 2 * SECOND) == pytest.approx(0.0)
    assert line.leap_seconds(91 * 90_000, 2 * SECOND) == pytest.approx(90.0)
    assert line.leap_seconds(-90_000, 2 * SECOND) == pytest.approx(-2.0)
