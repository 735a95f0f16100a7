"""Access units for decoder tests: generated in memory, or read from the corpus."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.bitstream import BitStreamFilterContext
from av.video.codeccontext import VideoCodecContext

from ovstream.decode import Picture
from ovstream.decode.libav import Decoder, to_picture
from ovstream.errors import DecodeError
from ovstream.sources.scene import Scene
from ovstream.types import AccessUnit

TIME_BASE = Fraction(1, 25)
NAMES = {"libx264": "h264", "libx265": "h265", "libvpx": "vp8", "libvpx-vp9": "vp9"}
QUICK: dict[str, dict[str, str]] = {
    "libx264": {"preset": "veryfast"},
    "libx265": {"preset": "ultrafast"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8", "b": "300k"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "b": "300k"},
}


def encode(
    codec: str = "libx264",
    *,
    frames: int = 40,
    options: Mapping[str, str] | None = None,
    scene: Scene | None = None,
    pix_fmt: str = "yuv420p",
    first_pts: int = 0,
) -> list[AccessUnit]:
    """Encodes a scene; access units in coded order with the pts that the encoder gave."""
    drawn = scene or Scene(208, 120)
    context = av.CodecContext.create(codec, "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height, context.pix_fmt = drawn.width, drawn.height, pix_fmt
    context.time_base, context.framerate, context.thread_count = TIME_BASE, Fraction(25), 1
    context.options = {"g": "15", **QUICK.get(codec, {}), **(options or {})}
    packets = []
    for index in range(frames):
        frame = av.VideoFrame.from_ndarray(drawn.render(index), format="rgb24")
        frame.pts, frame.time_base = index + first_pts, TIME_BASE
        packets += context.encode(frame)
    packets += context.encode(None)
    # Encoders of the MPEG-4 family put their header here only.
    extradata = bytes(context.extradata or b"") if codec.startswith("mpeg4") else b""
    return [
        AccessUnit(
            codec=NAMES.get(codec, codec),
            data=bytes(packet),
            pts=packet.pts,
            time_base=TIME_BASE,
            keyframe=packet.is_keyframe,
            extradata=extradata,
        )
        for packet in packets
    ]


def x265(params: str) -> dict[str, str]:
    """Options for a silent, single-threaded x265."""
    return {"x265-params": f"log-level=none:pools=1:frame-threads=1:keyint=15:{params}"}


def read_corpus(path: Path, *, limit: int) -> list[AccessUnit]:
    """Demuxes a file into access units with Annex B data; raw files get their coded order as pts."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        name = stream.codec_context.name
        codec = {"hevc": "h265"}.get(name, name)
        wrapped = codec in ("h264", "h265") and (stream.codec_context.extradata or b"")[:1] == b"\x01"
        bsf = BitStreamFilterContext(f"{name}_mp4toannexb", stream) if wrapped else None
        packets: list[av.Packet] = []
        for packet in container.demux(stream):
            if packet.size:
                packets += bsf.filter(packet) if bsf else [packet]
            if len(packets) >= limit:
                break
        # FFmpeg moves the parameter sets of some raw streams out of the first packet.
        head = b"" if wrapped else bytes(stream.codec_context.extradata or b"")
        return [
            AccessUnit(
                codec=codec,
                data=bytes(packet) if index else head + bytes(packet),
                pts=index if packet.pts is None else packet.pts,
                time_base=Fraction(1, 90_000),
                keyframe=packet.is_keyframe,
            )
            for index, packet in enumerate(packets)
        ]


def decode_all(units: Iterable[AccessUnit]) -> dict[int, Picture]:
    """Decodes everything the ordinary way: number of the unit in coded order -> picture."""
    units = list(units)
    decoder = Decoder(units[0].codec, extradata=units[0].extradata, immediate=False)
    frames = []
    for index, unit in enumerate(units):
        try:
            frames += decoder.decode(unit.data, index)
        except DecodeError:
            continue
    frames += decoder.drain()
    return {
        frame.pts: to_picture(frame, pts=units[frame.pts].pts) for frame in frames if frame.pts is not None
    }


def same(one: Picture, other: Picture) -> bool:
    """Whether two pictures are equal in every sample."""
    return all(
        np.array_equal(mine, theirs)
        for mine, theirs in ((one.y, other.y), (one.u, other.u), (one.v, other.v))
    )


def is_reference(unit: AccessUnit) -> bool:
    """Whether nal_ref_idc of the first H.264 slice is not 0; other codecs: True."""
    if unit.codec != "h264":
        return True
    at = unit.data.find(b"\x00\x00\x01")
    while at >= 0:
        header = unit.data[at + 3]
        if 1 <= header & 31 <= 5:
            return header >> 5 != 0
        at = unit.data.find(b"\x00\x00\x01", at + 3)
    return True


def damage(data: bytes, rng: random.Random) -> bytes:
    """Cuts, overwrites or empties a unit behind its first bytes."""
    kind = rng.randrange(3)
    if kind == 0:
        return data[: rng.randrange(1, len(data))]
    if kind == 1:
        return rng.randbytes(rng.randrange(1, 400))
    body = bytearray(data)
    for _ in range(max(1, len(body) // 50)):
        body[rng.randrange(len(body))] = rng.randrange(256)
    return bytes(body)


def with_data(unit: AccessUnit, data: bytes) -> AccessUnit:
    """The same unit with other bytes."""
    return replace(unit, data=data)
