"""From clips and pictures to packs: clips run as a camera would, pictures are cropped, transparent ones trimmed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ovstream.errors import OvstreamError, TrainingError
from ovstream.training.gather import gather
from ovstream.training.packs import (
    History,
    PictureWriter,
    SourceItem,
    write_history,
    write_sources,
)
from ovstream.training.pictures import Cut

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tga", ".gif"})
CLIP_SUFFIXES = frozenset({".mp4", ".mkv", ".264", ".h264", ".265", ".h265", ".hevc", ".mov", ".ts"})
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


def list_data(data: Path) -> list[tuple[str, Path]]:
    """Clips and pictures of a folder or a manifest, by name.

    Args:
        data: A folder, searched to its depths; or a text file of lines: a path, which may be a folder, and after a TAB
            whatever else, so tables of `ovstream eval` are manifests too. Paths count from the folder of that file, lines
            with # are comments.

    Raises:
        TrainingError: There are none, or a line names nothing.
    """
    if not data.is_file():
        return [(path.relative_to(data).as_posix(), path) for path in list_files(data)]
    found: dict[str, Path] = {}
    try:
        lines = data.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingError(f"{data} is no list of clips and pictures: {error}") from error
    for number, line in enumerate(lines, 1):
        name = line.split("\t")[0].strip()
        if not name or name.startswith("#"):
            continue
        path = data.parent / name
        if path.is_dir():
            found |= {f"{name}/{one.relative_to(path).as_posix()}": one for one in list_files(path)}
        elif not path.is_file():
            raise TrainingError(f"{data}, line {number}: there is no {path}")
        elif path.suffix.lower() not in CLIP_SUFFIXES | PICTURE_SUFFIXES:
            raise TrainingError(f"{data}, line {number}: {path.name} is no clip or picture by its suffix")
        else:
            found[name] = path
    if not found:
        raise TrainingError(f"{data} names no clips or pictures")
    return list(found.items())


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
    """Turns clips and pictures into packs.

    Clips run through parser, planner and encoder as a camera would; their patches become an update history, and some
    pictures that these make together become photos. `sources.tsv` is written last: without it, the packs are partial.

    Args:
        data: Folder or manifest: see `list_data`.
        folder: Made if absent; gets `pictures-*.npz`, `history-*.npz` and `sources.tsv`.
        seed: Of the crops.
        progress: Called with the files read so far, and all.

    Raises:
        TrainingError: There is nothing to learn from.
    """
    files = list_data(data)
    folder.mkdir(parents=True, exist_ok=True)
    for left in (*folder.glob("pictures-*.npz"), *folder.glob("history-*.npz")):
        left.unlink()  # of a collection that was stopped
    rng, cut = np.random.default_rng(seed), Cut()
    items: list[SourceItem] = []
    skipped: list[tuple[str, str]] = []
    pictures, clips = PictureWriter(folder), 0
    for done, (name, path) in enumerate(files, 1):
        if path.suffix.lower() in CLIP_SUFFIXES:
            try:
                history = gather(path, source=len(items))
            except OvstreamError as error:
                skipped.append((name, str(error)))
                progress(done, len(files))
                continue
            write_history(folder / f"history-{clips:03d}.npz", history)
            clips += 1
            found = [one for still in stills(history, STILLS) for one in cut.photo(still)]
        else:
            found = list(cut.pictures(path, rng))
            if not found:
                skipped.append((name, "damaged, even or too small"))
                progress(done, len(files))
                continue
        for encoded, kind in found:
            pictures.add(encoded, kind, len(items))
        items.append(SourceItem("not stated", data.name, name))
        progress(done, len(files))
    pictures.flush()
    if not pictures.written:
        raise TrainingError(
            f"{data}: no file gave a picture; the first: {': '.join(skipped[0]) if skipped else ''}"
        )
    write_sources(folder, items)
    return Collected(pictures.written, clips, tuple(skipped))


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
