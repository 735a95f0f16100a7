"""Looks into a stream: metadata of every picture, nothing encoded."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any

from ovstream.bitstream import Level
from ovstream.config import stream_config
from ovstream.errors import BitstreamError, DecodeError
from ovstream.pipeline.loop_thread import LoopThread
from ovstream.pipeline.metadata import MetadataReader
from ovstream.sources import Source, open_source
from ovstream.types import EventKind, FrameMetadata


def inspect(
    url: str | Path, *, level: Level = "full", **options: Any
) -> Generator[FrameMetadata, None, None]:
    """Yields what the codec says about every picture, in coded order, without decoding where a parser exists.

    Damaged pictures are left out. Streams without a parser are decoded; `FrameMetadata.origin` tells.

    Every picture is read unless the options say otherwise: `every`, `skip_intra`, `max_bits_per_pixel`.

    Args:
        url: Anything that `ovstream.open` takes.
        level: "full", "motion" (cheaper: no residual energy) or "headers" (sizes and kinds of pictures alone).
        **options: Of `SourceConfig` and `BitstreamConfig`.

    Raises:
        SourceError: The source cannot be opened.
    """
    config = stream_config(str(url), **{"max_bits_per_pixel": None, **options})
    source = open_source(config.url, config=config.source, on_event=_ignore)
    reader = MetadataReader(level=level, max_pixels=config.source.max_pixels, config=config.bitstream)
    with LoopThread() as loop, contextlib.closing(reader):
        frames = _frames(source, reader)
        try:
            while (frame := loop.run(anext(frames, None))) is not None:
                yield frame
        finally:
            loop.run(frames.aclose())
            loop.run(source.aclose())


async def _frames(source: Source, reader: MetadataReader) -> AsyncGenerator[FrameMetadata, None]:
    async with contextlib.aclosing(source.units()) as units:
        async for unit in units:
            with contextlib.suppress(BitstreamError, DecodeError):
                for reading in reader.read(unit):
                    yield reading.frame
    for reading in reader.flush():
        yield reading.frame


def _ignore(kind: EventKind, detail: str) -> None:
    """Events have no reader here."""
