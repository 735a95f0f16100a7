"""From clips and pictures to packs: clips run as a camera would, pictures are cropped, transparent ones trimmed."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ovstream.errors import OvstreamError, TrainingError
from ovstream.training.gather import gather
from ovstream.training.packs import (
    SIDE_PX,
    SPRITE_PX,
    History,
    PictureKind,
    Pictures,
    SourceItem,
    write_history,
    write_pictures,
    write_sources,
)

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tga", ".gif"})
CLIP_SUFFIXES = frozenset({".mp4", ".mkv", ".264", ".h264", ".265", ".h265", ".hevc", ".mov", ".ts"})
LEAST_PX = 48
LEAST_DEVIATION = 12.0  # grey levels: an even picture teaches nothing
CROP_AREA_PX = 560**2  # a crop more for every so many pixels of a picture
MOST_CROPS = 20
GIF_STEP = 4
PACK_BYTES = 48 << 20
TRANSPARENT = 0.15  # of the pixels: what makes a picture a sprite
QUALITY = 80


STILLS = 8  # pictures put together of one clip's history


@dataclass(frozen=True, slots=True)
class Collected:
    """What a folder gave.

    Attributes:
        pictures: Photos and sprites, those out of clips among them.
        clips: That gave an update history.
        skipped: Name and reason of files that gave nothing.
    """

    pictures: int
    clips: int
    skipped: tuple[tuple[str, str], ...]


def list_files(data: Path) -> list[Path]:
    """Clips and pictures under a folder, sorted.

    Raises:
        TrainingError: There are none.
    """
    known = PICTURE_SUFFIXES | CLIP_SUFFIXES
    found = sorted(path for path in data.rglob("*") if path.is_file() and path.suffix.lower() in known)
    if not found:
        raise TrainingError(f"{data} holds no clips or pictures ({', '.join(sorted(known))})")
    return found


def collect(
    data: Path,
    folder: Path,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Collected:
    """Turns a folder of clips and pictures into packs.

    Clips run through parser, planner and encoder as a camera would; their patches become an update history, and some
    pictures that these make together become photos. `sources.tsv` is written last: without it, the packs are partial.

    Args:
        data: Folder, searched to its depths.
        folder: Made if absent; gets `pictures-*.npz`, `history-*.npz` and `sources.tsv`.
        seed: Of the crops.
        progress: Called with the files read so far, and all.

    Raises:
        TrainingError: There is nothing to learn from.
    """
    files = list_files(data)
    folder.mkdir(parents=True, exist_ok=True)
    for left in (*folder.glob("pictures-*.npz"), *folder.glob("history-*.npz")):
        left.unlink()  # of a collection that was stopped
    rng = np.random.default_rng(seed)
    items: list[SourceItem] = []
    skipped: list[tuple[str, str]] = []
    waiting: list[tuple[bytes, PictureKind, int]] = []
    packs = clips = total = 0
    for done, path in enumerate(files, 1):
        name = path.relative_to(data).as_posix()
        if path.suffix.lower() in CLIP_SUFFIXES:
            try:
                history = gather(path, source=len(items))
            except OvstreamError as error:
                skipped.append((name, str(error)))
                progress(done, len(files))
                continue
            write_history(folder / f"history-{clips:03d}.npz", history)
            clips += 1
            found = [one for still in stills(history, STILLS) for one in _photo(_square(still))]
        else:
            found = list(_pictures_of(path, rng))
            if not found:
                skipped.append((name, "damaged, even or too small"))
                progress(done, len(files))
                continue
        waiting += [(encoded, kind, len(items)) for encoded, kind in found]
        total += len(found)
        items.append(SourceItem("not stated", data.name, name))
        progress(done, len(files))
        if sum(len(encoded) for encoded, _, _ in waiting) > PACK_BYTES:
            _flush(folder / f"pictures-{packs:03d}.npz", waiting)
            packs, waiting = packs + 1, []
    if waiting:
        _flush(folder / f"pictures-{packs:03d}.npz", waiting)
    if not total:
        raise TrainingError(
            f"{data}: no file gave a picture; the first: {': '.join(skipped[0]) if skipped else ''}"
        )
    write_sources(folder, items)
    return Collected(total, clips, tuple(skipped))


def stills(history: History, count: int) -> Iterator[Image.Image]:
    """Pictures as the encoder's memory held them, evenly spread over a history."""
    rows, cols = history.grid
    side = history.pixels.shape[-1]
    canvas = np.zeros((rows * cols, 3, side, side), np.uint8)
    wanted = set(np.linspace(0, len(history) - 1, count).round().astype(int).tolist())
    for index in range(len(history)):
        slots, pixels = history.update(index)
        canvas[slots] = pixels
        if index in wanted:
            whole = canvas.reshape(rows, cols, 3, side, side).transpose(0, 3, 1, 4, 2)
            yield Image.fromarray(np.ascontiguousarray(whole.reshape(rows * side, cols * side, 3)))


def _flush(path: Path, waiting: list[tuple[bytes, PictureKind, int]]) -> None:
    write_pictures(
        path,
        Pictures(
            [data for data, _, _ in waiting],
            np.array([kind for _, kind, _ in waiting], np.uint8),
            np.array([source for _, _, source in waiting], np.int32),
        ),
    )


def _pictures_of(path: Path, rng: np.random.Generator) -> Iterator[tuple[bytes, PictureKind]]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata; pictures too large to trust raise
            with Image.open(path) as image:
                for frame in range(0, getattr(image, "n_frames", 1), GIF_STEP):
                    image.seek(frame)
                    yield from _cut(image, rng)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError):
        return  # damaged, or of another kind than it says


def _cut(image: Image.Image, rng: np.random.Generator) -> Iterator[tuple[bytes, PictureKind]]:
    if image.mode in ("RGBA", "LA") or "transparency" in image.info:
        with_alpha = image.convert("RGBA")
        alpha = np.asarray(with_alpha)[..., 3]
        if float((alpha < 128).mean()) > TRANSPARENT:
            box = with_alpha.getchannel("A").point(lambda value: 255 * (value > 32)).getbbox()
            if box is not None and min(box[2] - box[0], box[3] - box[1]) >= LEAST_PX // 2:
                sprite = with_alpha.crop(box)
                sprite.thumbnail((SPRITE_PX, SPRITE_PX), Image.Resampling.BICUBIC)
                yield _encoded(sprite, "WEBP"), PictureKind.SPRITE
            return
    photo = image.convert("RGB")
    if min(photo.size) < LEAST_PX:
        return
    yield from _photo(_square(photo))
    for _ in range(min(MOST_CROPS, photo.width * photo.height // CROP_AREA_PX)):
        side = int(rng.uniform(min(SIDE_PX, min(photo.size) / 2), 0.8 * min(photo.size)))
        x, y = (int(rng.integers(0, length - side + 1)) for length in photo.size)
        yield from _photo(photo.crop((x, y, x + side, y + side)))


def _square(photo: Image.Image) -> Image.Image:
    side = min(photo.size)
    x, y = ((length - side) // 2 for length in photo.size)
    return photo.crop((x, y, x + side, y + side))


def _photo(square: Image.Image) -> Iterator[tuple[bytes, PictureKind]]:
    scaled = square.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC, reducing_gap=2.0)
    if float(np.asarray(scaled.convert("L"), np.float32).std()) >= LEAST_DEVIATION:
        yield _encoded(scaled, "JPEG"), PictureKind.PHOTO


def _encoded(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, quality=QUALITY)
    return buffer.getvalue()
