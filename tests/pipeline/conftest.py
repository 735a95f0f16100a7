"""Access units of small clips, and one encoder for all pipeline tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from ovstream.config import SourceConfig
from ovstream.encode import Encoder, load_encoder
from ovstream.sources import open_source
from ovstream.sources.scene import Scene
from ovstream.types import AccessUnit
from tests.clips import make_clip

Units = Callable[..., list[AccessUnit]]


async def _read(path: Path) -> list[AccessUnit]:
    source = open_source(str(path), config=SourceConfig())
    # read long before they are played: without a time of arrival none of them is late
    units = [replace(unit, arrival_ns=0) async for unit in source.units()]
    await source.aclose()
    return units


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    return load_encoder("ov-nano", mode="exact")


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes a clip once per set of arguments."""
    folder = tmp_path_factory.mktemp("clips")
    made: dict[str, Path] = {}

    def make(name: str = "plain.mp4", **options: object) -> Path:
        key = f"{name} {sorted(options.items())}"
        if key not in made:
            path = folder / f"{len(made)}-{name}"
            made[key] = make_clip(path, **options)  # type: ignore[arg-type]
        return made[key]

    return make


@pytest.fixture(scope="session")
def units(clip: Callable[..., Path]) -> Units:
    """Access units of a clip made by `clip`; a quiet camera with moving objects by default."""

    def read(name: str = "plain.mp4", **options: object) -> list[AccessUnit]:
        options.setdefault("frames", 40)
        options.setdefault("scene", Scene(320, 240, noise=1.0))
        path = clip(name, **options)
        with ThreadPoolExecutor(1) as pool:  # the test's own loop may be running
            return pool.submit(lambda: asyncio.run(_read(path))).result()

    return read
