"""Damaged and hostile access units: an error or a picture, never a crash, a hang or unbounded memory."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovstream.decode import FallbackParser, OnDemandDecoder
from ovstream.decode.annexb import MAX_LEADING_NALS, read_preamble
from ovstream.decode.h265_sps import without_output_delay
from ovstream.errors import DecodeError
from ovstream.types import AccessUnit
from tests.decode.streams import damage, decode_all, encode, same, with_data, x265

CODECS = {"libx264": {"bf": "0"}, "libx265": x265("bframes=0:open-gop=0"), "libvpx": {}}


@pytest.mark.parametrize("codec", CODECS)
def test_damage_is_an_error_or_a_picture_and_ends_at_the_next_keyframe(codec: str) -> None:
    units = encode(codec, options=CODECS[codec], frames=32)
    expected = decode_all(units)
    starts = [index for index, unit in enumerate(units) if unit.keyframe]
    assert starts[1] == 15
    for seed in range(12):
        rng = random.Random(seed)
        bad = rng.randrange(1, 15) if seed % 4 else 0
        decoder = OnDemandDecoder(units[0].codec)
        for index, unit in enumerate(units):
            decoder.push(with_data(unit, damage(unit.data, rng)) if index == bad else unit)
            if index < bad or index >= 15:
                assert same(decoder.picture(), expected[index]), (seed, index)
            elif index % 3 == 0:
                with contextlib.suppress(DecodeError):
                    assert decoder.picture().pts == unit.pts


def test_pictures_behind_a_concealed_one_say_that_they_may_be_wrong() -> None:
    units = encode(options={"bf": "0", "x264-params": "slices=4"}, frames=17)
    decoder = OnDemandDecoder("h264")
    decoder.push(units[0])
    assert not decoder.picture().damaged
    cut = units[1].data[: units[1].data.rfind(b"\x00\x00\x01")]  # the last slice is gone
    decoder.push(with_data(units[1], cut))
    with pytest.raises(DecodeError, match="damaged"):
        decoder.picture()
    decoder.push(units[2])
    assert decoder.picture().damaged
    for unit in units[3:]:
        decoder.push(unit)
    assert not decoder.picture().damaged  # behind the keyframe


@pytest.mark.parametrize("codec", ["h264", "h265", "vp8", "mjpeg"])
@given(data=st.binary(max_size=300))
@settings(max_examples=60, deadline=None)
def test_any_bytes_give_an_error_or_a_picture(codec: str, data: bytes) -> None:
    unit = AccessUnit(codec, data, pts=0, time_base=Fraction(1, 25), keyframe=True)
    decoder = OnDemandDecoder(codec)
    decoder.push(unit)
    fallback = FallbackParser(codec)
    for call in (decoder.picture, lambda: fallback.parse(unit)):
        with contextlib.suppress(DecodeError):
            call()


@given(data=st.binary(max_size=200), codec=st.sampled_from(["h264", "h265"]))
def test_looking_for_parameter_sets_never_fails(data: bytes, codec: str) -> None:
    for prefix in (b"", b"\x00\x00\x01\x67", b"\x00\x00\x01\x06\x06", b"\x00\x00\x01\x42\x01"):
        preamble = read_preamble(codec, prefix + data)
        assert all(nal in prefix + data for nal in preamble.parameter_sets)
        assert preamble.recovery_frames >= 0


def test_a_unit_of_nothing_but_parameter_sets_is_read_up_to_a_bound() -> None:
    preamble = read_preamble("h264", b"\x00\x00\x01\x67abc" * 10_000)
    assert len(preamble.parameter_sets) == MAX_LEADING_NALS


@given(data=st.binary(max_size=120))
def test_an_sps_that_cannot_be_read_stays_as_it_is(data: bytes) -> None:
    nal = b"\x42\x01" + data
    once = without_output_delay(nal)
    assert once == nal or without_output_delay(once) == once


@pytest.mark.parametrize("codec", CODECS)
def test_pictures_above_max_pixels_are_refused(codec: str) -> None:
    units = encode(codec, options=CODECS[codec], frames=2)
    decoder = OnDemandDecoder(units[0].codec, max_pixels=100 * 100)
    decoder.push(units[0])
    with pytest.raises(DecodeError):
        decoder.picture()
    with pytest.raises(DecodeError):
        FallbackParser(units[0].codec, max_pixels=100 * 100).parse(units[0])


MEASURE = """
import resource, sys
from fractions import Fraction
from ovstream.decode import OnDemandDecoder
from ovstream.errors import DecodeError
from ovstream.types import AccessUnit
good, bomb = (AccessUnit("h264", bytes.fromhex(text), 0, Fraction(1, 25), True) for text in sys.stdin.read().split())
decoder = OnDemandDecoder("h264")
decoder.push(good)
decoder.picture()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(5):
    decoder.push(bomb)
    try:
        decoder.picture()
    except DecodeError:
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
decoder.push(good)
print(decoder.picture().width)
"""


def test_a_tiny_sps_of_a_huge_picture_takes_no_huge_memory() -> None:
    unit = encode(options={"bf": "0", "profile": "baseline"}, frames=1)[0]
    end = unit.data.find(b"\x00\x00\x01", unit.data.find(b"\x00\x00\x01\x67") + 3)
    bomb = b"\x00\x00\x01\x67" + _baseline_sps(width_mbs=1000, height_mbs=1000) + b"\x00" + unit.data[end:]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE],
        input=f"{unit.data.hex()} {bomb.hex()}",
        capture_output=True,
        text=True,
        check=True,
    )
    *taken_mib, width = (int(line) for line in done.stdout.split())
    assert width == 208
    assert len(taken_mib) == 5
    # FFmpeg makes tables of about 80 bytes per macroblock before it looks at max_pixels; 690 MiB without it.
    assert max(taken_mib) < 128


def _baseline_sps(*, width_mbs: int, height_mbs: int) -> bytes:
    """RBSP of an SPS without emulated start codes (H.264 7.3.2.1.1), level 6.2."""

    def ue(value: int) -> str:
        digits = f"{value + 1:b}"
        return "0" * (len(digits) - 1) + digits

    # sps id, log2_max_frame_num_minus4, poc type 2, one reference, no gaps, frames only, 8x8 inference
    bits = (
        ue(0)
        + ue(0)
        + ue(2)
        + ue(1)
        + "0"
        + ue(width_mbs - 1)
        + ue(height_mbs - 1)
        + "1"
        + "1"
        + "0"
        + "0"
        + "1"
    )
    bits += "0" * (-len(bits) % 8)
    return bytes([66, 0xC0, 62]) + int(bits, 2).to_bytes(len(bits) // 8)
