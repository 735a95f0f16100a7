"""The three parts of a worker that touch bytes or pixels; all else is arithmetic on what they say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ovstream.config import StreamConfig
from ovstream.decode import Picture
from ovstream.encode import Encoder
from ovstream.pipeline.metadata import MetadataReader, Reading
from ovstream.pipeline.pixels import PixelStore
from ovstream.pipeline.sight import PixelSight, SightFactory
from ovstream.pipeline.stats import StreamStats
from ovstream.types import AccessUnit


class Reader(Protocol):
    """See `MetadataReader`."""

    @property
    def fallback_reason(self) -> str | None:
        """Why a decoder stands in; None while the parser reads."""

    @property
    def waits(self) -> bool:
        """Whether the rest of a picture is to come."""

    @property
    def memory_bytes(self) -> int:
        """Compressed units kept for a fallback."""

    def read(self, unit: AccessUnit, *, every: int = 1) -> Sequence[Reading]:
        """Reads one access unit."""

    def flush(self) -> Sequence[Reading]:
        """Returns what a fallback decoder still holds."""

    def close(self) -> None:
        """Frees parser and decoder."""


class Pixels(Protocol):
    """See `PixelStore`."""

    @property
    def memory_bytes(self) -> int:
        """Compressed units that wait."""

    def push(self, unit: AccessUnit, *, reference: bool) -> None:
        """Keeps a unit."""

    def picture(self) -> Picture:
        """Decodes the newest unit."""

    def close(self) -> None:
        """Frees the decoder."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a worker looks through.

    Attributes:
        reader: Bytes to metadata.
        pixels: Bytes to pictures.
        sight: Makes what looks at pictures.
    """

    reader: Reader
    pixels: Pixels
    sight: SightFactory

    @classmethod
    def real(cls, config: StreamConfig, stats: StreamStats, encoder: Encoder) -> Parts:
        """Parser, decoder and model."""
        return cls(
            MetadataReader(max_pixels=config.source.max_pixels, config=config.bitstream),
            PixelStore(config.source, stats),
            lambda grid, size: PixelSight(grid, size, encoder=encoder, config=config.encode),
        )
