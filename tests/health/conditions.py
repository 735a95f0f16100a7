"""Clips of a camera to which something happens half way, made by x264, and their metadata."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.video.stream import VideoStream

import ovstream
from ovstream.sources.scene import Scene
from ovstream.types import FrameMetadata

Rgb = npt.NDArray[np.uint8]
Change = Callable[[Rgb, int], Rgb]

FPS = 12
CAMERA = {"preset": "veryfast", "threads": "1", "tune": "zerolatency", "g": "24", "crf": "24"}
WIDTH, HEIGHT = 240, 160
SCENE = Scene(WIDTH, HEIGHT, noise=0.0, speed_px=3.0, lighting=0.05)
OTHER_SCENE = Scene(WIDTH, HEIGHT, seed=7, noise=0.0, speed_px=3.0)
NOISE = 1.0  # grey levels, standard deviation


@functools.cache
def view(index: int) -> Rgb:
    """A yard below a bright wall that has little texture, with things that move."""
    return _seen(SCENE.render(index), index, faint=slice(0, HEIGHT // 2))


def other_view(index: int) -> Rgb:
    return _seen(OTHER_SCENE.render(index), index, faint=slice(HEIGHT // 2, HEIGHT))


def view_at_rest(index: int) -> Rgb:
    """The yard with nobody in it, darker."""
    return (_seen(SCENE.render(0), index, faint=slice(0, HEIGHT // 2)) * 0.6).astype(np.uint8)


@functools.cache
def _rough() -> npt.NDArray[np.float64]:
    """Gravel: always the same."""
    return np.random.default_rng(4).normal(0, 12.0, (HEIGHT, WIDTH, 1))


def _seen(picture: Rgb, index: int, *, faint: slice) -> Rgb:
    drawn = picture.astype(np.float32)
    rough = _rough().copy()
    rough[faint] = 0
    drawn[faint] = 150 + 0.1 * (drawn[faint] - 110)
    drawn += rough
    noise = np.random.default_rng((3, index)).normal(0, NOISE, (HEIGHT, WIDTH, 1))
    return np.clip(drawn + noise, 0, 255).astype(np.uint8)


def frozen(_picture: Rgb, _index: int) -> Rgb:
    return view(0)


def dark(picture: Rgb, index: int) -> Rgb:
    noise = np.random.default_rng(index).normal(0, 1.0, picture.shape[:2])[:, :, None]
    return np.clip(picture * 0.02 + 3 + noise, 0, 255).astype(np.uint8)


def covered(picture: Rgb, index: int) -> Rgb:
    noise = np.random.default_rng(index).normal(0, 1.0, picture.shape[:2])[:, :, None]
    return np.clip(np.full(picture.shape, (60, 45, 40)) + noise, 0, 255).astype(np.uint8)


def shaking(picture: Rgb, index: int) -> Rgb:
    x, y = np.random.default_rng(index).integers(-5, 6, 2)
    return np.roll(picture, (int(y), int(x)), (0, 1))


def moved(picture: Rgb, index: int) -> Rgb:
    """A hand turns the camera by a quarter of the picture, within half a second."""
    return np.roll(picture, -min(index + 1, 6) * 10, 1)


def infrared(picture: Rgb, _index: int) -> Rgb:
    grey = 255 * (picture.mean(2, keepdims=True) / 255) ** 0.6
    return np.repeat(grey, 3, 2).astype(np.uint8)


def cut(_picture: Rgb, index: int) -> Rgb:
    return other_view(index)


CHANGES: dict[str, Change] = {
    "frozen": frozen,
    "dark": dark,
    "covered": covered,
    "shaking": shaking,
    "moved": moved,
    "infrared": infrared,
    "cut": cut,
}


def encode(
    path: Path, pictures: Iterator[Rgb], options: Mapping[str, str], *, codec: str = "libx264"
) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=FPS, options=dict(options))
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def pictures(change: Change | None, *, before: int, during: int, after: int) -> Iterator[Rgb]:
    """Seconds of a camera as it should be, then changed, then as before."""
    first, last = before * FPS, (before + during) * FPS
    for index in range((before + during + after) * FPS):
        picture = view(index)
        yield change(picture, index - first) if change and first <= index < last else picture


def metadata(path: Path, *, start_seconds: float = 0.0) -> list[FrameMetadata]:
    """What the parser reads, with times moved to `start_seconds`."""
    moved_by = []
    for frame in ovstream.inspect(path):
        shift = round(start_seconds / frame.time_base)
        moved_by.append(replace(frame, pts=(frame.pts or 0) + shift))
    return moved_by


def starved(folder: Path, *, before: int, during: int) -> list[FrameMetadata]:
    """The network gets slow, and the encoder follows."""
    shown = list(pictures(None, before=before, during=during, after=0))
    first = encode(folder / "full.mp4", iter(shown[: before * FPS]), CAMERA)
    limited = {name: value for name, value in CAMERA.items() if name != "crf"}
    limited |= {"b": "16k", "maxrate": "16k", "bufsize": "8k"}
    second = encode(folder / "starved.mp4", iter(shown[before * FPS :]), limited)
    return metadata(first) + metadata(second, start_seconds=float(before))
