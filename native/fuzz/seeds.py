"""Makes what the fuzzer starts from: tiny clips of each codec and tool, and pieces of real streams.

    python native/fuzz/seeds.py FOLDER [CORPUS]

Each driver gets a folder of its own inside FOLDER. CORPUS is a folder of raw streams; only short beginnings are taken.
"""

from __future__ import annotations

import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
from av.video.codeccontext import VideoCodecContext

from ovstream.sources.scene import Scene

WIDTH, HEIGHT, FRAMES = 64, 48, 6
SEPARATOR = b"\0\0\2"
LONGEST_BYTES = 4096
ENCODERS = {"h264": "libx264", "h265": "libx265", "vp8": "libvpx"}
SUFFIXES = {"h264": (".264", ".h264", ".jsv", ".avc", ".26l"), "h265": (".265", ".hevc", ".bit")}
X264 = [
    "bframes=2:b-adapt=0",
    "cabac=0:bframes=2:b-adapt=0:direct=temporal",
    "ref=4:8x8dct=1:weightp=2:bframes=3:b-pyramid=normal",
    "interlaced=1:bframes=1",
    "cabac=0:slices=3:no-deblock=1",
    "qp=0:bframes=1",
    "intra-refresh=1:constrained-intra=1",
]
X265 = [
    "bframes=2",
    "ctu=16:rect=1:amp=1:bframes=1",
    "tskip=1:sign-hide=1:no-wpp=1",
    "lossless=1",
    "weightp=1:weightb=1:ref=3",
    "slices=2:cu-lossless=1",
]
PIXEL_FORMATS = ("yuv420p", "yuv422p", "yuv444p", "gray")


def encode(codec: str, parameters: str, pixel_format: str = "yuv420p", qp: int = 30) -> list[bytes]:
    """Access units of a tiny clip; quality is low, so that a unit stays small."""
    context = av.CodecContext.create(ENCODERS[codec], "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height, context.pix_fmt = WIDTH, HEIGHT, pixel_format
    context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
    context.gop_size = FRAMES
    name = "x264-params" if codec == "h264" else "x265-params"
    quality = "" if "qp=" in parameters or "lossless=1" in parameters.split(":") else f":qp={qp}"
    context.options = (
        {"deadline": "realtime", "cpu-used": "4", "token-parts": parameters, "crf": "40", "b": "50k"}
        if codec == "vp8"
        else {"preset": "medium", name: f"{parameters}{quality}:log-level=none"}
    )
    scene = Scene(WIDTH, HEIGHT, objects=2, noise=2.5, speed_px=3)
    units = []
    for index in range(FRAMES):
        picture = av.VideoFrame.from_ndarray(scene.render(index), format="rgb24").reformat(
            format=pixel_format
        )
        picture.pts, picture.time_base = index, Fraction(1, 25)
        units += [bytes(packet) for packet in context.encode(picture)]
    return units + [bytes(packet) for packet in context.encode(None)]


def without_messages(codec: str, unit: bytes) -> bytes:
    """Drops the encoder's settings, a long text that teaches a fuzzer nothing."""
    nals = [nal for nal in unit.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1") if nal]
    kind = {"h264": lambda nal: nal[0] & 31 == 6, "h265": lambda nal: nal[0] >> 1 in (39, 40)}[codec]
    return b"".join(b"\0\0\1" + nal for nal in nals if not kind(nal))


def clips(codec: str) -> list[list[bytes]]:
    """One clip per tool."""
    if codec == "vp8":
        return [encode(codec, parts) for parts in ("0", "1", "3")]
    parameters = X264 if codec == "h264" else X265
    made = [encode(codec, one) for one in parameters]
    made += [encode(codec, parameters[0], pixel_format) for pixel_format in PIXEL_FORMATS[1:]]
    return [[without_messages(codec, unit) for unit in units] for units in made]


def write(folder: Path, driver: str, data: bytes, head: bytes) -> None:
    """Adds one input to those of a driver."""
    (folder / driver).mkdir(parents=True, exist_ok=True)
    content = head + data[:LONGEST_BYTES]
    (folder / driver / f"seed-{len(list((folder / driver).iterdir())):03}").write_bytes(content)


def main(folder: Path, corpus: Path | None) -> None:
    """Writes the inputs of all drivers, and the keyframes that drivers end with when they are missing."""
    for codec in ENCODERS:
        streams = clips(codec)
        for units in streams:
            for options in (1, 3, 16):
                write(folder, f"{codec}_units", SEPARATOR.join(units), bytes([options]))
            if codec == "vp8":
                for unit in units:
                    write(folder, "vp8_partitions", unit[10:], bytes([1, 63, 47, 255]))
                continue
            write(folder, f"{codec}_split", b"".join(units), bytes([1, 255, 40, 90, 7, 255, 3, 128]))
            write(folder, "nal", b"".join(units), b"")
            sets = [nal for nal in units[0].split(b"\0\0\1") if nal][:3]
            header = 1 if codec == "h264" else 2
            for first, second in pairwise(sets):
                payload = first[header:] + second[header:]
                write(folder, f"{codec}_sets", payload, bytes([min(255, len(first) - header)]))
            for seed in range(8):
                data = b"".join(unit[-60:] for unit in units)
                write(folder, f"{codec}_slices", data, bytes([1, seed, 37 * seed % 256, 30]))
        for path in sorted(corpus.rglob("*")) if corpus else ():
            if path.suffix in SUFFIXES.get(codec, ()):
                write(folder, f"{codec}_units", path.read_bytes()[:LONGEST_BYTES], b"\1")
    keyframes = Path(__file__).parent / "keyframes"
    if not all((keyframes / codec).exists() for codec in ENCODERS):
        keyframes.mkdir(exist_ok=True)
        for codec in ENCODERS:
            unit = encode(codec, "3" if codec == "vp8" else "bframes=0", qp=44)[0]
            data = unit if codec == "vp8" else without_messages(codec, unit)
            (keyframes / codec).write_bytes(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
