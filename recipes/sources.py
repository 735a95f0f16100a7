"""What a collection is told: packages, and what of them is wanted."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Source:
    """One Debian package.

    Attributes:
        package: Its name.
        kind: What its pictures are, for the summary: photographs, paintings, textures, sprites ...
        most: Pictures and crops that are kept of it, a fair sample.
        crop_area_px: A crop more for every so many pixels.
        most_crops: Of one picture.
        only: A file's path must contain one of these; () takes all.
        without: A file's path must contain none of these.
        licences: Where the copyright file is for people: what it says of the pictures ...
        read: ... and the digest of the text in which a person read it.
        copyright_of: Another package of the same source whose copyright file tells.
    """

    package: str
    kind: str
    most: int = 2000
    crop_area_px: int = 400**2
    most_crops: int = 8
    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    licences: tuple[str, ...] = ()
    read: str = ""
    copyright_of: str = ""

    def wants(self, path: str, without: tuple[str, ...]) -> bool:
        """Whether a file is wanted, by its path."""
        low = path.lower()
        return not any(word in low for word in (*without, *self.without)) and (
            not self.only or any(word in low for word in self.only)
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """A collection.

    Attributes:
        sources: In the order of the file.
        without: Of all sources: normal maps and the like, which show nothing.
        side_px: Of photos.
        quality: Of the encoding.
        pack_bytes: Most of one file of pictures.
        seed: Of crops and samples.
    """

    sources: tuple[Source, ...]
    without: tuple[str, ...] = ()
    side_px: int = 128
    quality: int = 70
    pack_bytes: int = 60 << 20
    seed: int = 0


def read_plan(path: Path) -> Plan:
    """Reads a TOML file.

    Raises:
        ValueError: It is no plan; says where.
    """
    with path.open("rb") as file:
        values = tomllib.load(file)
    sources = values.pop("source", [])
    try:
        made = tuple(_made(Source, one) for one in sources)
        plan: Plan = _made(Plan, values | {"sources": made})
    except TypeError as error:
        raise ValueError(f"{path}: {error}") from error
    names = [one.package for one in plan.sources]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"{path}: twice: {', '.join(sorted(twice))}")
    return plan


def _made(kind: type[Any], values: Mapping[str, Any]) -> Any:
    known = {field.name for field in dataclasses.fields(kind)}
    if unknown := sorted(values.keys() - known):
        raise TypeError(f"{kind.__name__}: unknown: {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    return kind(**{key: tuple(v) if isinstance(v, list) else v for key, v in values.items()})
