"""Files of training data: small pictures with their provenance, and what streams gave patch by patch.

```
sources.tsv            one line per source: number, licence, origin, name
pictures-000.npz       encoded pictures (JPEG; WebP where transparent), kind and source of each
history-000.npz        updates of one stream in order: which slots of the grid, and their pixels
```
"""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ovstream.errors import TrainingError

SOURCES_NAME = "sources.tsv"
SIDE_PX = 224  # of photos in memory; files may hold smaller ones
SPRITE_PX = 128  # sprites are no larger
PACK_BYTES = 48 << 20
_COLUMNS = ("number", "licence", "origin", "name")


class PictureKind(IntEnum):
    """What a picture may be used for."""

    PHOTO = 0
    """A whole view: background, image, part of a collage."""
    SPRITE = 1
    """A thing with a transparent surround, to be laid over others."""


@dataclass(frozen=True, slots=True)
class SourceItem:
    """Where something came from.

    Attributes:
        licence: As its owner states it.
        origin: Package, repository or camera.
        name: File inside the origin.
    """

    licence: str
    origin: str
    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """Encoded pictures.

    Attributes:
        data: One encoded file each.
        kinds: (n,) uint8, `PictureKind`.
        sources: (n,) int32, lines of `sources.tsv`.
    """

    data: Sequence[bytes] = field(repr=False)
    kinds: npt.NDArray[np.uint8]
    sources: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.data)


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """What one stream gave to its encoder, update by update, the first of which fills the grid; slot = h * cols + w.

    Attributes:
        grid: (rows, cols) of patches.
        offsets: (updates + 1,) int64 into the next two.
        slots: (m,) int16.
        pixels: (m, 3, patch, patch) uint8, RGB.
        source: Line of `sources.tsv`.
    """

    grid: tuple[int, int]
    offsets: npt.NDArray[np.int64]
    slots: npt.NDArray[np.int16]
    pixels: npt.NDArray[np.uint8] = field(repr=False)
    source: int

    def __len__(self) -> int:
        return self.offsets.size - 1

    def update(self, index: int) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8]]:
        """Slots and pixels of one update."""
        part = slice(self.offsets[index], self.offsets[index + 1])
        return self.slots[part], self.pixels[part]


def write_sources(folder: Path, items: Sequence[SourceItem]) -> None:
    """Writes `sources.tsv`."""
    lines = ["\t".join(_COLUMNS)]
    for number, item in enumerate(items):
        cells = (str(number), item.licence, item.origin, item.name)
        lines.append("\t".join(" ".join(cell.split()) for cell in cells))
    (folder / SOURCES_NAME).write_text("\n".join(lines) + "\n")


def read_sources(folder: Path) -> list[SourceItem]:
    """Reads `sources.tsv`.

    Raises:
        TrainingError: It is missing or not one.
    """
    try:
        lines = (folder / SOURCES_NAME).read_text().splitlines()
    except OSError:
        raise TrainingError(f"{folder} is no training data: no {SOURCES_NAME}") from None
    rows = [line.split("\t") for line in lines]
    if not rows or tuple(rows[0]) != _COLUMNS or any(len(row) != len(_COLUMNS) for row in rows):
        raise TrainingError(f"{folder / SOURCES_NAME}: must have the columns {', '.join(_COLUMNS)}")
    return [SourceItem(*row[1:]) for row in rows[1:]]


def write_pictures(path: Path, pictures: Pictures) -> None:
    """Writes one file of pictures."""
    sizes = np.array([len(item) for item in pictures.data], np.int64)
    np.savez(
        path,
        blob=np.frombuffer(b"".join(pictures.data), np.uint8),
        offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        kinds=pictures.kinds,
        sources=pictures.sources,
    )


class PictureWriter:
    """Writes pictures to as many files as they need.

    Args:
        folder: Gets `pictures-000.npz` and so on.
        most_bytes: Of the pictures of one file.
    """

    def __init__(self, folder: Path, *, most_bytes: int = PACK_BYTES) -> None:
        self._folder, self._most = folder, most_bytes
        self._waiting: list[tuple[bytes, PictureKind, int]] = []
        self._bytes = self._files = 0
        self.written = 0

    def add(self, data: bytes, kind: PictureKind, source: int) -> None:
        """Takes one encoded picture."""
        if self._waiting and self._bytes + len(data) > self._most:
            self.flush()
        self._waiting.append((data, kind, source))
        self._bytes += len(data)
        self.written += 1

    def flush(self) -> None:
        """Writes what waits; call it at the end."""
        if not self._waiting:
            return
        data, kinds, sources = zip(*self._waiting, strict=True)
        write_pictures(
            self._folder / f"pictures-{self._files:03d}.npz",
            Pictures(data, np.array(kinds, np.uint8), np.array(sources, np.int32)),
        )
        self._files, self._bytes, self._waiting = self._files + 1, 0, []


def read_pictures(folder: Path) -> Pictures:
    """Reads all pictures of a folder.

    Raises:
        TrainingError: A file is damaged.
    """
    data: list[bytes] = []
    kinds = [np.zeros(0, np.uint8)]
    sources = [np.zeros(0, np.int32)]
    for path in sorted(folder.glob("pictures-*.npz")):
        blob, offsets, kind, source = _load(path, "blob", "offsets", "kinds", "sources")
        whole = blob.tobytes()
        data += [whole[start:end] for start, end in itertools.pairwise(offsets)]
        kinds.append(kind)
        sources.append(source)
    return Pictures(data, np.concatenate(kinds), np.concatenate(sources))


def write_history(path: Path, history: History) -> None:
    """Writes one stream."""
    np.savez_compressed(
        path,
        grid=np.array(history.grid, np.int32),
        offsets=history.offsets,
        slots=history.slots,
        pixels=history.pixels,
        source=np.int32(history.source),
    )


def read_histories(folder: Path) -> Iterator[History]:
    """Yields the streams of a folder.

    Raises:
        TrainingError: A file is damaged.
    """
    for path in sorted(folder.glob("history-*.npz")):
        grid, offsets, slots, pixels, source = _load(path, "grid", "offsets", "slots", "pixels", "source")
        rows, cols = (int(value) for value in grid)
        yield History((rows, cols), offsets, slots, pixels, int(source))


def _load(path: Path, *keys: str) -> list[npt.NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return [arrays[key] for key in keys]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise TrainingError(f"{path}: damaged training data: {error}") from error
