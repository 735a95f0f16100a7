"""Packets that others recorded: WebRTC and SIP calls, with and without damage."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise, takewhile
from pathlib import Path

import pytest

from ovstream.rtp import IN_ORDER, ReorderLimits, RtpPacket, RtpUnit
from ovstream.types import AccessUnit
from tests.conftest import Corpus
from tests.rtp.support import receive
from tests.sources.support import decode_units

PCAP, PCAPNG_BLOCK, ETHERNET_BYTES, IPV6_BYTES, UDP_BYTES = b"\xd4\xc3\xb2\xa1", 6, 14, 40, 8


def frames(data: bytes) -> Iterator[bytes]:
    """Link-layer frames of a pcap or pcapng file, little endian."""
    position = 24 if data.startswith(PCAP) else 0
    while position < len(data):
        if data.startswith(PCAP):
            (size,) = struct.unpack_from("<8xI", data, position)
            yield data[position + 16 : position + 16 + size]
            position += 16 + size
        else:
            kind, length = struct.unpack_from("<II", data, position)
            if kind == PCAPNG_BLOCK:
                (size,) = struct.unpack_from("<I", data, position + 20)
                yield data[position + 28 : position + 28 + size]
            position += length


def rtp_packets(path: Path) -> list[RtpPacket]:
    found = []
    for frame in frames(path.read_bytes()):
        ip = frame[ETHERNET_BYTES:]
        udp = ip[IPV6_BYTES if ip[0] >> 4 == 6 else 4 * (ip[0] & 15) :]
        size = int.from_bytes(udp[4:6], "big")
        found.append(RtpPacket.parse(udp[UDP_BYTES:size]))
    return found


# name, codec, packets, units, keyframes, damaged
FILES = [
    ("rtp/h264.pcap", "h264", 298, 268, 7, 4),
    ("rtp/vp8.pcap", "vp8", 104, 101, 3, 0),
    ("rtp/h264_one_nalu_per_frame.pcap", "h264", 102, 41, 4, 0),
    ("damaged/h264_missing_pps_in_second_i_frame.pcap", "h264", 180, 21, 2, 1),
    ("damaged/h264_one_nalu_per_frame_with_corrupted_idr.pcap", "h264", 10, 1, 1, 1),
]


@pytest.mark.parametrize(("name", "codec", "packets", "units", "keyframes", "damaged"), FILES)
@pytest.mark.parametrize("limits", [IN_ORDER, ReorderLimits()])
def test_recordings(
    corpus: Corpus,
    name: str,
    codec: str,
    packets: int,
    units: int,
    keyframes: int,
    damaged: int,
    limits: ReorderLimits,
) -> None:
    recorded = rtp_packets(corpus.path(name))
    got = receive(recorded, codec, limits=limits)
    found = (len(recorded), len(got), sum(u.keyframe for u in got), sum(u.damaged for u in got))
    assert found == (packets, units, keyframes, damaged)
    whole = all((b.sequence - a.sequence) % 65_536 == 1 for a, b in pairwise(recorded))
    assert whole != any(unit.discontinuity for unit in got)


def test_recorded_pictures_decode(corpus: Corpus) -> None:
    for name, codec, *_ in FILES[:2]:  # the others lack parameter sets
        got = receive(rtp_packets(corpus.path(name)), codec)
        whole = list(takewhile(lambda unit: not unit.discontinuity, got))
        assert len(whole) > 10
        assert decode_units(access_units(whole))[0] == len(whole)


def access_units(units: list[RtpUnit]) -> list[AccessUnit]:
    ticks = Fraction(1, 90_000)
    return [AccessUnit(unit.codec, unit.data, unit.timestamp, ticks, unit.keyframe) for unit in units]
