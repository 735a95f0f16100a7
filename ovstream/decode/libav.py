"""FFmpeg's decoders through PyAV: the only module of this package that imports `av`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.error import FFmpegError
from av.sidedata.motionvectors import MotionVectors
from av.sidedata.sidedata import SideData
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame

from ovstream.config import DEFAULT_MAX_PIXELS
from ovstream.decode import annexb
from ovstream.decode.h265_sps import without_output_delay
from ovstream.decode.picture import Matrix, Picture, Plane
from ovstream.errors import DecodeError
from ovstream.types import SliceType

__all__ = [
    "Decoder",
    "VideoFrame",
    "encoding_parameters",
    "is_damaged",
    "motion_vectors",
    "slice_type",
    "to_picture",
]

FFMPEG_NAMES = {"h265": "hevc"}
END_OF_SEQUENCE = b"\x00\x00\x01\x0a"  # H.264 nal_unit_type 10
H264_MAX_REORDER = 16
FULL_RANGE = 2  # AVCOL_RANGE_JPEG
REPORTS_DAMAGE = frozenset({"h264", "h265"})  # FFmpeg's MPEG-4 decoder also flags sound pictures
MATRICES: dict[int, Matrix] = {
    1: "bt709",
    4: "fcc",
    5: "bt601",
    6: "bt601",
    7: "smpte240m",
    9: "bt2020",
    10: "bt2020",
}


class Decoder:
    """One FFmpeg decoder, single-threaded; frames carry the number of their access unit as pts.

    With `immediate`, every access unit gives its own picture at once, in coded order, B pictures or not:

    * H.264: FFmpeg puts out its next delayed picture when it gets an end-of-sequence NAL unit alone, and keeps
      all references. The reorder depth is set to its maximum, so that only this puts pictures out: bumping
      would compare a picture with those that left early, and drop it.
    * H.265: the SPS loses its reorder delay on the way to the decoder, see `h265_sps`.
    * Other codecs: the low_delay flag.

    Args:
        codec: As in `AccessUnit`.
        extradata: Out-of-band setup.
        max_pixels: Larger pictures are refused before memory is taken for them.
        immediate: Coded order without delay, else display order.
        options: More FFmpeg options.

    Raises:
        DecodeError: FFmpeg has no such decoder.
    """

    def __init__(
        self,
        codec: str,
        *,
        extradata: bytes = b"",
        max_pixels: int = DEFAULT_MAX_PIXELS,
        immediate: bool = True,
        options: Mapping[str, str] | None = None,
    ) -> None:
        self.codec = codec
        self._immediate = immediate
        try:
            context = av.CodecContext.create(FFMPEG_NAMES.get(codec, codec), "r")
        except (ValueError, FFmpegError) as error:
            raise DecodeError(f"there is no decoder for {codec}") from error
        if not isinstance(context, VideoCodecContext):
            raise DecodeError(f"{codec} is not a video codec")
        context.thread_count = 1
        flags = {"flags": "+low_delay"} if immediate and codec not in ("h264", "h265") else {}
        context.options = {"max_pixels": str(max_pixels), **flags, **(options or {})}
        if extradata:
            context.extradata = extradata
        self._context = context

    def decode(self, data: bytes, serial: int) -> list[VideoFrame]:
        """Decodes one access unit.

        Args:
            data: Of the access unit.
            serial: Comes back as `pts` of its frame.

        Returns:
            Frames that are ready; with `immediate` the one of this unit, when the decoder could make it.

        Raises:
            DecodeError: FFmpeg refused the bytes.
        """
        if not data:
            raise DecodeError("the access unit is empty")
        if self._immediate and self.codec == "h265":
            data = _drop_h265_delay(data)
        frames = self._send(data, serial)
        if self._immediate and self.codec == "h264":
            frames += self._send(END_OF_SEQUENCE, serial)
        return frames

    def drain(self) -> list[VideoFrame]:
        """Returns the frames still held back; afterwards only `reset` leads on."""
        try:
            return self._context.decode(None)
        except FFmpegError:
            return []

    def reset(self) -> None:
        """Forgets all pictures, keeps parameter sets; the next unit must be a keyframe."""
        if self._context.is_open:
            self._context.flush_buffers()

    def _send(self, data: bytes, serial: int) -> list[VideoFrame]:
        packet = av.Packet(data)
        packet.pts = serial
        try:
            if self._immediate and self.codec == "h264":
                self._context.open(strict=False)
                self._context.reorder_depth = H264_MAX_REORDER
            return self._context.decode(packet)
        except FFmpegError as error:
            raise DecodeError(f"{self.codec}: {error.strerror or 'the decoder failed'}") from None


def is_damaged(frame: VideoFrame, codec: str) -> bool:
    """Whether the decoder made up parts of the picture."""
    return codec in REPORTS_DAMAGE and frame.is_corrupt


def motion_vectors(frame: VideoFrame) -> npt.NDArray[Any] | None:
    """Reads exported motion: (n,) records like FFmpeg's AVMotionVector, None when there are none."""
    data = frame.side_data.get("MOTION_VECTORS")
    return data.to_ndarray() if isinstance(data, MotionVectors) else None


def encoding_parameters(frame: VideoFrame) -> bytes:
    """Reads exported quantisers: FFmpeg's AVVideoEncParams as bytes, empty when there are none."""
    data = frame.side_data.get("VIDEO_ENC_PARAMS")
    return bytes(data) if isinstance(data, SideData) else b""


def slice_type(frame: VideoFrame) -> SliceType:
    """Tells how the frame was coded, as far as the decoder says; "P" when it does not."""
    if frame.pict_type in (PictureType.I, PictureType.SI):
        return "I"
    return "B" if frame.pict_type == PictureType.B else "P"


def to_picture(frame: VideoFrame, *, pts: int | None, damaged: bool = False) -> Picture:
    """Wraps a frame without copying; formats other than 8-bit 4:2:0 are converted first.

    Raises:
        DecodeError: FFmpeg cannot convert the format.
    """
    name = frame.format.name
    full_range = int(frame.color_range) == FULL_RANGE or name.startswith("yuvj")
    matrix = MATRICES.get(int(frame.colorspace)) or _usual_matrix(frame.width, frame.height)
    if name not in ("yuv420p", "yuvj420p"):
        frame, full_range, matrix = _to_420(frame, full_range, matrix)
    y, u, v = (_view(frame, index) for index in range(3))
    return Picture(y=y, u=u, v=v, pts=pts, full_range=full_range, matrix=matrix, damaged=damaged)


def _to_420(frame: VideoFrame, full_range: bool, matrix: Matrix) -> tuple[VideoFrame, bool, Matrix]:
    if frame.format.is_rgb:
        full_range, matrix = False, "bt601"
        ranges = {}
    else:
        color_range = FULL_RANGE if full_range else 1
        ranges = {"src_color_range": color_range, "dst_color_range": color_range}
    try:
        return frame.reformat(format="yuv420p", threads=1, **ranges), full_range, matrix
    except (FFmpegError, ValueError) as error:
        raise DecodeError(f"pixel format {frame.format.name} cannot be converted") from error


def _view(frame: VideoFrame, index: int) -> Plane:
    plane = frame.planes[index]
    lines: Plane = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
    lines.flags.writeable = False
    return lines[:, : plane.width]


def _usual_matrix(width: int, height: int) -> Matrix:
    """What players assume when a stream says nothing: BT.709 for high definition, BT.601 below."""
    return "bt709" if width >= 1280 or height > 576 else "bt601"


def _drop_h265_delay(data: bytes) -> bytes:
    for nal in annexb.read_preamble("h265", data).parameter_sets:
        if (nal[0] >> 1) & 63 == annexb.H265_SPS:
            data = data.replace(nal, without_output_delay(nal), 1)
    return data
