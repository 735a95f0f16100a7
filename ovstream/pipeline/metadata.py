"""Reads metadata by the native parser while it can, by a decoder when it cannot."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import cast

from ovstream.bitstream import Codec, Level, Parser
from ovstream.config import BitstreamConfig
from ovstream.decode import FallbackParser, Picture
from ovstream.errors import DecodeError, UnsupportedBitstream
from ovstream.types import AccessUnit, FrameMetadata

_READ_ALONE = ("h264", "vp8")  # the motion of a P picture does not depend on that of others
# A longer or larger GOP starts the fallback with a damaged picture.
_MAX_GOP_UNITS = 512
_MAX_GOP_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class Reading:
    """Metadata of one picture, and the picture itself where a decoder had to make it anyway.

    Attributes:
        frame: Metadata.
        picture: Made by the fallback decoder.
        unit: What to decode for it: both fields, where each came in an access unit of its own.
    """

    frame: FrameMetadata
    picture: Picture | None = None
    unit: AccessUnit | None = None


class MetadataReader:
    """Turns access units of one stream into metadata.

    A stream that the parser does not support goes on through the decoder, and comes back when the stream
    changes its parameters or reconnects.

    Args:
        level: See `ovstream.bitstream.Parser`.
        max_pixels: Largest picture accepted.
        config: Which pictures are read.
    """

    def __init__(self, *, level: Level = "full", max_pixels: int, config: BitstreamConfig) -> None:
        self._level: Level = level
        self._config = config
        self._max_pixels = max_pixels
        self._parser: Parser | None = None
        self._fallback: FallbackParser | None = None
        # Since the last keyframe: what a fallback needs to start in the middle.
        self._gop: list[AccessUnit] = []
        self._gop_bytes = 0
        self._since_keyframe = 0
        self._first_field: Reading | None = None
        self._codec = ""
        self._epoch = 0
        self.fallback_reason: str | None = None

    @property
    def waits(self) -> bool:
        """Whether the unit read last held the first field of a frame, whose second is to come."""
        return self._first_field is not None

    @property
    def memory_bytes(self) -> int:
        """Compressed units kept for a fallback."""
        return self._gop_bytes

    def read(self, unit: AccessUnit, *, every: int = 1) -> list[Reading]:
        """Reads one access unit.

        Args:
            unit: The next one.
            every: Read the blocks of one in so many, see `Effort.read`.

        Returns:
            One reading; none for the first of two fields; none or several when a decoder delays or reorders.

        Raises:
            InvalidBitstream: The bytes are damaged.
            DecodeError: The fallback decoder gave up on this unit.
        """
        if unit.codec != self._codec or unit.epoch != self._epoch or (unit.params_changed and self._fallback):
            self._reset(unit)
        if self._fallback is None:
            try:
                frame = self._native(unit).parse(unit, level=self._depth(unit, every))
            except UnsupportedBitstream as error:
                self.fallback_reason = str(error)
                self._fallback = self._fall_back(unit.codec)
            else:
                self._remember(unit)
                return self._join(unit, frame)
        return [Reading(frame, picture) for frame, picture in self._fallback.parse(unit)]

    def _depth(self, unit: AccessUnit, every: int) -> Level | None:
        """How deep a unit is read: None: as configured."""
        self._since_keyframe = 0 if unit.keyframe else self._since_keyframe + 1
        left_out = self._since_keyframe % every and unit.codec in _READ_ALONE and not self.waits
        return "headers" if left_out else None

    def flush(self) -> list[Reading]:
        """Returns what a fallback decoder still holds, or a field that came alone."""
        if self._fallback is None:
            first, self._first_field = self._first_field, None
            return [first] if first else []
        return [Reading(frame, picture) for frame, picture in self._fallback.flush()]

    def close(self) -> None:
        """Frees parser and decoder."""
        if self._fallback is not None:
            self._fallback.close()
        self._parser = self._fallback = self._first_field = None
        self._forget()

    def _reset(self, unit: AccessUnit) -> None:
        self.close()
        self._codec, self._epoch, self.fallback_reason = unit.codec, unit.epoch, None

    def _remember(self, unit: AccessUnit) -> None:
        if unit.keyframe:
            self._forget()
        size = len(unit.data)
        if len(self._gop) < _MAX_GOP_UNITS and self._gop_bytes + size <= _MAX_GOP_BYTES:
            self._gop.append(unit)
            self._gop_bytes += size

    def _forget(self) -> None:
        self._gop.clear()
        self._gop_bytes = 0

    def _join(self, unit: AccessUnit, frame: FrameMetadata) -> list[Reading]:
        """Makes one reading of two fields; a decoder, too, wants both at once."""
        first, self._first_field = self._first_field, None
        if first and first.unit and frame.structure == "second field":
            both = replace(first.unit, data=first.unit.data + unit.data)
            errors, bits = first.frame.errors + frame.errors, first.frame.bits + frame.bits
            frame = replace(frame, pts=both.pts, time_base=both.time_base, errors=errors, bits=bits)
            return [Reading(frame, unit=both)]
        readings = [first] if first else []
        if frame.structure in ("top", "bottom"):
            self._first_field = Reading(frame, unit=unit)
            return readings
        return [*readings, Reading(frame, unit=unit)]

    def _fall_back(self, codec: str) -> FallbackParser:
        """Starts a decoder and brings it to the present; the parser has told about those pictures."""
        self._parser = self._first_field = None
        fallback = FallbackParser(codec, max_pixels=self._max_pixels)
        for unit in self._gop:
            with contextlib.suppress(DecodeError):
                fallback.parse(unit)
        self._forget()
        return fallback

    def _native(self, unit: AccessUnit) -> Parser:
        if self._parser is None:
            if unit.codec not in ("h264", "h265", "vp8"):
                raise UnsupportedBitstream(f"there is no parser for {unit.codec}", element="codec")
            codec = cast(Codec, unit.codec)
            self._parser = Parser(
                codec,
                level=self._level,
                max_pixels=self._max_pixels,
                every=self._config.every,
                skip_intra=self._config.skip_intra,
                max_bits_per_pixel=self._config.max_bits_per_pixel,
            )
        return self._parser
