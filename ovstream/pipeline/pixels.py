"""Holds compressed pictures until their pixels are wanted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ovstream.config import SourceConfig
from ovstream.decode import OnDemandDecoder, Picture
from ovstream.errors import DecodeError
from ovstream.pipeline.stats import StreamStats
from ovstream.types import AccessUnit

_ROOM = 4  # of the source's queue: catching up from half of it must not make the queue overflow


class PixelStore:
    """The on-demand decoder of one stream, whatever codec it speaks at the moment, with its costs counted.

    Args:
        config: Sizes of queue and picture.
        stats: Gets the decoded pictures and the CPU time.
    """

    def __init__(self, config: SourceConfig, stats: StreamStats) -> None:
        self._config = config
        self._stats = stats
        self._decoder: OnDemandDecoder | None = None

    def push(self, unit: AccessUnit, *, reference: bool) -> None:
        """Keeps a unit; a very long GOP is decoded in time, before the room for it overflows."""
        if self._decoder is None or self._decoder.codec != unit.codec:
            self.close()
            self._decoder = OnDemandDecoder(
                unit.codec,
                max_units=_ROOM * self._config.queue_units,
                max_pixels=self._config.max_pixels,
            )
        self._decoder.push(unit, reference=reference)
        if self._decoder.crowded:
            with contextlib.suppress(DecodeError):
                self.picture()

    def picture(self) -> Picture:
        """Decodes the newest unit, and what it needs.

        Raises:
            DecodeError: There is no such picture.
        """
        if self._decoder is None:
            raise DecodeError("nothing was received yet")
        with self._counting(self._decoder), self._stats.clock("decode"):
            return self._decoder.picture()

    @property
    def memory_bytes(self) -> int:
        """Compressed units that wait; the decoder's own pictures are FFmpeg's."""
        return self._decoder.waiting_bytes if self._decoder is not None else 0

    def close(self) -> None:
        """Frees the decoder; the next unit starts another."""
        if self._decoder is not None:
            self._decoder.close()
            self._decoder = None

    @contextlib.contextmanager
    def _counting(self, decoder: OnDemandDecoder) -> Iterator[None]:
        before = decoder.units_decoded
        try:
            yield
        finally:
            self._stats.frames_decoded += decoder.units_decoded - before
