"""Streams for the oracle: one small x264 clip per coding tool, and the corpus where it is there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
from av.video.codeccontext import VideoCodecContext

from tests.conftest import Corpus

WIDTH, HEIGHT, FRAMES = 208, 160, 24


@dataclass(frozen=True, slots=True)
class Tool:
    """One way to encode: FFmpeg's encoder options and the size of the picture."""

    name: str
    x264: str = ""
    preset: str = "medium"
    profile: str = "high"
    width: int = WIDTH
    height: int = HEIGHT
    fade: bool = False
    still: bool = False
    noise: int = 3
    pix_fmt: str = "yuv420p"
    interlaced: bool = False


_B = "bframes=3:b-adapt=0"
TOOLS = [
    Tool("baseline", profile="baseline"),
    Tool("cavlc-b", f"cabac=0:{_B}", profile="main"),
    Tool("cavlc-8x8dct", f"cabac=0:{_B}:8x8dct=1"),
    Tool("cabac-p", "bframes=0:ref=1", profile="main"),
    Tool("cabac-b-spatial", f"{_B}:direct=spatial"),
    Tool("cabac-b-temporal", f"{_B}:direct=temporal:ref=4"),
    Tool("cavlc-b-temporal", f"cabac=0:{_B}:direct=temporal:ref=4"),
    Tool("direct-auto-pyramid", "bframes=7:b-adapt=0:b-pyramid=normal:direct=auto:ref=6:keyint=20"),
    Tool("pyramid-strict", "bframes=5:b-adapt=0:b-pyramid=strict:direct=temporal"),
    Tool("no-8x8dct", f"8x8dct=0:{_B}"),
    Tool("8x8dct-all", f"8x8dct=1:analyse=all:{_B}"),
    Tool("cqm-jvt", f"cqm=jvt:{_B}"),
    Tool("cqm-jvt-cavlc", f"cqm=jvt:cabac=0:{_B}"),
    Tool("cqm-own", "cqm4=" + ",".join(["20"] * 16) + ":cqm8=" + ",".join(["24"] * 64)),
    Tool("slices", f"slices=4:{_B}"),
    Tool("slices-cavlc", f"slice-max-size=300:cabac=0:{_B}"),
    Tool("slices-one-row", f"slice-max-mbs=13:{_B}:direct=temporal"),
    Tool("slices-7-mbs", "slice-max-mbs=7"),
    Tool("ref-16", f"ref=16:{_B}", noise=8),
    Tool("ref-8-cavlc", f"ref=8:cabac=0:{_B}", noise=8),
    Tool("weightp", f"weightp=2:{_B}:ref=4", fade=True),
    Tool("weightb-implicit", f"weightb=1:{_B}:direct=temporal", fade=True),
    Tool("weightp-blind-cavlc", "weightp=1:cabac=0:ref=3", fade=True),
    Tool("intra-refresh", "intra-refresh=1:keyint=12"),
    Tool("aud-open-gop", f"aud=1:open-gop=1:keyint=8:{_B}"),
    Tool("all-partitions", f"analyse=all:me=umh:subme=9:psy-rd=0:{_B}", noise=12),
    Tool("all-partitions-cavlc", f"analyse=all:subme=9:cabac=0:{_B}", noise=12),
    Tool("p4x4-baseline", "analyse=all:subme=9:ref=4", profile="baseline", noise=16),
    Tool("no-partitions", f"partitions=none:{_B}"),
    Tool("low-qp", f"qp=2:{_B}", noise=20),
    Tool("low-qp-cavlc", f"qp=1:cabac=0:{_B}", noise=40),
    Tool("pcm", "qp=1:psy=0:subme=8", profile="main", noise=25),
    Tool("pcm-cavlc", "qp=1:cabac=0:psy=0:subme=8", profile="main", noise=25),
    Tool("high-qp", f"qp=44:{_B}"),
    Tool("qp-varies", f"aq-mode=2:aq-strength=2:bitrate=300:vbv-maxrate=300:vbv-bufsize=60:{_B}"),
    Tool("chroma-qp-offset", "chroma-qp-offset=-5:cqm=jvt"),
    Tool("odd-size", _B, width=178, height=106),
    Tool("one-macroblock", _B, width=16, height=16),
    Tool("one-row", f"{_B}:direct=temporal", width=320, height=16),
    Tool("one-column", f"{_B}:cabac=0", width=16, height=240),
    Tool("ultrafast", preset="ultrafast"),
    Tool("veryslow", "direct=auto", preset="veryslow"),
    Tool("constrained-intra", f"constrained-intra=1:{_B}"),
    Tool("nal-hrd-recovery", "nal-hrd=vbr:vbv-maxrate=800:vbv-bufsize=800:bitrate=500:pic-struct=1"),
    Tool("no-deblock", "bframes=2:ref=5:b-pyramid=2:no-deblock=1"),
    Tool("gray", _B, pix_fmt="gray"),
    Tool("gray-cavlc", f"cabac=0:{_B}", pix_fmt="gray"),
    Tool("422", _B, profile="high422", pix_fmt="yuv422p", noise=8),
    Tool("422-cavlc", f"cabac=0:cqm=jvt:{_B}", profile="high422", pix_fmt="yuv422p", noise=8),
    Tool("422-10-bit", _B, profile="high422", pix_fmt="yuv422p10le", noise=8),
    Tool("444", f"analyse=all:{_B}", profile="high444", pix_fmt="yuv444p", noise=8),
    Tool("444-cavlc", f"cabac=0:analyse=all:{_B}", profile="high444", pix_fmt="yuv444p", noise=8),
    Tool("444-10-bit", f"cqm=jvt:{_B}", profile="high444", pix_fmt="yuv444p10le", noise=8),
    Tool("10-bit", f"qp=5:{_B}", profile="high10", pix_fmt="yuv420p10le", noise=8),
    Tool("10-bit-cavlc", "cabac=0:qp=1", profile="high10", pix_fmt="yuv420p10le", noise=40),
    Tool("lossless", f"qp=0:{_B}", profile="high444", pix_fmt="yuv420p"),
    Tool("lossless-444-cavlc", f"cabac=0:qp=0:{_B}", profile="high444", pix_fmt="yuv444p"),
    Tool("long-gop", "keyint=infinite:scenecut=0:bframes=2", noise=6),
    Tool("mbaff-spatial", f"tff=1:{_B}:direct=spatial", interlaced=True),
    Tool("mbaff-temporal", f"bff=1:{_B}:direct=temporal:ref=4", interlaced=True),
    Tool("mbaff-pyramid", "tff=1:bframes=7:b-adapt=0:b-pyramid=normal:direct=auto:ref=5", interlaced=True),
    Tool("mbaff-p", "tff=1:bframes=0:ref=3", profile="main", interlaced=True),
    Tool("mbaff-cavlc", f"tff=1:cabac=0:{_B}:direct=spatial", interlaced=True),
    Tool("mbaff-cavlc-temporal", f"tff=1:cabac=0:{_B}:direct=temporal:ref=4", interlaced=True),
    Tool("mbaff-all", f"tff=1:analyse=all:subme=9:cqm=jvt:{_B}", interlaced=True, noise=12),
    Tool("mbaff-all-cavlc", f"tff=1:cabac=0:analyse=all:subme=9:cqm=jvt:{_B}", interlaced=True, noise=12),
    Tool("mbaff-slices", f"tff=1:slices=3:{_B}", interlaced=True),
    Tool("mbaff-slices-cavlc", f"tff=1:cabac=0:slice-max-mbs=46:{_B}:direct=temporal", interlaced=True),
    Tool("mbaff-weightb", f"tff=1:weightb=1:{_B}:direct=temporal", interlaced=True, fade=True),
    Tool("mbaff-quiet", f"tff=1:{_B}:qp=36", interlaced=True, noise=0),
    Tool("mbaff-quiet-cavlc", f"tff=1:cabac=0:{_B}:qp=36", interlaced=True, noise=0),
    Tool("mbaff-pcm", "tff=1:qp=1:psy=0:subme=8", profile="main", interlaced=True, noise=25),
    Tool("mbaff-pcm-cavlc", "tff=1:cabac=0:qp=1:psy=0:subme=8", profile="main", interlaced=True, noise=25),
    Tool("mbaff-odd-size", f"tff=1:{_B}", width=178, height=100, interlaced=True),
    Tool("mbaff-422", f"tff=1:{_B}", profile="high422", pix_fmt="yuv422p", interlaced=True, noise=8),
    Tool("mbaff-422-cavlc", f"tff=1:cabac=0:{_B}", profile="high422", pix_fmt="yuv422p", interlaced=True),
    Tool("mbaff-444", f"tff=1:analyse=all:{_B}", profile="high444", pix_fmt="yuv444p", interlaced=True),
    Tool("mbaff-444-cavlc", f"tff=1:cabac=0:{_B}", profile="high444", pix_fmt="yuv444p", interlaced=True),
    Tool("mbaff-10-bit", f"tff=1:qp=5:{_B}", profile="high10", pix_fmt="yuv420p10le", interlaced=True),
    Tool("mbaff-lossless", f"tff=1:qp=0:{_B}", profile="high444", interlaced=True),
]


def render(tool: Tool, frames: int = FRAMES) -> Iterator[npt.NDArray[np.uint8]]:
    """Pictures; interlaced ones show two moments in their fields, but only the upper half moves that fast."""
    if not tool.interlaced:
        yield from _render(tool, frames)
        return
    fields = list(_render(tool, 2 * frames))
    for first, second in zip(fields[::2], fields[1::2], strict=True):
        woven = first.copy()
        woven[1 : tool.height // 2 : 2] = second[1 : tool.height // 2 : 2]
        yield woven


def _render(tool: Tool, frames: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Textures that pan by fractions of samples, objects that cross them, noise, and a fade when asked for; or only noise."""
    rng = np.random.default_rng(7)
    side = 512
    spectrum = np.fft.rfft2(rng.standard_normal((side, side)))
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    texture = np.fft.irfft2(spectrum / (frequency + 0.01) ** 1.2)
    texture = np.clip(128 + 50 * texture / texture.std(), 0, 255)
    rows, cols = np.mgrid[: tool.height, : tool.width].astype(np.float64)
    for t in range(frames):
        picture = (
            _sample(texture, rows, cols) if tool.still else _sample(texture, rows + 0.35 * t, cols + 1.6 * t)
        )
        for k in range(0 if tool.still else 3):
            top, left = (37 * k + (2.25 + k) * t) % tool.height, (53 * k + (4.5 - 3 * k) * t) % tool.width
            inside = (np.abs(rows - top) < 14 + 4 * k) & (np.abs(cols - left) < 10 + 6 * k)
            moved = _sample(texture, 200 + 1.5 * (rows - top), 90 * k + 1.5 * (cols - left))
            picture = np.where(inside, 255 - moved, picture)
        if tool.fade:
            picture *= 1 - 0.5 * abs(t - frames / 2) / (frames / 2)
        noisy = picture[..., None] * [1, 0.9, 0.8] + rng.uniform(-tool.noise, tool.noise, (*picture.shape, 3))
        yield np.clip(noisy, 0, 255).astype(np.uint8)


def _sample(
    texture: npt.NDArray[np.float64], rows: npt.NDArray[np.float64], cols: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Bilinear interpolation in a texture that repeats."""
    side = len(texture)
    r, c = np.floor(rows).astype(int), np.floor(cols).astype(int)
    y, x = rows - r, cols - c
    r0, r1, c0, c1 = r % side, (r + 1) % side, c % side, (c + 1) % side
    top = texture[r0, c0] * (1 - x) + texture[r0, c1] * x
    bottom = texture[r1, c0] * (1 - x) + texture[r1, c1] * x
    return top * (1 - y) + bottom * y


def encode(tool: Tool, frames: int = FRAMES) -> list[bytes]:
    """The access units of one clip, in decoding order."""
    context = av.CodecContext.create("libx264", "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height, context.pix_fmt = tool.width, tool.height, tool.pix_fmt
    context.time_base = Fraction(1, 25)
    context.framerate = Fraction(25)
    context.options = {
        "preset": tool.preset,
        "profile": tool.profile,
        "x264-params": ":".join(filter(None, [tool.x264, "threads=1:log=-1"])),
    }
    units = []
    for index, rgb in enumerate(render(tool, frames)):
        frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
        frame.pts, frame.time_base = index, Fraction(1, 25)
        units += [bytes(packet) for packet in context.encode(frame)]
    return units + [bytes(packet) for packet in context.encode(None)]


def comparable(corpus: Corpus) -> list[str]:
    """Corpus files that the parser must read exactly: H.264 that FFmpeg decodes cleanly."""
    return [
        row["file"]
        for row in corpus.rows
        if row["codec"] == "h264"
        and row["errors"] == "0"
        and row["file"].split("/")[0] in ("camera", "robot", "conformance-h264")
        and row["pix"] != "None"
        and "FMO" not in row["features"]
    ]
