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


def test_the_first_may_be_zero() -> None:
    line = Timeline(from_zero=True)
    assert [line.place(pts, SECOND) for pts in (2**31, 2**31 + 7)] == [0, 7]


def test_time_never_stands_still() -> None:
    line = Timeline()
    first = line.place(0, SECOND)
    line.connect(line.time_base)
    assert line.place(0, SECOND) == first + 1


@pytest.mark.parametrize(
    ("pts_seconds", "away_seconds", "leaps"),
    [
        (1, 1, False),
        (10, 1, False),
        (12, 1, True),  # ahead of its arrival
        (0.04, 30, False),  # a long way through the network
        (-0.5, 0.04, False),  # B pictures
        (-1.1, 0.04, True),
        (0, 0.04, False),  # two fields
        (0, 1.1, True),  # all have the same
    ],
)
def test_leaps_of_the_senders_clock(pts_seconds: float, away_seconds: float, leaps: bool) -> None:
    line = Timeline()
    assert not line.leaps(10**9, SECOND)
    line.place(0, SECOND)
    arrival_ns = SECOND + round(away_seconds * SECOND)
    assert line.leaps(round(pts_seconds * 90_000), arrival_ns) == leaps
