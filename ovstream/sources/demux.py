"""FFmpeg's demuxers as a stream of access units; nothing is decoded. Everything here blocks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import Self

import av
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from ovstream.errors import ConfigError, SourceCodecError, SourceProtocolError, SourceTimeout
from ovstream.sources.ffmpeg_errors import translate
from ovstream.sources.parameter_sets import ParameterSets, extradata_nals, is_length_prefixed
from ovstream.sources.picture_size import nals_size
from ovstream.sources.pieces import Part, PieceAssembler

CODEC_NAMES = {"hevc": "h265"}
ANNEXB_FILTERS = {"h264": "h264_mp4toannexb", "h265": "hevc_mp4toannexb"}
DEFAULT_FPS = Fraction(25)
PARSERLESS = 0x20 | 0x10  # AVFMT_FLAG_NOPARSE, which needs AVFMT_FLAG_NOFILLIN


@dataclass(frozen=True, slots=True)
class Sample:
    """One access unit as the demuxer sees it.

    Attributes:
        data: Annex B with parameter sets at starting points, or one frame of the codec.
        pts: `time_base` units; counted on from the packet before where the container has no time stamps.
        dts: Decode time in the same units; `pts` where the container has none.
        duration: In the same units, at least 1.
        keyframe: A decoder can start here.
        damaged: The container says that bytes are missing, or packets before it could not be read.
        params_changed: Parameter sets or codec setup differ from those before.
        arrival_ns: Monotonic clock.
        sender_time_ns: The sender's wall clock (RTCP sender report), or None.
    """

    data: bytes
    pts: int
    dts: int
    duration: int
    keyframe: bool
    damaged: bool
    params_changed: bool
    arrival_ns: int
    sender_time_ns: int | None


class Demuxer:
    """An open container or stream.

    Args:
        url: What FFmpeg opens, with credentials.
        name: The same for people, without them; the only form that errors show.
        format: FFmpeg's name of the container; None to probe.
        options: FFmpeg's options.
        timeout_seconds: For opening, and for each read; None waits for ever (local files).
        max_pixels: Largest picture, width times height.
        parameter_sets: Those of the connection before, so that a change is noticed; None at first.
        extradata: Likewise.
        in_pieces: Take the packets of RTP as they come, where the codec allows (`pieces`).

    Attributes:
        heard_ns: Monotonic clock, when the newest packet of the video came; at first when the container was open.

    Raises:
        SourceError: It cannot be opened, or has no video.
        ConfigError: FFmpeg was built without the protocol.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str,
        format: str | None = None,
        options: Mapping[str, str],
        timeout_seconds: tuple[float, float] | None = None,
        max_pixels: int,
        parameter_sets: ParameterSets | None = None,
        extradata: bytes | None = None,
        in_pieces: bool = False,
    ) -> None:
        self._name = name
        self._next_pts = 0
        self._pending_damage = False
        self._pending_change = False
        self._started = False
        options = dict(options) | ({"fflags": "noparse+nofillin"} if in_pieces else {})
        self._container = _open(url, name, format, options, timeout_seconds)
        self.heard_ns = time.monotonic_ns()
        try:
            self._stream = self._video_stream(max_pixels)
            self._assembler = self._piece_assembler() if in_pieces else None
            self._setup(parameter_sets, extradata)
        except Exception:
            self._container.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()

    @property
    def description(self) -> str:
        """Codec, and size where the container tells it."""
        width, height = _size(self._stream)
        return f"{self.codec} {width}x{height}" if width else self.codec

    @property
    def ends_damaged(self) -> bool:
        """Whether packets after the last sample could not be read."""
        return self._pending_damage

    def samples(self) -> Iterator[Sample | None]:
        """Yields access units in coded order, and None after each read that timed out, or was ended.

        Raises:
            SourceError: The container breaks; an end is no error.
        """
        while True:
            try:
                for packet in self._container.demux(self._stream):
                    if packet.size:
                        yield from self._convert(packet)
                return
            except (av.error.ExitError, av.error.BlockingIOError):
                failure = None
            except EOFError:
                return
            except av.error.FFmpegError as error:
                failure = translate(error, self._name)
            if failure is not None:
                raise failure
            yield None

    def _setup(self, parameter_sets: ParameterSets | None, extradata_before: bytes | None) -> None:
        context = self._stream.codec_context
        self.codec = _codec(self._stream)
        self.time_base = self._stream.time_base or Fraction(1, 90_000)
        self.finite = self._container.duration is not None or self._container.size > 0
        self._default_duration = self._frame_duration()
        extradata = bytes(context.extradata or b"")
        self.parameter_sets: ParameterSets | None = None
        self.extradata = b""
        self._filter: BitStreamFilterContext | None = None
        if self.codec not in ANNEXB_FILTERS:
            self.extradata = extradata
            self._pending_change = extradata_before is not None and (
                extradata != extradata_before or parameter_sets is not None
            )
            return
        if is_length_prefixed(extradata, self.codec):
            self._filter = self._annexb_filter()
        if parameter_sets is not None and parameter_sets.codec == self.codec:
            self.parameter_sets = parameter_sets
        else:
            self.parameter_sets = ParameterSets(self.codec)
            self._pending_change = extradata_before is not None
        self._pending_change |= self.parameter_sets.absorb(extradata_nals(extradata, self.codec))

    def _piece_assembler(self) -> PieceAssembler | None:
        """The one of the codec; others get FFmpeg's parsers back, which start with the first packet."""
        codec = _codec(self._stream)
        if codec in ANNEXB_FILTERS:
            return PieceAssembler(codec)
        self._container.flags &= ~PARSERLESS
        return None

    @property
    def ends_cut(self) -> bool:
        """Whether the last sample before a break may be what FFmpeg had of a picture."""
        return self._assembler is None

    def _annexb_filter(self) -> BitStreamFilterContext:
        try:
            return BitStreamFilterContext(ANNEXB_FILTERS[self.codec], self._stream)
        except av.error.FFmpegError as error:  # damaged avcC or hvcC
            failure = translate(error, self._name)
        raise failure

    def _video_stream(self, max_pixels: int) -> VideoStream:
        stream = self._container.streams.best("video")
        if not isinstance(stream, VideoStream) or stream.codec_context is None:
            raise SourceCodecError(f"{self._name} has no video track that FFmpeg knows")
        width, height = _size(stream)
        if width * height > max_pixels:
            raise SourceProtocolError(
                f"{self._name} sends {width}x{height}, more than max_pixels = {max_pixels}"
            )
        return stream

    def _frame_duration(self) -> int:
        rate = self._stream.guessed_rate or self._stream.average_rate or DEFAULT_FPS
        return max(round(1 / (rate * self.time_base)), 1)

    def _convert(self, packet: Packet[VideoStream]) -> Iterator[Sample]:
        self._take_new_extradata(packet)
        for part in self._parts(packet):
            data, changed = part.data, False
            if self.parameter_sets is not None:
                data, changed = self.parameter_sets.complete(data, start=part.keyframe or not self._started)
            pts, dts, duration = self._times(part)
            yield Sample(
                data=data,
                pts=pts,
                dts=dts,
                duration=duration,
                keyframe=part.keyframe,
                damaged=part.damaged or self._pending_damage,
                params_changed=changed or self._pending_change,
                arrival_ns=part.arrival_ns,
                sender_time_ns=part.sender_time_ns,
            )
            self._started, self._pending_damage, self._pending_change = True, False, False

    def _parts(self, packet: Packet[VideoStream]) -> list[Part]:
        self.heard_ns = arrival_ns = time.monotonic_ns()
        sender_time_ns = _sender_time_ns(packet)
        parts = [
            Part(
                data=bytes(part),
                pts=part.pts,
                dts=part.dts,
                duration=part.duration or 0,
                keyframe=part.is_keyframe,
                damaged=packet.is_corrupt,
                arrival_ns=arrival_ns,
                sender_time_ns=sender_time_ns,
            )
            for part in self._filtered(packet)
        ]
        if self._assembler is None:
            return parts
        return [unit for part in parts if (unit := self._assembler.push(part)) is not None]

    def _filtered(self, packet: Packet[VideoStream]) -> list[Packet[VideoStream]]:
        if self._filter is None:
            return [packet]
        try:
            return self._filter.filter(packet)
        except av.error.FFmpegError:  # broken NAL unit lengths: this packet is lost, the next may be whole
            self._pending_damage = True
            return []

    def _times(self, part: Part) -> tuple[int, int, int]:
        known = part.pts if part.pts is not None else part.dts
        pts = self._next_pts if known is None else known
        dts = pts if part.dts is None else part.dts
        duration = part.duration or self._default_duration
        self._next_pts = dts + duration
        return pts, dts, duration

    def _take_new_extradata(self, packet: Packet[VideoStream]) -> None:
        if not packet.has_sidedata("new_extradata"):
            return
        extradata = bytes(packet.get_sidedata("new_extradata"))
        if self.parameter_sets is not None:
            self._pending_change |= self.parameter_sets.absorb(extradata_nals(extradata, self.codec))
        elif extradata != self.extradata:
            self.extradata = extradata
            self._pending_change = True


def _open(
    url: str,
    name: str,
    format: str | None,
    options: Mapping[str, str],
    timeout_seconds: tuple[float, float] | None,
) -> InputContainer:
    started = time.monotonic()
    try:
        return av.open(url, "r", format=format, options=dict(options), timeout=timeout_seconds)
    except av.error.ProtocolNotFoundError:
        missing = url.partition(":")[0]
    except (av.error.FFmpegError, ValueError) as error:
        missing, failure = "", translate(error, name)
        if isinstance(error, av.error.ArgumentError) and "format_whitelist" in options:
            failure = SourceProtocolError(
                f"{name} is no video of a kind that is read here: {options['format_whitelist']}"
            )
    if missing:
        raise ConfigError(
            f"{name}: this build of FFmpeg (PyAV) has no {missing}; put a gateway such as MediaMTX in front"
        )
    # FFmpeg reports an interrupted handshake as whatever it found last.
    if timeout_seconds is not None and time.monotonic() - started >= timeout_seconds[0]:
        raise SourceTimeout(f"{name} does not answer in time")
    raise failure


def _codec(stream: VideoStream) -> str:
    return CODEC_NAMES.get(stream.codec_context.name, stream.codec_context.name)


def _size(stream: VideoStream) -> tuple[int, int]:
    """Width and height; without FFmpeg's parsers those of the codec setup; zeros where nothing tells."""
    if stream.width or _codec(stream) not in ANNEXB_FILTERS:
        return stream.width, stream.height
    extradata = bytes(stream.codec_context.extradata or b"")
    return nals_size(extradata_nals(extradata, _codec(stream)), _codec(stream)) or (0, 0)


def _sender_time_ns(packet: Packet[VideoStream]) -> int | None:
    """AVProducerReferenceTime: an int64 in microseconds of Unix time, in native byte order, then flags."""
    if not packet.has_sidedata("prft"):
        return None
    microseconds = int.from_bytes(bytes(packet.get_sidedata("prft"))[:8], "little", signed=True)
    return microseconds * 1000
