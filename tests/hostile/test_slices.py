"""Slices that are long, hide what they hold, or point where nothing is: whoever sends one byte too many."""

from __future__ import annotations

from fractions import Fraction

import pytest

from ovstream.bitstream import Parser
from ovstream.errors import BitstreamError
from ovstream.types import AccessUnit, FrameMetadata
from tests.hostile.helpers import Bits, attempt, pps, skipped, slice_header, sps
from tests.hostile.test_floods import within

SETS = sps() + pps()
SECOND = Fraction(1)
ZERO_WORD = b"\0\0\3"


def test_a_slice_of_a_hundred_megabytes() -> None:
    """The data ends with the picture; the rest is looked at once, to find the next start code and to drop escapes."""
    data = SETS + slice_header(0).ue(3).nal(0x41) + ZERO_WORD * 33_000_000 + b"\x80"
    with within(5):
        result = attempt(Parser("h264"), data)
    assert isinstance(result, BitstreamError) or result.errors == 1
    unit = AccessUnit("h264", data, pts=0, time_base=SECOND, keyframe=False)
    assert Parser("h264", max_bits_per_pixel=1).parse(unit).unread == "costly"


@pytest.mark.parametrize("words", [1, 2, 100_000])
def test_zero_words_behind_a_slice_change_nothing(words: int) -> None:
    result = attempt(Parser("h264"), SETS + skipped(16) + ZERO_WORD * words)
    assert isinstance(result, FrameMetadata)
    assert (result.coverage, result.errors) == (1, 0)


def test_escapes_where_none_belong() -> None:
    """03 behind two zeros goes away, once, whatever follows; a start code ends the unit at once."""
    whole = skipped(16)
    plain = attempt(Parser("h264"), SETS + whole)
    for inserted in (b"\0\0\3\3", b"\0\0\3\0\0\3\0\0\3", b"\0\0\2", b"\0\0\0\3", b"\0\0\1", b"\0\0\1\0\0\1"):
        for place in range(5, len(whole) + 1):
            parser = Parser("h264")
            attempt(parser, SETS + whole[:place] + inserted + whole[place:])
            again = attempt(parser, SETS + whole)
            assert isinstance(plain, FrameMetadata)
            assert isinstance(again, FrameMetadata)
            assert (again.blocks == plain.blocks).all()


def p_slice(active: int, modification: Bits | None = None) -> Bits:
    """A P slice up to its first macroblock, with so many references and a modified list."""
    bits = Bits().ue(0, 0, 0).u(4, 0).u(1, 1).ue(active - 1).u(1, int(modification is not None))
    if modification is not None:
        bits.append(modification)
    return bits.u(1, 0).se(0)


@pytest.mark.parametrize(
    ("slice_data", "element"),
    [
        (p_slice(33), "num_ref_idx"),  # more than a list can have
        (p_slice(1, Bits().ue(0, 1 << 20, 3)), "abs_diff_pic_num"),  # no frame_num is so far away
        (p_slice(1, Bits().ue(*[0, 0] * 100_000, 3)), "modification"),  # a list that never ends
        (p_slice(1, Bits().ue(7)), "modification"),  # no such operation
        (p_slice(4).ue(0, 0, 31), "ref_idx"),  # behind the end of the list
    ],
)
def test_reference_lists_out_of_range(slice_data: Bits, element: str) -> None:
    parser = Parser("h264")
    attempt(parser, SETS + slice_header(2, idr=True).nal(0x65))
    with within(3):
        result = attempt(parser, SETS + slice_data.nal(0x41))
    told = str(result) if isinstance(result, BitstreamError) else element * int(result.errors == 1)
    assert element in told
    assert isinstance(attempt(parser, SETS + skipped(16)), FrameMetadata)


def test_a_long_term_reference_that_never_was() -> None:
    """What the list names and nobody sent is a hole, not another picture."""
    parser = Parser("h264")
    modified = p_slice(1, Bits().ue(2, 9, 3)).ue(16).nal(0x41)
    result = attempt(parser, SETS + modified)
    assert isinstance(result, BitstreamError) or parser.missing_references > 0
