"""Looks at the NAL units in front of the first slice; nothing behind it is touched."""

from __future__ import annotations

from dataclasses import dataclass

START_CODE = b"\x00\x00\x01"
H264_IDR = 5
H264_SEI = 6
RECOVERY_POINT = 6  # payloadType, H.264 D.1.8
MAX_SEI_BYTES = 4096
CLOSED_KEYFRAMES = frozenset({"vp8", "vp9", "av1", "mjpeg"})  # codecs without leading pictures
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
        recovery_frames: Pictures that a decoder starting here needs until it is right, H.264 recovery_frame_cnt.
    """

    parameter_sets: tuple[bytes, ...]
    slice_type: int | None
    recovery_frames: int = 0


def read_preamble(codec: str, data: bytes) -> Preamble:
    """Collects parameter sets until the first slice (H.264 7.4.1.2.3, H.265 7.4.2.4.4)."""
    found: list[bytes] = []
    recovery_frames = 0
    start = data.find(START_CODE)
    for _ in range(MAX_LEADING_NALS):
        if start < 0 or start + 3 >= len(data):
            break
        nal_unit_type, is_slice, is_parameter_set = _classify(codec, data[start + 3])
        if is_slice:
            return Preamble(tuple(found), nal_unit_type, recovery_frames)
        end = data.find(START_CODE, start + 3)
        size = (end if end >= 0 else len(data)) - start - 3
        if is_parameter_set and size <= MAX_PARAMETER_SET_BYTES:
            found.append(data[start + 3 : start + 3 + size].rstrip(b"\x00"))
        if codec == "h264" and nal_unit_type == H264_SEI:
            recovery_frames = recovery_frames or _recovery_frames(data[start + 4 : start + 4 + MAX_SEI_BYTES])
        start = end
    return Preamble(tuple(found), None)


def is_closed(codec: str, preamble: Preamble) -> bool:
    """Whether no picture that follows can refer to one before this keyframe."""
    if codec == "h264":
        return preamble.slice_type == H264_IDR
    if codec == "h265":
        return preamble.slice_type in H265_CLOSED
    return codec in CLOSED_KEYFRAMES


def _classify(codec: str, header: int) -> tuple[int, bool, bool]:
    if codec == "h264":
        kind = header & 31
        return kind, 1 <= kind <= 5, kind in H264_PARAMETER_SETS
    kind = (header >> 1) & 63
    return kind, kind < 32, kind in H265_PARAMETER_SETS


def _recovery_frames(sei: bytes) -> int:
    """Reads recovery_frame_cnt of the recovery point message (H.264 7.3.2.3.1, D.1.8); 0 without one."""
    at = 0
    while at + 2 < len(sei):
        kind, at = _sei_number(sei, at)
        size, at = _sei_number(sei, at)
        if kind == RECOVERY_POINT:
            bits = bin(int.from_bytes(b"\x01" + sei[at : at + 4]))[3:]
            zeros = len(bits) - len(bits.lstrip("0"))
            return int(bits[zeros : 2 * zeros + 1] or "1", 2) - 1
        at += size
    return 0


def _sei_number(sei: bytes, at: int) -> tuple[int, int]:
    """Reads payloadType or payloadSize: bytes of 255 and a last one."""
    value = 0
    while at < len(sei) and sei[at] == 255:
        value, at = value + 255, at + 1
    return value + (sei[at] if at < len(sei) else 0), at + 1
