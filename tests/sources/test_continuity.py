"""Missing pictures, told by what is left."""

from __future__ import annotations

from dataclasses import replace

from ovstream.sources.continuity import Continuity
from ovstream.sources.synthetic import SyntheticOptions, make_units

UNITS = make_units(SyntheticOptions(width=96, height=64, seconds=1, gop=5))


def test_a_picture_that_is_missing_is_noticed_at_the_next_one() -> None:
    continuity = Continuity("h264")
    assert [continuity.is_broken(unit) for unit in (*UNITS[:7], *UNITS[8:10])] == 7 * [False] + [True, False]


def test_damage_is_noticed() -> None:
    continuity = Continuity("h264")
    assert not continuity.is_broken(UNITS[0])
    assert continuity.is_broken(replace(UNITS[1], data=UNITS[1].data[:5]))


def test_what_the_parser_does_not_support_is_not_broken() -> None:
    """Pictures may be larger than usual; what is then too large for the parser, or strange to it, still plays."""
    for continuity in (Continuity("h264", max_pixels=256), Continuity("vp9")):
        assert not any(continuity.is_broken(unit) for unit in UNITS)
