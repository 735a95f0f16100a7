"""What the tests of the sources share: collecting, decoding, a fake clock."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av

from ovstream.sources import Source
from ovstream.types import AccessUnit

# Decoders read a little beyond the end; PyAV leaves what stands there undefined for packets made of bytes.
PADDING = bytes(64)
FFMPEG_NAMES = {"h265": "hevc"}


async def collect(source: Source, limit: int | None = None) -> list[AccessUnit]:
    """All units, or the first `limit`; the iteration is closed."""
    units = source.units()
    taken: list[AccessUnit] = []
    async for unit in units:
        taken.append(unit)
        if len(taken) == limit:
            break
    await units.aclose()
    return taken


def pictures_digest(frames: Iterable[av.VideoFrame]) -> tuple[int, str]:
    """Number of pictures and MD5 over their samples."""
    digest, count = hashlib.md5(), 0
    for frame in frames:
        count += 1
        digest.update(frame.reformat(format="yuv420p").to_ndarray().tobytes())
    return count, digest.hexdigest()


def decode_units(units: Iterable[AccessUnit]) -> tuple[int, str]:
    """Decodes unit by unit, with nothing but the units."""

    def frames() -> Iterable[av.VideoFrame]:
        decoder: av.VideoCodecContext | None = None
        for unit in units:
            if decoder is None:
                decoder = av.CodecContext.create(FFMPEG_NAMES.get(unit.codec, unit.codec), "r")
                decoder.extradata = unit.extradata + PADDING if unit.extradata else None
                decoder.thread_count = 1
            yield from decoder.decode(av.Packet(unit.data + PADDING))
        if decoder is not None:
            yield from decoder.decode(None)

    return pictures_digest(frames())


def decode_file(path: Path) -> tuple[int, str]:
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        stream.thread_count = 1
        return pictures_digest(container.decode(stream))


def count_packets(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(packet.size > 0 for packet in container.demux(container.streams.best("video")))


def reader_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ovstream-")]


class FakeClock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 100.0
        self.sleeps: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds


def make_unit(index: int = 0, *, keyframe: bool = False, params_changed: bool = False) -> AccessUnit:
    return AccessUnit(
        codec="h264",
        data=b"\0\0\0\1\x65" + bytes([index % 256]),
        pts=index,
        time_base=Fraction(1, 25),
        keyframe=keyframe,
        params_changed=params_changed,
    )
