"""Question: how fast are motion vectors, QP, energy and bit costs read, and how much faster than by decoding?

Method: 1080p clips of the synthetic camera (x264, IPPP with an IDR picture every two seconds, CABAC and CAVLC; x265
alike; libvpx, a key frame every two seconds) at several bit rates; one process pinned to one core; the parser and PyAV
(`thread_count=1`) take turns over the same packets, the median CPU time of the rounds counts, which other processes
disturb little. "slice Mbit/s" is bits of the stream per second of parser time. "sampled" reads every fifth P picture
and no I picture. Where they are installed, motion-vector-extractor (vectors only) and codec-video-prep (bit costs)
take part on the clips that they can read; both come with an FFmpeg of their own.

    pip install motion-vector-extractor codec-video-prep    # optional
    python benchmarks/parse.py [--frames 100] [--rounds 5] [--kbits 1000 2000] [--clips VP8]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any

import av
from av.sidedata.sidedata import Type
from av.video.codeccontext import VideoCodecContext
from rich.console import Console
from rich.table import Table

from ovstream.bitstream import Codec, Level, Parser
from ovstream.sources.scene import Scene
from ovstream.types import AccessUnit

WIDTH, HEIGHT, FPS = 1920, 1080, 25
KBITS = (500, 1000, 2000, 4000, 8000)
CLIPS = ("CABAC", "CAVLC", "HEVC", "VP8")
ENCODERS: dict[str, str] = {"HEVC": "libx265", "VP8": "libvpx"}
CODECS: dict[str, Codec] = {"HEVC": "h265", "VP8": "vp8"}
FFMPEG_NAMES = {"h265": "hevc"}


def camera(frames: int) -> list[av.VideoFrame]:
    """Pictures of a fixed camera; they swing to and fro so that no jump stands where they repeat."""
    scene = Scene(WIDTH, HEIGHT, objects=8, noise=2.5, speed_px=5)
    few = [
        av.VideoFrame.from_ndarray(scene.render(i), format="rgb24").reformat(format="yuv420p")
        for i in range(min(frames, 40))
    ]
    turn = [*range(len(few)), *range(len(few) - 2, 0, -1)]
    return [few[turn[i % len(turn)]] for i in range(frames)]


@dataclass(frozen=True, slots=True)
class Clip:
    """Access units with what they are."""

    name: str
    codec: Codec
    units: list[bytes]


def encode(pictures: list[av.VideoFrame], kbits: int, name: str) -> Clip:
    """A clip of about `kbits` per second: one of `CLIPS`."""
    context = av.CodecContext.create(ENCODERS.get(name, "libx264"), "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height, context.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    context.time_base, context.framerate = Fraction(1, FPS), Fraction(FPS)
    context.gop_size = 2 * FPS
    rate = f"bitrate={kbits}:vbv-maxrate={kbits}:vbv-bufsize={kbits}"
    if name == "VP8":
        context.bit_rate = 1000 * kbits
        limits = dict.fromkeys(("minrate", "maxrate", "bufsize"), f"{kbits}k")
        context.options = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", **limits}
    elif name == "HEVC":
        x265 = f"bframes=0:keyint={2 * FPS}:{rate}:log-level=none"
        context.options = {"preset": "veryfast", "x265-params": x265}
    else:
        x264 = (
            f"cabac={int(name == 'CABAC')}:bframes=0:keyint={2 * FPS}:{rate}:threads={os.cpu_count()}:log=-1"
        )
        context.options = {"preset": "veryfast", "x264-params": x264}
    units = []
    for index, picture in enumerate(pictures):
        picture.pts, picture.time_base = index, Fraction(1, FPS)
        units += [bytes(packet) for packet in context.encode(picture)]
    units += [bytes(packet) for packet in context.encode(None)]
    return Clip(name, CODECS.get(name, "h264"), units)


def parse(clip: Clip, level: Level, **options: Any) -> int:
    """Reads all units and, like `decode`, keeps none of the results."""
    parser = Parser(clip.codec, level=level, **options)
    for pts, data in enumerate(clip.units):
        parser.parse(AccessUnit(clip.codec, data, pts=pts, time_base=Fraction(1, FPS), keyframe=False))
    return len(clip.units)


def decode(clip: Clip, *, motion: bool) -> int:
    context = av.CodecContext.create(FFMPEG_NAMES.get(clip.codec, clip.codec), "r")
    context.thread_count = 1
    if motion:
        context.options = {"flags2": "+export_mvs"}
    frames = 0
    for packet in [*map(av.Packet, clip.units), None]:
        for frame in context.decode(packet):
            frames += 1
            if motion and (vectors := frame.side_data.get(Type.MOTION_VECTORS)) is not None:
                vectors.to_ndarray()
    return frames


def peer(name: str) -> Any:
    """The module of another package, or None where it is not installed."""
    try:
        return import_module(name)
    except ImportError:
        return None


def extract_motion(videocap: Any, path: Path) -> int:
    """motion-vector-extractor: vectors of every picture, pixels left out."""
    capture = videocap.VideoCap()
    if not capture.open(str(path)):
        raise RuntimeError(f"motion-vector-extractor cannot open {path.name}")
    capture.set_decode_frames(False)
    frames = 0
    while capture.read()[0]:
        frames += 1
    capture.release()
    return frames


def contestants(clip: Clip, folder: Path) -> dict[str, Callable[[], int]]:
    """Everybody who can read this clip; each reads all of it and counts the pictures."""
    able: dict[str, Callable[[], int]] = {
        "full": lambda: parse(clip, "full"),
        "motion": lambda: parse(clip, "motion"),
        "sampled": lambda: parse(clip, "full", every=5, skip_intra=True),
        "PyAV": lambda: decode(clip, motion=False),
    }
    path = folder / f"{clip.name}.{ {'h264': '264', 'h265': '265'}.get(clip.codec, clip.codec) }"
    path.write_bytes(b"".join(clip.units))
    if clip.codec == "h264":  # FFmpeg exports no vectors of the others
        able["PyAV + MVs"] = lambda: decode(clip, motion=True)
        if videocap := peer("mvextractor.videocap"):
            able["mv-extractor"] = lambda: extract_motion(videocap, path)
    if clip.codec != "vp8" and (reader := peer("codec_video_prep.cv_reader_fast")):
        able["codec-video-prep"] = lambda: len(reader.read_video_fast(str(path), export_bitcost=1))
    return able


def measure(clip: Clip, rounds: int) -> dict[str, float]:
    """Median CPU seconds of each contestant, who take turns."""
    with tempfile.TemporaryDirectory() as folder:
        able = contestants(clip, Path(folder))
        seconds: dict[str, list[float]] = {name: [] for name in able}
        for _ in range(rounds):
            for name, run in able.items():
                begin = time.process_time()
                frames = run()
                seconds[name].append(time.process_time() - begin)
                assert frames == len(clip.units), name
    return {name: statistics.median(found) for name, found in seconds.items()}


PEERS = ("PyAV", "PyAV + MVs", "mv-extractor", "codec-video-prep")


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--frames", type=int, default=100)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--kbits", type=int, nargs="+", default=KBITS)
    options.add_argument("--clips", nargs="+", choices=CLIPS, default=CLIPS)
    chosen = options.parse_args()
    table = Table(title=f"1080p, one core, {chosen.frames} frames, median of {chosen.rounds}")
    ours = ("full", "motion", "sampled")
    ratios = ("full / PyAV", "motion / PyAV", "sampled / PyAV")
    for name in ("clip", "kbit/s", "slice Mbit/s", *(f"{name} fps" for name in (*ours, *PEERS)), *ratios):
        table.add_column(name, justify="left" if name == "clip" else "right")
    pictures = camera(chosen.frames)
    clips = [encode(pictures, kbits, name) for name in chosen.clips for kbits in chosen.kbits]
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    for clip in clips:
        bits, frames = 8 * sum(map(len, clip.units)), len(clip.units)
        seconds = measure(clip, chosen.rounds)
        rate, speed = f"{bits * FPS / frames / 1000:.0f}", f"{bits / seconds['full'] / 1e6:.0f}"
        fps = [f"{frames / seconds[name]:.0f}" if name in seconds else "-" for name in (*ours, *PEERS)]
        gains = [f"{seconds['PyAV'] / seconds[name]:.2f}" for name in ours]
        table.add_row(clip.name, rate, speed, *fps, *gains)
    Console(width=180).print(table)


if __name__ == "__main__":
    main()
