"""Makes the clips beside this file: small VP8 streams (libvpx) and the digests of FFmpeg's pictures of them.

Run as `python native/tests/vp8/make_clips.py`.
"""

from __future__ import annotations

import hashlib
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

CLIPS = Path(__file__).parent / "clips"
GOOD = {"deadline": "good", "cpu-used": "0"}
REALTIME = {"deadline": "realtime", "cpu-used": "4", "lag-in-frames": "0"}


def picture(width: int, height: int, index: int, noise: float) -> VideoFrame:
    """Waves that drift by fractions of samples, a square that crosses them, noise."""
    rng = np.random.default_rng(index)
    rows, cols = np.mgrid[:height, :width].astype(float)
    waves = 120 + 60 * np.sin((cols + 1.3 * index) / 5) * np.cos((rows - 0.7 * index) / 7)
    inside = (abs(rows - height / 2) < 9) & (abs(cols - (13 + 5 * index) % width) < 11)
    luma = np.where(inside, 250 - waves, waves) + rng.normal(0, noise, waves.shape)
    rgb = np.clip(luma[..., None] * [1, 0.8, 0.5] + [0, 30, 90], 0, 255).astype(np.uint8)
    return VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p")


def encode(
    options: dict[str, str], *, size: tuple[int, int] = (96, 80), frames: int = 12, noise: float = 2.0
) -> list[bytes]:
    """The frames of one clip."""
    context = av.CodecContext.create("libvpx", "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height = size
    context.pix_fmt, context.time_base, context.framerate = "yuv420p", Fraction(1, 25), Fraction(25)
    context.bit_rate, context.gop_size = 150_000, 100
    context.options = {"threads": "1", **options}
    packets = []
    for index in range(frames):
        frame = picture(*size, index, noise)
        frame.pts, frame.time_base = index, Fraction(1, 25)
        packets += context.encode(frame)
    return [bytes(packet) for packet in [*packets, *context.encode(None)]]


def hide(frames: list[bytes], numbers: set[int]) -> list[bytes]:
    """Takes the show_frame bit from some frames."""
    return [bytes([data[0] & ~0x10]) + data[1:] if n in numbers else data for n, data in enumerate(frames)]


def digests(frames: list[bytes]) -> list[str]:
    """MD5 of every picture that FFmpeg shows, as I420."""
    context = av.CodecContext.create("vp8", "r")
    found = []
    for packet in [*map(av.Packet, frames), None]:
        for frame in context.decode(packet):
            assert isinstance(frame, VideoFrame)
            planes = [
                np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
                for plane in frame.planes
            ]
            found.append(hashlib.md5(b"".join(plane.tobytes() for plane in planes)).hexdigest())
    return found


def main() -> None:
    """Writes all clips."""
    streams = {
        "good": encode(GOOD, frames=24),
        "realtime": encode(REALTIME, frames=24),
        "odd_size_8_partitions": encode({**GOOD, "slices": "8"}, size=(75, 149), frames=8),
        "one_macroblock": encode(GOOD, size=(16, 16)),
        "narrow": encode(REALTIME, size=(7, 90)),
        "resilient": encode({**REALTIME, "error-resilient": "default+partitions", "slices": "2"}),
        "coarse": encode({**GOOD, "qmin": "60", "qmax": "63"}, noise=12),
        "fine": encode({**GOOD, "qmin": "0", "qmax": "1", "b": "9M"}, size=(64, 48), frames=5, noise=30),
        "hidden": hide(encode(GOOD), {3, 4, 9}),
        "resize": encode(GOOD, frames=4)
        + encode(REALTIME, size=(50, 114), frames=4)
        + encode(GOOD, frames=3),
        "empty_frames": [data for frame in encode(REALTIME, frames=5) for data in (frame, b"")],
        **{f"profile_{n}": encode({**GOOD, "profile": str(n)}, size=(70, 60)) for n in (1, 2, 3)},
    }
    CLIPS.mkdir(exist_ok=True)
    for name, frames in streams.items():
        ivf = b"".join(struct.pack("<IQ", len(data), pts) + data for pts, data in enumerate(frames))
        (CLIPS / f"{name}.ivf").write_bytes(b"DKIF".ljust(32, b"\0") + ivf)
        sums = digests([data for data in frames if data])
        if not all(frames):  # an empty frame shows the last picture again
            sums = [line for line in sums for _ in range(2)]
        (CLIPS / f"{name}.md5").write_text("".join(f"{line}\n" for line in sums))


if __name__ == "__main__":
    main()
