"""Labelled pictures and clips: a folder whose sub-folders are classes, or a table of paths and labels."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ovstream.errors import TrainingError
from ovstream.training.collect import CLIP_SUFFIXES, PICTURE_SUFFIXES, list_files
from ovstream.training.extractors import SIDE_PX, Picture

FEWEST = 2


@dataclass(frozen=True, slots=True)
class Item:
    """One labelled file.

    Attributes:
        path: Of the picture or clip.
        label: Its class.
        group: What must not help each other, say clips of one camera; by default each file is a group of its own.
    """

    path: Path
    label: str
    group: str

    @property
    def is_clip(self) -> bool:
        """A clip, else a picture."""
        return self.path.suffix.lower() in CLIP_SUFFIXES


def read_labelled(data: Path) -> list[Item]:
    """Lists what is to be judged.

    Args:
        data: A folder whose sub-folders are classes (files may lie deeper), or a text file of lines
            path TAB label [TAB group]; paths count from the folder of that file, lines with # are comments.

    Raises:
        TrainingError: A line is wrong, a file is missing, or a class has fewer than two files.
    """
    items = _of_table(data) if data.is_file() else _of_folder(data)
    counts = Counter(item.label for item in items)
    if len(counts) < FEWEST:
        raise TrainingError(f"{data}: {len(counts)} classes; at least two are needed to tell them apart")
    small = [f"'{name}' ({count})" for name, count in sorted(counts.items()) if count < FEWEST]
    if small:
        raise TrainingError(f"{data}: classes with too few files, at least {FEWEST}: {', '.join(small[:5])}")
    return items


def _of_folder(data: Path) -> list[Item]:
    items = []
    for path in list_files(data):
        inside = path.relative_to(data)
        if len(inside.parts) < 2:
            raise TrainingError(f"{path} lies in no sub-folder of {data}: sub-folders are the classes")
        items.append(Item(path, inside.parts[0], inside.as_posix()))
    return items


def _of_table(table: Path) -> list[Item]:
    items = []
    try:
        lines = table.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = "is no text" if isinstance(error, ValueError) else error.strerror
        raise TrainingError(
            f"{table}: {reason}; give a folder of classes, or a table of lines: path TAB label [TAB group]"
        ) from None
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, *rest = line.split("\t")
        if not 1 <= len(rest) <= 2 or not all(rest):
            raise TrainingError(f"{table}, line {number}: must be path TAB label [TAB group]")
        path = table.parent / name
        if not path.is_file():
            raise TrainingError(f"{table}, line {number}: there is no file {path}")
        if path.suffix.lower() not in CLIP_SUFFIXES | PICTURE_SUFFIXES:
            raise TrainingError(f"{table}, line {number}: {path.name} is no clip or picture by its suffix")
        items.append(Item(path, rest[0], rest[1] if len(rest) == 2 else name))
    if not items:
        raise TrainingError(f"{table} names no files")
    return items


def read_picture(path: Path) -> Picture:
    """Reads a picture as extractors take it: (224, 224, 3) uint8 RGB, whatever its aspect was.

    Raises:
        TrainingError: It cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata; pictures too large to trust raise
            with Image.open(path) as image:
                scaled = image.convert("RGB").resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)
                return np.asarray(scaled)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise TrainingError(f"no picture: {error}") from error
