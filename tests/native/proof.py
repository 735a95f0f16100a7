"""What the proofs by samples share: decoded planes, the metadata beside them, and what came out.

A block without luma residual is, where the loop filters are off, nothing but the prediction: samples of pictures that PyAV
has decoded, at the vectors and references that the parser says. One that is wrong shows as a wrong sample.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame

from ovstream.bitstream import Codec, Parser
from ovstream.types import AccessUnit, FrameMetadata

Plane = npt.NDArray[np.int32]
# Motion points beyond the cropping window.
OPTIONS = {
    "h264": {"flags": "unaligned", "apply_cropping": "0", "strict": "strict"},
    "h265": {"apply_cropping": "0"},
}
FFMPEG_NAMES = {"h264": "h264", "h265": "hevc"}


@dataclass(slots=True)
class Proof:
    """What was predicted (4x4 blocks) and how much of it came out right."""

    frames: int = 0
    blocks: int = 0
    equal: int = 0
    moving: int = 0
    bidirectional: int = 0
    small: int = 0
    far: int = 0
    fields: int = 0
    first_difference: str = ""

    @property
    def perfect(self) -> bool:
        return self.blocks > 0 and self.equal == self.blocks


def pictures(codec: Codec, units: list[bytes]) -> Iterator[tuple[FrameMetadata, dict[int, Plane]]]:
    """Metadata of all pictures that PyAV puts out, in coded order, and all luma planes so far by order count."""
    planes = decode(codec, units)
    by_poc: dict[int, Plane] = {}
    for index, frame in enumerate(parse(codec, units)):
        assert (frame.coverage, frame.errors) == (1, 0)
        if frame.keyframe and frame.poc == 0:
            by_poc.clear()
        if index in planes:
            by_poc[frame.poc] = planes[index]
            yield frame, by_poc


def parse(codec: Codec, units: list[bytes], parser: Parser | None = None) -> Iterator[FrameMetadata]:
    """Parses access units in decoding order; their numbers become the pts."""
    parser = parser or Parser(codec)
    for index, unit in enumerate(units):
        yield parser.parse(AccessUnit(codec, unit, pts=index, time_base=Fraction(1, 25), keyframe=False))


def decode(codec: Codec, units: list[bytes]) -> dict[int, Plane]:
    """Luma planes by number of the access unit, uncropped."""
    context = av.CodecContext.create(FFMPEG_NAMES[codec], "r")
    context.thread_count = 1
    context.options = OPTIONS[codec]
    planes = {}
    for index, unit in enumerate([*units, None]):
        packet = None
        if unit is not None:
            packet = av.Packet(unit)
            packet.pts = packet.dts = index
            packet.time_base = Fraction(1, 25)
        for frame in context.decode(packet):
            assert isinstance(frame, VideoFrame)
            assert frame.pts is not None
            planes[frame.pts] = _luma(frame)
    return planes


def _luma(frame: VideoFrame) -> Plane:
    plane = frame.planes[0]
    depth = np.dtype(np.uint16 if frame.format.components[0].bits > 8 else np.uint8)
    lines = np.frombuffer(bytes(plane), depth).reshape(plane.height, plane.line_size // depth.itemsize)
    return lines[:, : plane.width].astype(np.int32)
