"""A camera without a camera: the synthetic scene, encoded in process with the habits of an IP camera."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import count
from typing import Any, Literal
from urllib.parse import parse_qsl

import av
from av.video.codeccontext import VideoCodecContext
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ovstream.config import SourceConfig
from ovstream.errors import ConfigError, SourceProtocolError
from ovstream.sources.base import OnEvent, ignore_event
from ovstream.sources.pacing import Pacer
from ovstream.sources.scene import Scene
from ovstream.sources.worker import ThreadedSource, Timed, Worker
from ovstream.types import AccessUnit

PREFIX = "synthetic:"
ENCODERS = {"h264": "libx264", "h265": "libx265", "vp8": "libvpx"}


class SyntheticOptions(BaseModel):
    """What may stand behind `synthetic:?`, for example `synthetic:?fps=10&noise=4`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(default=640, ge=32, le=8192, multiple_of=2)
    height: int = Field(default=360, ge=32, le=8192, multiple_of=2)
    fps: int = Field(default=25, ge=1, le=240)
    seconds: float | None = Field(default=None, gt=0, description="endless when absent")
    codec: Literal["h264", "h265", "vp8"] = "h264"
    gop: int = Field(default=50, ge=1, description="pictures from keyframe to keyframe")
    bitrate_kbps: int | None = Field(default=None, ge=10, description="constant quality when absent")
    objects: int = Field(default=3, ge=0, le=100)
    noise: float = Field(default=2.0, ge=0, le=64)
    lighting: float = Field(default=0.1, ge=0, le=1)
    pan: float = Field(default=0.0, description="pixels per frame")
    speed: float = Field(default=2.0, ge=0, description="of the objects, pixels per frame")
    rest: float = Field(default=0.0, ge=0, le=1, description="share of the time that the objects stand still")
    seed: int = Field(default=0, ge=0)

    def scene(self) -> Scene:
        """The pictures that will be encoded."""
        return Scene(
            self.width,
            self.height,
            seed=self.seed,
            objects=self.objects,
            noise=self.noise,
            lighting=self.lighting,
            pan_px=self.pan,
            speed_px=self.speed,
            rest=self.rest,
        )


def parse_options(url: str) -> SyntheticOptions:
    """Reads `synthetic:?name=value&...`.

    Raises:
        ConfigError: A name or value is wrong; the text lists the right names.
    """
    query = url.removeprefix(PREFIX).lstrip("/").removeprefix("?")
    try:
        return SyntheticOptions.model_validate(dict(parse_qsl(query, strict_parsing=bool(query))))
    except (ValidationError, ValueError) as error:
        details = error.errors() if isinstance(error, ValidationError) else []
        wrong = "; ".join(f"{'.'.join(map(str, d['loc']))}: {d['msg']}" for d in details) or str(error)
        names = ", ".join(SyntheticOptions.model_fields)
        raise ConfigError(f"{url}: {wrong}. Options: {names}") from None


class SyntheticSource(ThreadedSource):
    """Renders, encodes and yields; the same options give the same bytes.

    Encoded as IP cameras do: no B pictures, a fixed GOP, parameter sets with every keyframe.

    Args:
        options: What to show and how to encode it.
        config: Uses `pace` and `queue_units`.
        on_event: Called in the consumer's event loop.
        pacer: Clock of `pace="realtime"`.
    """

    def __init__(
        self,
        options: SyntheticOptions | None = None,
        *,
        config: SourceConfig | None = None,
        on_event: OnEvent = ignore_event,
        pacer: Pacer | None = None,
    ) -> None:
        used = config or SourceConfig()
        super().__init__(
            "synthetic",
            queue_units=used.queue_units,
            pacer=(pacer or Pacer()) if used.pace == "realtime" else None,
            on_event=on_event,
        )
        self.options = options or SyntheticOptions()
        self.scene = self.options.scene()

    def _read(self, worker: Worker[Timed]) -> None:
        options = self.options
        self._emit(worker, "connected", f"{self.name}: {options.codec} {options.width}x{options.height}")
        for unit in _encoded(options, self.scene):
            assert unit.pts is not None
            worker.put(Timed(unit, float(unit.pts * unit.time_base)))


def make_units(options: SyntheticOptions) -> list[AccessUnit]:
    """Renders and encodes a whole camera at once; its units have no time of arrival.

    Raises:
        ConfigError: `seconds` is not set.
    """
    if options.seconds is None:
        raise ConfigError("an endless camera cannot be made at once: set 'seconds'")
    return [replace(unit, arrival_ns=0) for unit in _encoded(options, options.scene())]


def _encoded(options: SyntheticOptions, scene: Scene) -> Iterator[AccessUnit]:
    encoder, time_base = make_encoder(options), Fraction(1, options.fps)
    frames = None if options.seconds is None else round(options.seconds * options.fps)
    for index in count() if frames is None else range(frames):
        frame = av.VideoFrame.from_ndarray(scene.render(index), format="rgb24")
        frame.pts, frame.time_base = index, time_base
        yield from _units(options, encoder.encode(frame.reformat(format="yuv420p")))
    yield from _units(options, encoder.encode(None))


def _units(options: SyntheticOptions, packets: list[Any]) -> Iterator[AccessUnit]:
    for packet in packets:
        yield AccessUnit(
            codec=options.codec,
            data=bytes(packet),
            pts=packet.pts,
            time_base=Fraction(1, options.fps),
            keyframe=packet.is_keyframe,
            arrival_ns=time.monotonic_ns(),
        )


def make_encoder(options: SyntheticOptions) -> VideoCodecContext:
    """An encoder without look-ahead: one picture in, one access unit out."""
    try:
        context = av.CodecContext.create(ENCODERS[options.codec], "w")
    except av.error.FFmpegError:
        context = None
    if not isinstance(context, VideoCodecContext):
        raise SourceProtocolError(f"this build of FFmpeg (PyAV) cannot encode {options.codec}")
    context.width, context.height, context.pix_fmt = options.width, options.height, "yuv420p"
    context.time_base, context.framerate = Fraction(1, options.fps), Fraction(options.fps)
    context.gop_size = options.gop
    if options.bitrate_kbps is not None:
        context.bit_rate = options.bitrate_kbps * 1000
    context.options = _encoder_options(options)
    return context


def _encoder_options(options: SyntheticOptions) -> dict[str, str]:
    quality = {} if options.bitrate_kbps is not None else {"crf": "25"}
    if options.codec == "h264":
        x264 = "bframes=0:scenecut=0:threads=1"
        return {"preset": "veryfast", "tune": "zerolatency", "x264-params": x264, **quality}
    if options.codec == "h265":
        x265 = "bframes=0:scenecut=0:repeat-headers=1:pools=1:frame-threads=1:log-level=none"
        return {"preset": "ultrafast", "tune": "zerolatency", "x265-params": x265, **quality}
    vp8 = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "threads": "1"}
    return vp8 | ({"crf": "20", "b": "1000k"} if options.bitrate_kbps is None else {})
