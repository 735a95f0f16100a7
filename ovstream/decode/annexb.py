"""Looks at the NAL units in front of the first slice; nothing behind it is touched."""

from __future__ import annotations

from dataclasses import dataclass

START_CODE = b"\x00\x00\x01"
H264_IDR = 5
H264_PARAMETER_SETS = frozenset({7, 8, 13, 15})  # SPS, PPS, SPS extension, subset SPS: H.264 table 7-1
H265_CLOSED = frozenset(range(16, 21))  # BLA and IDR: no picture behind them refers to one before
H265_SPS = 33
H265_PARAMETER_SETS = frozenset({32, 33, 34})  # VPS, SPS, PPS: H.265 table 7-1
MAX_PARAMETER_SET_BYTES = 4096
MAX_LEADING_NALS = 64  # far more than parameter sets and SEI of one picture; a bound for hostile units


@dataclass(frozen=True, slots=True)
class Preamble:
    """What stands in front of the first slice of an access unit.

    Attributes:
        parameter_sets: NAL units without start codes.
        slice_type: nal_unit_type of the first slice; None when there is none.
    """

    parameter_sets: tuple[bytes, ...]
    slice_type: int | None


def read_preamble(codec: str, data: bytes) -> Preamble:
    """Collects parameter sets until the first slice (H.264 7.4.1.2.3, H.265 7.4.2.4.4)."""
    found: list[bytes] = []
    start = data.find(START_CODE)
    for _ in range(MAX_LEADING_NALS):
        if start < 0 or start + 3 >= len(data):
            break
        nal_unit_type, is_slice, is_parameter_set = _classify(codec, data[start + 3])
        if is_slice:
            return Preamble(tuple(found), nal_unit_type)
        end = data.find(START_CODE, start + 3)
        size = (end if end >= 0 else len(data)) - start - 3
        if is_parameter_set and size <= MAX_PARAMETER_SET_BYTES:
            found.append(data[start + 3 : start + 3 + size].rstrip(b"\x00"))
        start = end
    return Preamble(tuple(found), None)


def is_closed(codec: str, preamble: Preamble) -> bool:
    """Whether no picture that follows can refer to one before this keyframe."""
    if codec == "h264":
        return preamble.slice_type == H264_IDR
    return codec != "h265" or preamble.slice_type in H265_CLOSED


def _classify(codec: str, header: int) -> tuple[int, bool, bool]:
    if codec == "h264":
        kind = header & 31
        return kind, 1 <= kind <= 5, kind in H264_PARAMETER_SETS
    kind = (header >> 1) & 63
    return kind, kind < 32, kind in H265_PARAMETER_SETS
