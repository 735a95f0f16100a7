"""The other side: access units into RTP packets, as cameras do it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ovstream.rtp import RtpPacket

START_CODE = b"\0\0\0\1"
SSRC = 0x1234_5678


@dataclass(frozen=True, slots=True)
class SentUnit:
    """One access unit as a sender has it; `parts` are NAL units, or one VP8 frame."""

    codec: str
    parts: tuple[bytes, ...]
    timestamp: int
    keyframe: bool = False

    @property
    def data(self) -> bytes:
        if self.codec == "vp8":
            return self.parts[0]
        return b"".join(START_CODE + nal for nal in self.parts)


@dataclass(slots=True)
class Sender:
    """Numbers packets; knobs for what senders do differently.

    `mtu` bounds payloads. `aggregate` puts small NAL units together. `marker`: "last" of a unit as the rules
    say, "never", or "nal": with each NAL unit. `paci` puts every H.265 payload into a PACI packet.
    """

    mtu: int = 100
    aggregate: bool = False
    marker: str = "last"
    paci: bool = False
    sequence: int = 0
    ssrc: int = SSRC
    payload_type: int = 96
    packets: int = 0
    octets: int = field(default=0)

    def send(self, unit: SentUnit) -> list[RtpPacket]:
        payloads = list(PACKETIZERS[unit.codec](unit.parts, self.mtu, self.aggregate))
        made = []
        for index, (payload, ends_nal) in enumerate(payloads):
            last = index == len(payloads) - 1
            payload = paci(payload) if self.paci else payload
            marker = {"last": last, "never": False, "nal": ends_nal}[self.marker]
            made.append(self.packet(payload, unit.timestamp, marker=marker))
        return made

    def packet(self, payload: bytes, timestamp: int, *, marker: bool = False) -> RtpPacket:
        packet = RtpPacket(
            self.sequence & 0xFFFF, timestamp & 0xFFFF_FFFF, marker, self.payload_type, self.ssrc, payload
        )
        self.sequence += 1
        self.packets += 1
        self.octets += len(payload)
        return packet


def h264_payloads(nals: Sequence[bytes], mtu: int, aggregate: bool) -> Iterator[tuple[bytes, bool]]:
    for group in _groups(nals, mtu - 1, aggregate):
        if len(group) > 1:
            yield b"\x78" + b"".join(len(nal).to_bytes(2, "big") + nal for nal in group), True
        elif len(group[0]) <= mtu:
            yield group[0], True
        else:
            header, body, step = group[0][0], group[0][1:], mtu - 2
            for at in range(0, len(body), step):
                first, last = at == 0, at + step >= len(body)
                fu = bytes((header & 0xE0 | 28, first << 7 | last << 6 | header & 0x1F))
                yield fu + body[at : at + step], last


def h265_payloads(nals: Sequence[bytes], mtu: int, aggregate: bool) -> Iterator[tuple[bytes, bool]]:
    for group in _groups(nals, mtu - 2, aggregate):
        if len(group) > 1:
            yield b"\x60\x01" + b"".join(len(nal).to_bytes(2, "big") + nal for nal in group), True
        elif len(group[0]) <= mtu:
            yield group[0], True
        else:
            nal, step = group[0], mtu - 3
            kind, body = nal[0] >> 1 & 0x3F, nal[2:]
            for at in range(0, len(body), step):
                first, last = at == 0, at + step >= len(body)
                fu = bytes((nal[0] & 0x81 | 49 << 1, nal[1], first << 7 | last << 6 | kind))
                yield fu + body[at : at + step], last


def paci(payload: bytes) -> bytes:
    """An H.265 payload inside of PACI (RFC 7798 4.4.4) with temporal scalability control in its extension."""
    fields = payload[0] >> 7 << 15 | (payload[0] >> 1 & 0x3F) << 9 | 3 << 4 | 1 << 3
    return bytes((50 << 1 | payload[0] & 1, payload[1])) + fields.to_bytes(2, "big") + b"\1\2\3" + payload[2:]


def vp8_payloads(parts: Sequence[bytes], mtu: int, aggregate: bool) -> Iterator[tuple[bytes, bool]]:
    """With a PictureID of 7 bits, and of 15 when `aggregate`."""
    frame, extension = parts[0], b"\x80\x81\x23" if aggregate else b"\x80\x42"
    step = mtu - 1 - len(extension)
    for at in range(0, len(frame), step):
        yield bytes((0x80 | (0x10 if at == 0 else 0),)) + extension + frame[at : at + step], False


def annexb_nals(data: bytes) -> tuple[bytes, ...]:
    """NAL units of an Annex B access unit."""
    parts = data.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")
    return tuple(part for part in parts if part)


def unit_of(codec: str, data: bytes, timestamp: int, *, keyframe: bool) -> SentUnit:
    return SentUnit(codec, (data,) if codec == "vp8" else annexb_nals(data), timestamp, keyframe)


def _groups(nals: Iterable[bytes], limit: int, aggregate: bool) -> Iterator[list[bytes]]:
    group: list[bytes] = []
    for nal in nals:
        if group and (not aggregate or sum(len(one) + 2 for one in [*group, nal]) > limit):
            yield group
            group = []
        group.append(nal)
    yield group


PACKETIZERS: dict[str, Callable[[Sequence[bytes], int, bool], Iterator[tuple[bytes, bool]]]] = {
    "h264": h264_payloads,
    "h265": h265_payloads,
    "vp8": vp8_payloads,
}
