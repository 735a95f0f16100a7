"""Clips for tests: a synthetic scene, encoded by PyAV into any container and codec that the tests need."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import av
from av.video.stream import VideoStream

from ovstream.sources.scene import Scene

# Formats that FFmpeg does not find by the suffix alone.
FORMATS = {
    ".264": "h264",
    ".h264": "h264",
    ".265": "hevc",
    ".h265": "hevc",
    ".ts": "mpegts",
    ".mkv": "matroska",
}
CODEC_DEFAULTS: dict[str, dict[str, str]] = {
    "libx264": {"preset": "veryfast", "threads": "1"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:pools=1:frame-threads=1"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8", "threads": "1", "b": "500k"},
}
# A stream that ends before x265 has seen its reordering delay gets decoding times out of memory that was never set;
# the mp4 muxer refuses most of them.
X265_DELAY = 2


def make_clip(
    path: Path,
    *,
    codec: str = "libx264",
    width: int = 320,
    height: int = 240,
    frames: int = 50,
    fps: int = 25,
    options: Mapping[str, str] | None = None,
    scene: Scene | None = None,
) -> Path:
    """Encodes `frames` pictures of `scene`; the suffix of `path` chooses the container.

    `options` are FFmpeg's names for the encoder (`{"x264-params": "bframes=2:ref=3"}`, `{"g": "25"}`); they are
    added to quick defaults that use one thread. The bytes of x264 are not the same every time: its macroblock trees read
    memory that was never set. Who needs them to be gives `{"mbtree": "0"}`.
    """
    if codec == "libx265" and frames <= X265_DELAY:
        raise ValueError(f"libx265: give more than {X265_DELAY} pictures")
    drawn = scene or Scene(width, height)
    with av.open(str(path), "w", format=FORMATS.get(path.suffix)) as container:
        stream = container.add_stream(
            codec, rate=fps, options={**CODEC_DEFAULTS.get(codec, {}), **(options or {})}
        )
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = drawn.width, drawn.height, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, fps)
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(drawn.render(index), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
