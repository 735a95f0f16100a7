"""Makes the clips of `instructions.py`: `python -m tests.native.make_clips`. The clips are kept, not made by the tests: another
version of an encoder would change the counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import av
from av.video.codeccontext import VideoCodecContext

from ovstream.sources.scene import Scene
from tests.native.instructions import FOLDER

WIDTH, HEIGHT, FRAMES = 640, 352, 16


@dataclass(frozen=True, slots=True)
class Clip:
    """One way to encode; the name begins with the codec."""

    name: str
    encoder: str
    options: dict[str, str]
    noise: float = 2.5


def x264(name: str, parameters: str, noise: float = 2.5) -> Clip:
    fixed = "keyint=50:threads=1:log=-1"
    return Clip(name, "libx264", {"preset": "veryfast", "x264-params": f"{parameters}:{fixed}"}, noise)


CLIPS = (
    x264("h264-cabac-quiet", "bframes=0:qp=34", noise=1),
    x264("h264-cabac-busy", "bframes=0:qp=25"),
    x264("h264-cabac-b", "bframes=3:b-adapt=0:qp=28"),
    x264("h264-cavlc-quiet", "cabac=0:bframes=0:qp=34", noise=1),
    x264("h264-cavlc-busy", "cabac=0:bframes=0:qp=25"),
    x264("h264-pairs", "interlaced=1:bframes=1:b-adapt=0:qp=30"),
    Clip(
        "h265-main",
        "libx265",
        {"preset": "medium", "x265-params": "bframes=3:qp=30:pools=1:frame-threads=1:log-level=none"},
    ),
    Clip(
        "vp8-realtime", "libvpx", {"deadline": "realtime", "cpu-used": "8", "b": "900k", "token-parts": "1"}
    ),
)


def encode(clip: Clip) -> list[bytes]:
    context = av.CodecContext.create(clip.encoder, "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height, context.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
    context.options = clip.options
    scene = Scene(WIDTH, HEIGHT, objects=4, noise=clip.noise, speed_px=4)
    units: list[bytes] = []
    for index in range(FRAMES):
        picture = av.VideoFrame.from_ndarray(scene.render(index), format="rgb24").reformat(format="yuv420p")
        picture.pts, picture.time_base = index, Fraction(1, 25)
        units += [bytes(packet) for packet in context.encode(picture)]
    return units + [bytes(packet) for packet in context.encode(None)]


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for clip in CLIPS:
        units = encode(clip)
        path = FOLDER / f"{clip.name}.units"
        path.write_bytes(b"".join(len(unit).to_bytes(4, "big") + unit for unit in units))
        print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
