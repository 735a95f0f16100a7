"""Looks at the NAL units in front of the first slice; nothing behind it is touched."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from ovstream.nal import front, recovery_frame_cnt

H264_IDR = 5
H264_SEI = 6
MAX_SEI_BYTES = 4096
CLOSED_KEYFRAMES = frozenset({"vp8", "vp9", "av1", "mjpeg"})  # codecs without leading pictures
H265_CLOSED = frozenset(range(16, 21))  # BLA and IDR: no picture behind them refers to one before
H265_SPS = 33
# H.264: SPS, PPS, SPS extension, subset SPS; H.265: VPS, SPS, PPS (table 7-1 of both).
PARAMETER_SETS = {"h264": frozenset({7, 8, 13, 15}), "h265": frozenset({32, 33, 34})}
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
    for kind, nal in islice(front(data, codec), MAX_LEADING_NALS):
        if not nal:
            return Preamble(tuple(found), kind, recovery_frames)
        if kind in PARAMETER_SETS[codec] and len(nal) <= MAX_PARAMETER_SET_BYTES:
            found.append(nal)
        if codec == "h264" and kind == H264_SEI:
            recovery_frames = recovery_frames or recovery_frame_cnt(nal[:MAX_SEI_BYTES]) or 0
    return Preamble(tuple(found), None)


def is_closed(codec: str, preamble: Preamble) -> bool:
    """Whether no picture that follows can refer to one before this keyframe."""
    if codec == "h264":
        return preamble.slice_type == H264_IDR
    if codec == "h265":
        return preamble.slice_type in H265_CLOSED
    return codec in CLOSED_KEYFRAMES
