"""H.265: wrong bits, cut streams and headers that ask for too much."""

from __future__ import annotations

import random
import threading
from fractions import Fraction

import numpy as np
import pytest

from ovstream.bitstream import Parser
from ovstream.errors import BitstreamError, InvalidBitstream, UnsupportedBitstream
from ovstream.types import AccessUnit, FrameMetadata
from tests.hostile.helpers import Bits
from tests.native.hevc_proof import encode
from tests.native.streams import Tool

SPS, PPS = 33 << 1, 34 << 1
# Python itself takes most of it.
SMALL_STACK_BYTES = 256 << 10


@pytest.fixture(scope="module")
def clip() -> list[bytes]:
    """Two slices, wavefronts, small blocks, B pictures, two random access points."""
    params = "bframes=2:b-adapt=0:ref=3:rect=1:amp=1:slices=2:pools=1:wpp=1:keyint=6:ctu=16:tskip=1:crf=20"
    return encode(Tool("damaged", width=80, height=64, noise=10), params, frames=10)


def attempt(parser: Parser, data: bytes) -> FrameMetadata | BitstreamError:
    """A result or one of our exceptions; anything else fails the test."""
    unit = AccessUnit("h265", data, pts=0, time_base=Fraction(1, 25), keyframe=False)
    try:
        result: FrameMetadata | BitstreamError = parser.parse(unit)
    except BitstreamError as error:
        result = error
    if isinstance(result, BitstreamError):
        assert result.element
        assert "internal" not in result.element
        assert result.bit_offset <= 8 * len(data), result
        return result
    assert 0 <= result.coverage <= 1
    assert result.mv.shape == (2, 4 * result.mb_shape[0], 4 * result.mb_shape[1], 2)
    assert result.ref_idx.max() < 16
    assert np.isfinite(result.residual_energy).all()
    return result


def test_every_bit_of_the_parameter_sets_and_headers(clip: list[bytes]) -> None:
    unit = clip[0]
    for position in range(8 * min(len(unit), 140)):
        damaged = bytearray(unit)
        damaged[position // 8] ^= 1 << position % 8
        parser = Parser("h265")
        attempt(parser, bytes(damaged))
        attempt(parser, clip[1])


def test_random_bits_all_over(clip: list[bytes]) -> None:
    rng = random.Random(1)
    for flips in (1, 3, 30):
        for _ in range(60):
            parser = Parser("h265", level=rng.choice(["full", "motion"]), skip_intra=rng.random() < 0.2)
            for unit in clip:
                damaged = bytearray(unit)
                for _ in range(flips):
                    damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
                attempt(parser, bytes(damaged))


def test_units_cut_anywhere(clip: list[bytes]) -> None:
    for length in range(0, len(clip[0]), 7):
        parser = Parser("h265")
        attempt(parser, clip[0][:length])
        attempt(parser, clip[1])


def test_the_next_random_access_point_parses_as_if_nothing_had_been(clip: list[bytes]) -> None:
    rng = random.Random(3)
    fresh, used = Parser("h265"), Parser("h265")
    for unit in clip[:5]:
        attempt(used, bytes(byte ^ (rng.random() < 0.02) for byte in unit))
    expected, found = attempt(fresh, clip[0]), attempt(used, clip[0])
    assert isinstance(expected, FrameMetadata)
    assert isinstance(found, FrameMetadata)
    np.testing.assert_array_equal(found.blocks, expected.blocks)


def test_lost_pictures_are_missing_references(clip: list[bytes]) -> None:
    parser = Parser("h265")
    attempt(parser, clip[0])
    result = attempt(parser, clip[3])
    assert isinstance(result, FrameMetadata)
    assert (result.coverage, result.errors) == (1, 0)
    assert parser.missing_references > 0


def test_a_lost_slice_leaves_its_cells_unknown(clip: list[bytes]) -> None:
    second = clip[1].rindex(b"\0\0\1")
    parser = Parser("h265")
    attempt(parser, clip[0])
    halved = attempt(parser, clip[1][:second])
    assert isinstance(halved, FrameMetadata)
    assert 0 < halved.coverage < 1


# Logarithms of sizes: smallest coding unit, tree block, smallest and largest transform (each above the one before), and how often
# transforms may be divided in inter and intra units. The deepest that there is: 64 down to 8, transforms down to 4.
DEEPEST = (0, 3, 0, 3, 4, 4)


def sps(width: int, height: int, *, sets: int = 0, sizes: tuple[int, ...] = (0, 3, 0, 3, 1, 1)) -> bytes:
    """A Main profile sequence parameter set with `sets` empty short-term sets."""
    bits = Bits().u(8, 0).u(8, 1).u(32, 0).u(32, 0).u(16, 0).u(8, 93)
    bits.ue(0, 1, width, height).u(1, 0).ue(0, 0, 4).u(1, 1).ue(4, 0, 0).ue(*sizes).u(4, 0)
    bits.ue(sets)
    for number in range(sets):
        bits.u(int(number > 0), 0).ue(0, 0)
    return bits.u(5, 0).nal(SPS)


def pps() -> bytes:
    """The plainest picture parameter set."""
    bits = Bits().ue(0, 0).u(7, 0).ue(0, 0).se(0).u(3, 0).se(0, 0).u(10, 0).ue(0)
    return bits.u(2, 0).nal(PPS)


def test_huge_pictures_are_refused_before_memory_is_taken() -> None:
    parameters = sps(32768, 32768) + pps()
    slice_ = Bits().u(2, 0b10).ue(0, 2).nal(19 << 1)
    result = attempt(Parser("h265"), _two_byte_headers(parameters + slice_))
    assert isinstance(result, UnsupportedBitstream)
    assert "max_pixels" in result.element


def test_too_many_reference_picture_sets() -> None:
    result = attempt(Parser("h265"), _two_byte_headers(sps(64, 64, sets=65)))
    assert isinstance(result, BitstreamError)
    assert result.element.startswith("num_short_term_ref_pic_sets")


@pytest.mark.parametrize("place", range(6))
def test_trees_deeper_than_the_standard_has_them_are_refused(place: int) -> None:
    """Coding and transform trees are read by recursion: nothing but these numbers keeps it from going on."""
    for more in (1, 30, 2**31 - 2):
        sizes = tuple(size + more * (index == place) for index, size in enumerate(DEEPEST))
        result = attempt(Parser("h265"), _two_byte_headers(sps(64, 64, sizes=sizes)))
        assert isinstance(result, InvalidBitstream)
        assert result.element.startswith(("log2_", "max_transform_hierarchy_depth"))


def test_the_deepest_trees_fit_on_a_small_stack() -> None:
    """Noise divides tree blocks at every level that the parameter sets allow: on the stack of a small thread."""
    parameters = sps(128, 128, sizes=DEEPEST) + pps()
    header = Bits().u(2, 0b10).ue(0, 2).se(0).u(1, 1)
    header.u(-len(header) % 8, 0)
    found: list[FrameMetadata | BitstreamError] = []

    def read() -> None:
        rng = random.Random(5)
        for _ in range(60):
            noise = Bits().append(header)
            for byte in rng.randbytes(600):
                noise.u(8, byte)
            data = _two_byte_headers(parameters + noise.nal(19 << 1))
            found.append(attempt(Parser("h265"), data))

    before = threading.stack_size(SMALL_STACK_BYTES)
    thread = threading.Thread(target=read)
    thread.start()
    threading.stack_size(before)
    thread.join()
    frames = [result for result in found if isinstance(result, FrameMetadata)]
    assert len(frames) == len(found) == 60
    sizes = np.concatenate([frame.intra_size.ravel() for frame in frames])
    assert {4, 8} <= set(sizes.tolist())


def _two_byte_headers(data: bytes) -> bytes:
    """The second byte of NAL unit headers, which the bit writer does not know of: base layer, first sub-layer."""
    units = data.split(b"\0\0\0\1")[1:]
    return b"".join(b"\0\0\0\1" + unit[:1] + b"\1" + unit[1:] for unit in units)
