"""Streams without an oracle: every slice ends where its trailing bits are, every cell is known once.

That alone proves the syntax: entropy decoding that goes astray anywhere ends at another bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer
from av.video.stream import VideoStream

from ovstream.bitstream import Codec, Parser
from ovstream.errors import BitstreamError
from ovstream.types import AccessUnit

START = b"\0\0\1"
MOST_ERRORS = 1000
CODECS: dict[str, Codec] = {"h264": "h264", "hevc": "h265", "vp8": "vp8"}
RAW = {".264": "h264", ".h264": "h264", ".jsv": "h264", ".avc": "h264", ".h265": "hevc", ".265": "hevc"}


@dataclass(slots=True)
class Tally:
    """What was read.

    Attributes:
        units: Access units.
        pictures: Those that gave a picture; two fields of a frame count once.
        whole: Pictures all of whose cells are known, without damage.
        errors: Damaged slices.
        missing: Pictures that refer to others that never came.
        refused: Access units without a readable picture.
        reason: Why the first one was refused.
    """

    units: int = 0
    pictures: int = 0
    whole: int = 0
    errors: int = 0
    missing: int = 0
    refused: int = 0
    reason: str = ""

    @property
    def perfect(self) -> bool:
        return 0 < self.pictures == self.whole and not self.refused


def read_any(path: Path) -> tuple[Codec, list[bytes]]:
    """The codec of a file and its access units in decoding order, as Annex B where there are NAL units."""
    with av.open(str(path), format=RAW.get(path.suffix)) as container:
        stream = container.streams.video[0]
        name = stream.codec_context.name
        packets: Iterable[av.Packet] = (packet for packet in _demux(container, stream) if packet.size)
        # avcC and hvcC begin with their version.
        if name in ("h264", "hevc") and (stream.codec_context.extradata or b"\0")[0] == 1:
            packets = _to_annex_b(BitStreamFilterContext(f"{name}_mp4toannexb", stream), packets)
        return cast(Codec, CODECS.get(name, name)), [bytes(packet) for packet in packets]


def _demux(container: InputContainer, stream: VideoStream) -> Iterator[av.Packet]:
    """Packets, also those behind bytes that the demuxer finds damaged."""
    for _ in range(MOST_ERRORS):
        try:
            yield from container.demux(stream)
            return
        except av.error.InvalidDataError:
            continue


def _to_annex_b(annex_b: BitStreamFilterContext, packets: Iterable[av.Packet]) -> Iterator[av.Packet]:
    """Packets with start codes; where lengths run over the end, what there is, for the parser to judge."""
    for packet in packets:
        try:
            yield from annex_b.filter(packet)
        except av.error.InvalidDataError:
            annex_b.flush()
            yield av.Packet(START + bytes(packet)[4:])


def join_slices(units: Iterable[bytes]) -> list[bytes]:
    """Access units from units of one slice each: what FFmpeg makes of streams with slice groups, which it cannot read."""
    joined: list[bytes] = []
    sets = b""
    for unit in units:
        sets += b"".join(START + nal for nal in unit.split(START) if nal and nal[0] & 31 in (7, 8))
        if joined and _is_one_picture(sets + joined[-1] + unit):
            joined[-1] += unit
        else:
            joined.append(unit)
    return joined


def _is_one_picture(data: bytes) -> bool:
    unit = AccessUnit("h264", data, pts=0, time_base=Fraction(1, 25), keyframe=False)
    try:
        return not Parser("h264").parse(unit).errors
    except BitstreamError:
        return False


def tally(codec: Codec, units: Iterable[bytes]) -> Tally:
    """Parses all units."""
    parser = Parser(codec)
    found = Tally()
    for index, data in enumerate(units):
        found.units += 1
        unit = AccessUnit(codec, data, pts=index, time_base=Fraction(1, 25), keyframe=False)
        try:
            frame = parser.parse(unit)
        except BitstreamError as error:
            found.refused += 1
            found.reason = found.reason or str(error)
            continue
        found.errors += frame.errors
        if frame.structure in ("top", "bottom") and not frame.errors:
            continue  # the second field brings the first again
        found.pictures += 1
        found.whole += frame.coverage == 1 and not frame.errors
        found.missing += parser.missing_references > 0
    return found
