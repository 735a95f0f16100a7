"""Streams to send, and what came out at the other end."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import strategies as st

from ovstream.rtp import IN_ORDER, ReorderLimits, RtpPacket, RtpReceiver, RtpUnit
from tests.rtp.sender import SentUnit

FRAME_TICKS = 3600
FRAME_NS = 40_000_000
SPS, PPS = b"\x67\x42\xc0\x1e\xd9", b"\x68\xce\x3c\x80"
VPS65, SPS65, PPS65 = b"\x40\x01\x0c\x01", b"\x42\x01\x01\x60", b"\x44\x01\xc0\xf7"


def h264_unit(
    index: int, *, key: bool, sizes: tuple[int, ...] = (40,), timestamp: int | None = None
) -> SentUnit:
    """`sizes` are those of the slices; the first has first_mb_in_slice 0."""
    header = b"\x65" if key else b"\x41"
    slices = tuple(
        header + (b"\x88" if number == 0 else b"\x28") + bytes([index % 251]) * size
        for number, size in enumerate(sizes)
    )
    at = index * FRAME_TICKS if timestamp is None else timestamp
    return SentUnit("h264", (SPS, PPS, *slices) if key else slices, at, key)


def h265_unit(index: int, *, key: bool, sizes: tuple[int, ...] = (40,)) -> SentUnit:
    header = b"\x26\x01" if key else b"\x02\x01"
    slices = tuple(
        header + (b"\xa8" if number == 0 else b"\x28") + bytes([index % 251]) * size
        for number, size in enumerate(sizes)
    )
    return SentUnit("h265", (VPS65, SPS65, PPS65, *slices) if key else slices, index * FRAME_TICKS, key)


def vp8_unit(index: int, *, key: bool, sizes: tuple[int, ...] = (40,)) -> SentUnit:
    frame = bytes((0x10 if key else 0x11,)) + bytes([index % 251]) * sum(sizes)
    return SentUnit("vp8", (frame,), index * FRAME_TICKS, key)


MAKERS = {"h264": h264_unit, "h265": h265_unit, "vp8": vp8_unit}


@st.composite
def streams(draw: st.DrawFn, codec: str | None = None, max_units: int = 12) -> list[SentUnit]:
    """Some groups of pictures of one codec, slices and sizes at random; the first is a keyframe."""
    make = MAKERS[codec or draw(st.sampled_from(sorted(MAKERS)))]
    count = draw(st.integers(1, max_units))
    sizes = st.lists(st.integers(1, 400), min_size=1, max_size=3).map(tuple)
    return [make(i, key=i == 0 or draw(st.integers(0, 4)) == 0, sizes=draw(sizes)) for i in range(count)]


def receive(
    packets: Iterable[RtpPacket], codec: str, *, limits: ReorderLimits = IN_ORDER, step_ns: int = 1_000_000
) -> list[RtpUnit]:
    """What a receiver makes of packets that arrive `step_ns` apart; what waits at the end is given up."""
    receiver = RtpReceiver(codec, limits=limits)
    units: list[RtpUnit] = []
    now_ns = 0
    for packet in packets:
        now_ns += step_ns
        units += receiver.receive(packet, now_ns=now_ns)
    return units + list(receiver.poll(now_ns=now_ns + 10**12))
