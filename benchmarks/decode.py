"""What do pixels cost when they are only made where and when they are wanted?

Side by side, in one process, on one thread, CPU seconds, median of several rounds:

1. decoding every picture against the newest of every 1, 5, 25 and 100 with `OnDemandDecoder`. Catching up needs
   every reference picture since the last keyframe (every 50 pictures here): without B pictures it only saves
   GOPs in which nobody asks; with B pictures that nobody refers to, it saves those always;
2. cropping 16 or all patches with `PatchCropper` against swscale: the whole frame to RGB, and the whole frame
   scaled to the size of the patch grid;
3. both together: everything for every picture, against a sparse crop.

    python -m benchmarks.decode [--size 1920x1080] [--frames 200] [--rounds 5] [--input FILE.264]
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from fractions import Fraction

os.environ.setdefault("OMP_NUM_THREADS", "1")

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext

from ovstream.decode import OnDemandDecoder, PatchCropper, Picture
from ovstream.sources.scene import Scene
from ovstream.types import AccessUnit

GRID = (12, 21)
PATCH_PX = 16
SPARSE = 16
EVERY = (1, 5, 25, 100)
MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
TIME_BASE = Fraction(1, 25)


def camera(width: int, height: int, frames: int, *, b_frames: int) -> list[AccessUnit]:
    """A synthetic camera, H.264, 2 Mbit/s at 1080p, a keyframe every 50 pictures."""
    context = av.CodecContext.create("libx264", "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height, context.pix_fmt = width, height, "yuv420p"
    context.time_base, context.framerate, context.thread_count = TIME_BASE, Fraction(25), 1
    context.bit_rate = width * height
    context.options = {"preset": "veryfast", "bf": str(b_frames), "g": "50", "x264-params": "b-adapt=0"}
    scene = Scene(width, height)
    packets = []
    for index in range(frames):
        frame = av.VideoFrame.from_ndarray(scene.render(index), format="rgb24")
        frame.pts = index
        packets += context.encode(frame)
    packets += context.encode(None)
    return [AccessUnit("h264", bytes(p), p.pts, TIME_BASE, p.is_keyframe) for p in packets]


def from_file(path: str, frames: int) -> list[AccessUnit]:
    """Units of a raw H.264 file."""
    with av.open(path, format="h264") as container:
        stream = container.streams.video[0]
        head = bytes(stream.codec_context.extradata or b"")
        packets = [packet for packet in container.demux(stream) if packet.size][:frames]
        return [
            AccessUnit("h264", (b"" if n else head) + bytes(p), n, TIME_BASE, p.is_keyframe)
            for n, p in enumerate(packets)
        ]


def decode_everything(units: list[AccessUnit], use: Callable[[av.VideoFrame], object]) -> None:
    context = av.CodecContext.create("h264", "r")
    context.thread_count = 1
    for unit in units:
        for frame in context.decode(av.Packet(unit.data)):
            use(frame)


def is_reference(unit: AccessUnit) -> bool:
    """Whether nal_ref_idc of the first slice is not 0; the parser knows it in real use."""
    at = unit.data.find(b"\x00\x00\x01")
    while not 1 <= unit.data[at + 3] & 31 <= 5:
        at = unit.data.find(b"\x00\x00\x01", at + 3)
    return unit.data[at + 3] >> 5 != 0


def decode_some(units: list[AccessUnit], every: int, use: Callable[[Picture], object]) -> int:
    decoder = OnDemandDecoder("h264")
    for index, unit in enumerate(units):
        decoder.push(unit, reference=is_reference(unit))
        if index % every == every - 1:
            use(decoder.picture())
    return decoder.units_decoded


def cpu_seconds(call: Callable[[], object], rounds: int) -> float:
    taken = []
    for _ in range(rounds):
        start = time.process_time()
        call()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def ignore(_: object) -> None:
    """Takes a picture and does nothing."""


def to_grid(frame: av.VideoFrame) -> None:
    frame.reformat(
        GRID[1] * PATCH_PX, GRID[0] * PATCH_PX, "rgb24", interpolation="AREA", threads=1
    ).to_ndarray()


def to_rgb(frame: av.VideoFrame) -> None:
    frame.reformat(format="rgb24", threads=1).to_ndarray()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="1920x1080")
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--input", help="a raw H.264 file instead of the synthetic camera")
    args = parser.parse_args()
    width, height = (int(side) for side in args.size.split("x"))
    if args.input:
        streams = {"file": from_file(args.input, args.frames)}
    else:
        streams = {
            "no B pictures": camera(width, height, args.frames, b_frames=0),
            "3 B pictures": camera(width, height, args.frames, b_frames=3),
        }
    units = next(iter(streams.values()))
    frames: list[av.VideoFrame] = []
    pictures: list[Picture] = []
    decode_everything(units[:1], frames.append)
    decode_some(units[:1], 1, pictures.append)
    picture, frame = pictures[0], frames[0]
    bits = 8 * sum(len(unit.data) for unit in units)
    print(
        f"{picture.width}x{picture.height}, {len(units)} pictures, {bits / len(units) * 25 / 1e6:.2f} Mbit/s at 25/s"
    )
    cropper = PatchCropper(GRID, (picture.width, picture.height), patch_px=PATCH_PX, mean=MEAN, std=STD)
    everything = np.arange(GRID[0] * GRID[1], dtype=np.int32)
    some = everything[:: everything.size // SPARSE][:SPARSE]

    def report(name: str, seconds: float, base: float, count: int) -> None:
        print(f"{name:<52} {seconds / count * 1e3:8.3f} ms/picture   {base / seconds:6.2f}x")

    for title, stream in streams.items():
        print(f"\ndecoding, {title} (ratio to decoding every picture)")
        base = cpu_seconds(lambda stream=stream: decode_everything(stream, ignore), args.rounds)
        report("every picture, plain decoder", base, base, len(stream))
        for every in EVERY:
            seconds = cpu_seconds(lambda s=stream, n=every: decode_some(s, n, ignore), args.rounds)
            share = decode_some(stream, every, ignore) / len(stream)
            report(f"newest of every {every}, decodes {share:.0%}", seconds, base, len(stream))

    print("\npixels (ratio to the whole frame in RGB)")
    whole = cpu_seconds(lambda: [to_rgb(frame) for _ in range(20)], args.rounds)
    report("swscale, whole frame to RGB", whole, whole, 20)
    scaled = cpu_seconds(lambda: [to_grid(frame) for _ in range(20)], args.rounds)
    report(f"swscale, area, to {GRID[1] * PATCH_PX}x{GRID[0] * PATCH_PX} RGB", scaled, whole, 20)
    for name, indices in ((f"{SPARSE} patches", some), (f"all {everything.size} patches", everything)):
        seconds = cpu_seconds(lambda i=indices: [cropper.crop(picture, i) for _ in range(20)], args.rounds)
        report(f"cropper, {name}, normalised", seconds, whole, 20)

    print("\nboth (ratio to decoding and scaling every picture)")
    base = cpu_seconds(lambda: decode_everything(units, to_grid), args.rounds)
    report("every picture, whole frame by swscale", base, base, len(units))
    for every in EVERY:
        seconds = cpu_seconds(
            lambda every=every: decode_some(units, every, lambda p: cropper.crop(p, some)), args.rounds
        )
        report(f"newest of every {every}, {SPARSE} patches", seconds, base, len(units))


if __name__ == "__main__":
    main()
