"""NAL units in front of the first slice, and Exp-Golomb numbers: for any bytes, and for those that make sense."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovstream.nal import front, is_slice, leading_nals, read_ue, recovery_frame_cnt

CODECS = ("h264", "h265")
# Annex B knows no zero bytes at the end of a NAL unit, and no start codes inside.
PAYLOADS = st.binary(min_size=1, max_size=20).map(lambda data: data.replace(b"\0", b"\1"))
HEADERS = {
    "h264": {"sets": (0x67, 0x68, 0x06), "slice": 0x65},
    "h265": {"sets": (0x40, 0x42, 0x44), "slice": 0x26},
}


@pytest.mark.parametrize("codec", CODECS)
@given(payloads=st.lists(PAYLOADS, max_size=5), long=st.booleans(), data=st.data())
def test_what_stands_before_the_first_slice(
    codec: str, payloads: list[bytes], long: bool, data: st.DataObject
) -> None:
    kinds = st.sampled_from(HEADERS[codec]["sets"])
    nals = [bytes((data.draw(kinds),)) + payload for payload in payloads]
    code = b"\0\0\0\1" if long else b"\0\0\1"
    slices = (code + bytes((HEADERS[codec]["slice"],)) + b"\x80picture") * 2
    assert list(leading_nals(b"".join(code + nal for nal in nals) + slices, codec)) == nals
    *_, (kind, last) = front(slices, codec)
    assert is_slice(kind, codec)
    assert last == b""


@given(
    st.sampled_from(CODECS),
    st.binary(max_size=100) | st.lists(st.sampled_from((b"\0", b"\1", b"\x67", b"\x65"))).map(b"".join),
)
def test_any_bytes_do_no_harm(codec: str, data: bytes) -> None:
    found = list(front(data, codec))
    assert sum(len(nal) for _, nal in found) <= len(data)
    assert all(nal for _, nal in found[:-1])


@given(st.integers(0, 2**15 - 2), st.binary(max_size=3))
def test_exp_golomb_numbers(value: int, behind: bytes) -> None:
    bits = bin(value + 1)[2:]
    bits = "0" * (len(bits) - 1) + bits
    padded = bits + "0" * (-len(bits) % 8)
    assert read_ue(int(padded, 2).to_bytes(len(padded) // 8, "big") + behind) == value


@pytest.mark.parametrize("data", [b"", b"\0", b"\1", b"\0\1"])
def test_numbers_that_do_not_end(data: bytes) -> None:
    assert read_ue(data) is None


@pytest.mark.parametrize(
    ("sei", "frames"),
    [
        (b"\x06\x06\x01\xc4\x80", 0),
        (b"\x06\x06\x01\x44\x80", 1),
        (b"\x06\x05\x02ab\x06\x01\x84\x80", 0),
        (b"\x06\x05\x02ab\x80", None),
        (b"\x06\xff\x06\x01\x80\x80", None),
        (b"\x06\x06", None),
    ],
)
def test_recovery_points(sei: bytes, frames: int | None) -> None:
    assert recovery_frame_cnt(sei) == frames
