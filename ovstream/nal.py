"""NAL units of H.264 and H.265 as far as everybody needs them: their types, and what stands in front of the first slice."""

from __future__ import annotations

from collections.abc import Iterator

START_CODE = b"\0\0\0\1"
_PREFIX = b"\0\0\1"
RECOVERY_POINT = 6  # payloadType, H.264 D.1.8


def nal_type(nal: bytes, codec: str) -> int:
    """nal_unit_type of a NAL unit without start code (H.264 7.3.1, H.265 7.3.1.2)."""
    return nal[0] & 0x1F if codec == "h264" else nal[0] >> 1 & 0x3F


def is_slice(kind: int, codec: str) -> bool:
    """Whether a nal_unit_type carries coded picture data."""
    return 1 <= kind <= 5 or kind == 20 if codec == "h264" else kind < 32


def front(data: bytes, codec: str) -> Iterator[tuple[int, bytes]]:
    """Yields type and bytes of the NAL units of Annex B `data` up to its first slice, which comes last and without bytes.

    Nothing behind the start of that slice is touched.
    """
    start = data.find(_PREFIX)
    while 0 <= start < len(data) - 3:
        start += 3
        kind = nal_type(data[start : start + 1], codec)
        if is_slice(kind, codec):
            yield kind, b""
            return
        end = data.find(_PREFIX, start)
        nal = data[start : end if end >= 0 else len(data)].rstrip(b"\0")
        if nal:
            yield kind, nal
        start = end


def leading_nals(data: bytes, codec: str) -> Iterator[bytes]:
    """Yields the NAL units of Annex B `data` before its first slice, without start codes."""
    return (nal for _, nal in front(data, codec) if nal)


def recovery_frame_cnt(sei: bytes) -> int | None:
    """Pictures that a decoder needs from here until it is right, of an H.264 SEI NAL unit (7.3.2.3.1, D.1.8).

    Returns:
        None without a recovery point, or where it is cut.
    """
    at = 1
    while at < len(sei) - 2:
        kind, at = _sei_number(sei, at)
        size, at = _sei_number(sei, at)
        if kind == RECOVERY_POINT:
            return read_ue(sei[at : at + 4])
        at += size
    return None


def _sei_number(sei: bytes, at: int) -> tuple[int, int]:
    """Reads payloadType or payloadSize: bytes of 255 and a last one."""
    value = 0
    while at < len(sei) and sei[at] == 0xFF:
        value, at = value + 0xFF, at + 1
    return value + (sei[at] if at < len(sei) else 0), at + 1


def read_ue(data: bytes) -> int | None:
    """Reads ue(v) at the first bit (H.264 9.1); None when it does not end in `data`."""
    bits = int.from_bytes(data, "big")
    width = 8 * len(data)
    zeros = width - bits.bit_length()
    if bits == 0 or 2 * zeros + 1 > width:
        return None
    return (bits >> (width - 2 * zeros - 1)) - 1
