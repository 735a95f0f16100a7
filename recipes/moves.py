"""Clips of pictures in motion, through the codec: `python -m recipes.moves FOLDER --clips 60`.

A clip is what a camera delivers: a photo behind, things that move before it, a pan or a zoom sometimes, light that
changes, noise; encoded by x264 with settings of chance, then read by our own parser, planner and encoder. What went to the
model, update by update, is its history, which `ovstream train` mixes with drawn films. Goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image
from rich.progress import track

from ovstream.training.gather import gather
from ovstream.training.packs import (
    PictureKind,
    Pictures,
    SourceItem,
    read_pictures,
    read_sources,
    write_history,
    write_sources,
)

SIZES = ((448, 252), (336, 336))  # of a camera's shape, and square: the grids 12 x 21 and 16 x 16
PICTURES, FPS = 60, 12
MOST_PATCHES = 2500
ORIGIN = "made by recipes.moves"


def scene(
    pictures: Pictures, rng: np.random.Generator, size: tuple[int, int]
) -> tuple[list[Image.Image], list[int]]:
    """The pictures of a clip, and the lines of `sources.tsv` that they show."""
    width, height = size
    photos = np.flatnonzero(pictures.kinds == PictureKind.PHOTO)
    sprites = np.flatnonzero(pictures.kinds == PictureKind.SPRITE)
    behind = int(rng.choice(photos))
    ground = _opened(pictures, behind).convert("RGB")
    wide = round(1.3 * max(size))
    ground = ground.resize((wide, wide), Image.Resampling.BICUBIC)
    things = [
        int(one) for one in rng.choice(sprites, min(len(sprites), int(rng.integers(0, 4))), replace=False)
    ]
    shown = [
        (_sized(_opened(pictures, one).convert("RGBA"), int(rng.uniform(0.15, 0.5) * height)), *rng.uniform(0, 1, 2),
         *(rng.normal(0, 0.012, 2) * (rng.random() < 0.8)))
        for one in things
    ]  # fmt: skip
    pan = rng.normal(0, 0.6, 2) * (rng.random() < 0.3)
    zoom = rng.normal(0, 0.002) * (rng.random() < 0.2)
    light, noise = rng.normal(0, 0.25) * (rng.random() < 0.4), rng.uniform(0, 4) * (rng.random() < 0.7)
    spare = (wide - width, wide - height)
    start = rng.uniform(0.3, 0.7, 2) * spare
    made = []
    for number in range(PICTURES):
        scale = 1 + zoom * number
        left, top = np.clip(start + pan * number, 0, np.maximum(0, spare))
        box = (left, top, min(wide, left + width * scale), min(wide, top + height * scale))
        picture = ground.resize(size, Image.Resampling.BILINEAR, box=box)
        for thing, x, y, speed_x, speed_y in shown:
            at = (
                round((x + speed_x * number) % 1.3 * width - 0.15 * width),
                round((y + speed_y * number) % 1 * height),
            )
            picture.paste(thing, at, thing)
        pixels = np.asarray(picture, np.float32) * (1 + light * number / PICTURES)
        pixels = pixels + rng.normal(0, noise, (height, width, 1)).astype(np.float32)
        made.append(Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)))
    return made, [int(pictures.sources[one]) for one in (behind, *things)]


def encode(made: list[Image.Image], path: Path, rng: np.random.Generator) -> None:
    """Writes a clip as some camera would."""
    options = {
        "preset": str(rng.choice(["veryfast", "fast", "medium"])),
        "crf": str(int(rng.integers(20, 36))),
        "g": str(int(rng.choice([25, 50, 250]))),
        "bf": str(int(rng.choice([0, 0, 2]))),
    }
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height = made[0].size
        stream.pix_fmt, stream.thread_count = "yuv420p", 1
        for number, picture in enumerate(made):
            frame = av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def make(folder: Path, clips: int, *, seed: int = 0) -> Iterator[Path]:
    """Makes the histories that a folder of packs lacks, and notes them in its `sources.tsv`."""
    pictures, items = read_pictures(folder), read_sources(folder)
    base = sum(item.origin != ORIGIN for item in items)
    del items[base:]
    for number in range(clips):
        rng = np.random.default_rng([seed, number])
        made, lines = scene(pictures, rng, SIZES[number % len(SIZES)])
        licences = dict.fromkeys(items[line].licence for line in lines)
        shows = ", ".join(str(line) for line in lines)
        items.append(SourceItem(" and ".join(licences), ORIGIN, f"clip {number} of lines {shows}"))
        path = folder / f"history-{number:03d}.npz"
        if not path.is_file():
            with tempfile.TemporaryDirectory() as place:
                clip = Path(place) / "clip.mp4"
                encode(made, clip, rng)
                history = gather(clip, source=base + number, most=MOST_PATCHES)
            partial = path.with_name("partial.npz")
            write_history(partial, history)
            partial.replace(path)
        yield path
    write_sources(folder, items)


def _opened(pictures: Pictures, number: int) -> Image.Image:
    return Image.open(io.BytesIO(pictures.data[number]))


def _sized(image: Image.Image, most: int) -> Image.Image:
    scale = most / max(image.size)
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))


def main(arguments: list[str] | None = None) -> int:
    """Makes clips of what `recipes.collect` brought."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="packs of recipes.collect")
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    made = list(track(make(options.folder, options.clips, seed=options.seed), "clips", total=options.clips))
    size = sum(path.stat().st_size for path in made)
    print(f"{len(made)} histories in {options.folder}, {size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
