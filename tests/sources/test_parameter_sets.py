"""Parameter sets: found in every form, put in band where missing, changes noticed."""

from __future__ import annotations

from pathlib import Path

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovstream.nal import START_CODE, leading_nals
from ovstream.sources.parameter_sets import MAX_SET_BYTES, ParameterSets, extradata_nals
from tests.clips import make_clip

SPS, PPS, IDR = b"\x67\x64\x00\x0d\xac\x99", b"\x68\xee\x0f\xcb", b"\x65\x88\x84\x21"
OTHER_SPS, SECOND_PPS = b"\x67\x64\x00\x1f\xac\x99", b"\x68\x4e\x0f\xcb"
DELIMITER, SLICE = b"\x09\xf0", b"\x41\x9a\x24"
VPS5, SPS5, PPS5, IDR5 = b"\x40\x01\x0c\x01", b"\x42\x01\x01\x01", b"\x44\x01\xc1\x72", b"\x26\x01\xaf\x09"


def annexb(*nals: bytes) -> bytes:
    return b"".join(START_CODE + nal for nal in nals)


def test_nals_before_the_first_slice_are_found() -> None:
    data = b"\0\0\1" + DELIMITER + annexb(SPS, PPS) + b"\0" + annexb(IDR, SPS)
    assert list(leading_nals(data, "h264")) == [DELIMITER, SPS, PPS]
    assert list(leading_nals(annexb(VPS5, SPS5, PPS5, IDR5), "h265")) == [VPS5, SPS5, PPS5]


@given(st.binary(max_size=200), st.sampled_from(["h264", "h265"]))
def test_any_bytes_are_harmless(data: bytes, codec: str) -> None:
    sets = ParameterSets(codec)
    sets.absorb(extradata_nals(data, codec))
    sets.absorb(extradata_nals(b"\1" + data, codec))
    complete, _ = sets.complete(data, start=True)
    assert len(complete) >= len(data)
    again, changed = sets.complete(complete, start=False)
    assert (again, changed) == (complete, False)


@pytest.mark.parametrize(("codec", "header"), [("h264", b"\x68"), ("h265", b"\x44\x01")])
def test_identifiers_beyond_the_standard_are_not_remembered(codec: str, header: bytes) -> None:
    sets = ParameterSets(codec)
    many = [
        header + ((number + 1) << (33 - 2 * (number + 1).bit_length())).to_bytes(4, "big")
        for number in range(8000)
    ]
    assert not sets.absorb(many)
    assert len(sets._known) == {"h264": 256, "h265": 64}[codec]


def test_two_sequence_parameter_sets_of_h265_are_two() -> None:
    head = b"\x42\x01\x01" + bytes.fromhex("016000000300900000030000030078")
    first, second = head + b"\xa0\x3c", head + b"\x50\x3c"  # ue(v) 0 and 1
    sets = ParameterSets("h265")
    assert not sets.absorb([VPS5, first, second, PPS5])
    assert not sets.absorb([VPS5, first, second, PPS5])
    assert sets.absorb([head + b"\xa0\x3d"])


@given(st.binary(max_size=40))
def test_every_nal_found_lies_in_the_data(data: bytes) -> None:
    for nal in leading_nals(data, "h264"):
        assert nal in data


@pytest.mark.parametrize(("codec", "encoder"), [("h264", "libx264"), ("h265", "libx265")])
def test_container_setup_gives_the_sets_that_a_raw_stream_has(
    tmp_path: Path, codec: str, encoder: str
) -> None:
    found = {}
    for suffix in (".mp4", ".264" if codec == "h264" else ".265"):
        path = make_clip(tmp_path / f"a{suffix}", codec=encoder, width=64, height=64, frames=3)
        with av.open(str(path)) as container:
            extradata = bytes(container.streams.video[0].codec_context.extradata or b"")
        found[suffix] = [
            nal for nal in extradata_nals(extradata, codec) if nal[0] & 0x1F in (7, 8) or codec == "h265"
        ]
    first, second = found.values()
    assert len(first) == (2 if codec == "h264" else 3)
    assert first == second[: len(first)]


def test_missing_sets_go_in_front_of_a_keyframe_behind_its_delimiter() -> None:
    sets = ParameterSets("h264")
    sets.absorb([SPS, PPS])
    assert sets.complete(annexb(IDR), start=True) == (annexb(SPS, PPS, IDR), False)
    assert sets.complete(annexb(DELIMITER, IDR), start=True) == (annexb(DELIMITER, SPS, PPS, IDR), False)
    assert sets.complete(annexb(SLICE), start=False) == (annexb(SLICE), False)
    assert sets.complete(annexb(SPS, PPS, IDR), start=True) == (annexb(SPS, PPS, IDR), False)


def test_the_newest_sets_are_used() -> None:
    sets = ParameterSets("h264")
    sets.absorb([SPS, PPS])
    assert sets.complete(annexb(OTHER_SPS, PPS, IDR), start=True)[1]
    assert sets.complete(annexb(IDR), start=True) == (annexb(OTHER_SPS, PPS, IDR), False)


def test_sets_with_other_identifiers_live_side_by_side() -> None:
    sets = ParameterSets("h264")
    assert not sets.absorb([SPS, PPS])
    assert not sets.absorb([SECOND_PPS])
    assert sets.complete(annexb(IDR), start=True)[0] == annexb(SPS, PPS, SECOND_PPS, IDR)


def test_h265_needs_all_three() -> None:
    sets = ParameterSets("h265")
    sets.absorb([PPS5, SPS5, VPS5])
    assert sets.complete(annexb(SPS5, PPS5, IDR5), start=True)[0].startswith(annexb(VPS5, SPS5, PPS5))


def test_only_sequences_count_as_change() -> None:
    sets = ParameterSets("h264")
    assert not sets.absorb([SPS, PPS])
    assert not sets.absorb([SPS, PPS + b"\x80"])
    assert sets.absorb([OTHER_SPS])


def test_giant_sets_are_not_remembered() -> None:
    sets = ParameterSets("h264")
    sets.absorb([SPS + b"\x55" * MAX_SET_BYTES])
    assert sets.complete(annexb(IDR), start=True)[0] == annexb(IDR)
