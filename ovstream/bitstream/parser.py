"""The bitstream parser, in the native core."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NoReturn, get_args

import numpy as np

from ovstream._native import ffi, lib
from ovstream.errors import BitstreamError, ConfigError, InvalidBitstream, UnsupportedBitstream
from ovstream.types import (
    BLOCK_DTYPE,
    SPLIT_DTYPE,
    AccessUnit,
    FrameMetadata,
    SliceType,
    Structure,
    Unread,
)

Codec = Literal["h264", "h265", "vp8"]
Level = Literal["headers", "motion", "full"]

DEFAULT_MAX_PIXELS = 4096 * 2176
"""Largest picture that is parsed, in luma samples: bounds the memory of a parser."""

_LONGEST_LIST = 32
_SLICE_TYPES: dict[int, SliceType] = {ord("I"): "I", ord("P"): "P", ord("B"): "B"}
_UNREAD: tuple[Unread, ...] = ("", "intra", "inter", "costly")
_FLAGS: dict[Level, int] = {
    "headers": lib.OVBITS_SKIP_INTRA | lib.OVBITS_SKIP_INTER,
    "motion": 0,
    "full": lib.OVBITS_ENERGY,
}
_STRUCTURES: tuple[Structure, ...] = ("frame", "fields", "top", "bottom", "second field")
_NO_LISTS: Any = np.empty(0, np.uint32), np.empty(0, np.int32)
_NO_SPLITS: Any = np.empty(0, SPLIT_DTYPE)
_NEW: dict[Codec, Callable[[int], Any]] = {
    "h264": lib.ovbits_h264_new,
    "h265": lib.ovbits_h265_new,
    "vp8": lib.ovbits_vp8_new,
}
_ERRORS: dict[int, tuple[type[BitstreamError], str]] = {
    lib.OVBITS_INVALID: (InvalidBitstream, "invalid"),
    lib.OVBITS_UNSUPPORTED: (UnsupportedBitstream, "unsupported"),
    lib.OVBITS_INTERNAL: (BitstreamError, "failed at"),
}


class Parser:
    """Reads motion, quantisers, residual energy and bit costs of one stream, picture by picture.

    Holds the reference state of the stream (parameter sets, order counts, co-located motion): access units go in
    in decoding order. It has no thread; the native call releases the GIL.

    Args:
        codec: Of the stream.
        level: "full", "motion" to leave `residual_energy` at 0, which is cheaper, or "headers" to read no block at all.
            VP8 at "motion" leaves all tokens unread: no coefficient counts, bit costs of the first partition alone,
            and blocks without a residual are SKIP only where the stream has a flag for it (encoders use it).
        max_pixels: Larger pictures (in luma samples) are unsupported; bounds the memory.
        every: Read only every so many-th P or B picture since the keyframe. P pictures of H.264 and VP8 do not depend on
            each other's motion, so results stay exact; `FrameMetadata.motion_exact` tells for B pictures. H.265
            with temporal motion vectors, and changes of VP8's segment map, are read in any case.
        max_bits_per_pixel: Leave a picture unread when its slices are larger; None: never. Reading costs by the bit,
            decoding by the pixel: above about 0.1 bits a decoder may be cheaper.
        skip_intra: Do not read the macroblocks of I slices (VP8: key frames), which hold no motion: they appear as
            INTRA with the quantiser of their slice, no energy and no bit cost.
        nal_length_bytes: 0 for Annex B start codes, 1 to 4 when a length of so many bytes precedes each NAL unit;
            VP8 has no NAL units.

    Raises:
        ConfigError: An argument is out of range.
    """

    def __init__(
        self,
        codec: Codec,
        *,
        level: Level = "full",
        max_pixels: int = DEFAULT_MAX_PIXELS,
        skip_intra: bool = False,
        every: int = 1,
        max_bits_per_pixel: float | None = None,
        nal_length_bytes: int = 0,
    ) -> None:
        if codec not in get_args(Codec):
            raise ConfigError(f"codec must be one of {', '.join(get_args(Codec))}, not {codec!r}")
        if level not in get_args(Level):
            raise ConfigError(f"level must be one of {', '.join(get_args(Level))}, not {level!r}")
        if not 0 <= nal_length_bytes <= 4:
            raise ConfigError(f"nal_length_bytes must be 0 to 4, not {nal_length_bytes}")
        if not 0 < max_pixels < 1 << 32:
            raise ConfigError(f"max_pixels must be 1 to 2**32 - 1, not {max_pixels}")
        if not 1 <= every < 1 << 32:
            raise ConfigError(f"every must be at least 1, not {every}")
        if max_bits_per_pixel is not None and not 0.001 <= max_bits_per_pixel <= 1e6:
            raise ConfigError(
                f"max_bits_per_pixel must be 0.001 to 1000000 or None, not {max_bits_per_pixel}"
            )
        self.codec = codec
        self._nal_length_bytes = nal_length_bytes
        self._level: Level = level
        self._always = lib.OVBITS_SKIP_INTRA if skip_intra else 0
        self._options = ffi.new("OvbitsOptions *")
        self._options.every = every
        self._options.max_bits_per_kilopixel = round(1000 * (max_bits_per_pixel or 0))
        self._parser = ffi.gc(_NEW[codec](max_pixels), lib.ovbits_free)
        self._picture = ffi.new("OvbitsPicture *")
        self._error = ffi.new("OvbitsError *")
        self._unknown: np.ndarray[Any, Any] = np.zeros((0, 0), BLOCK_DTYPE)

    def parse(self, access_unit: AccessUnit, *, level: Level | None = None) -> FrameMetadata:
        """Parses one coded picture with the parameter sets and messages around it.

        A damaged slice does not raise: its cells stay UNKNOWN, `coverage` falls below 1 and `errors` counts it. Fields may
        come in one access unit or in two (`FrameMetadata.structure`); the second one brings the whole frame.

        Args:
            access_unit: Exactly one picture, in decoding order.
            level: For this picture, another than that of the parser.

        Returns:
            The metadata; it owns its arrays. The blocks of a picture of which none was read are shared and read-only.

        Raises:
            InvalidBitstream: There is no readable picture, or more than one.
            UnsupportedBitstream: The stream needs something that the parser does not have.
            Either way the next access unit may be parsed.
        """
        data = access_unit.data
        picture, options = self._picture, self._options
        options.flags = self._always | _FLAGS[level or self._level]
        status = lib.ovbits_parse(
            self._parser,
            ffi.from_buffer(data),
            len(data),
            self._nal_length_bytes,
            options,
            picture,
            self._error,
        )
        if status != lib.OVBITS_OK:
            self._raise(status)
        blocks, splits = self._records() if picture.covered else (self._no_blocks(), _NO_SPLITS)
        list_ends, list_pocs = self._lists() if picture.list_entries else _NO_LISTS
        return FrameMetadata(
            codec=self.codec,
            width=picture.width,
            height=picture.height,
            pts=access_unit.pts,
            time_base=access_unit.time_base,
            keyframe=picture.keyframe != 0,
            reference=picture.reference != 0,
            slice_type=_SLICE_TYPES[picture.slice_type],
            poc=picture.poc,
            coverage=picture.covered / blocks.size,
            origin="bitstream",
            bits=8 * len(data),
            blocks=blocks,
            splits=splits,
            errors=picture.errors,
            shown=picture.shown != 0,
            unread=_UNREAD[picture.unread],
            motion_exact=picture.motion_exact != 0,
            structure=_STRUCTURES[picture.content],
            list_ends=list_ends,
            list_pocs=list_pocs,
        )

    @property
    def missing_references(self) -> int:
        """Reference list entries of the last picture whose picture never came (lost, or before the stream began)."""
        missing: int = self._picture.missing_references
        return missing

    @property
    def sequence_changed(self) -> bool:
        """Whether the last picture began a sequence with other parameters than the one before, or the first."""
        return bool(self._picture.sequence_changed)

    def reference_pocs(self, slice_index: int = 0) -> tuple[list[int], list[int]]:
        """Where `ref_idx` points: picture order counts of the two reference lists of a slice of the last picture.

        Args:
            slice_index: As in `FrameMetadata.slice_map`.
        """
        return self._list_pocs(slice_index, 0), self._list_pocs(slice_index, 1)

    def _records(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        picture = self._picture
        blocks: np.ndarray[Any, Any] = np.empty((picture.mb_rows, picture.mb_cols), BLOCK_DTYPE)
        splits: np.ndarray[Any, Any] = np.empty(picture.splits, SPLIT_DTYPE)
        copied = lib.ovbits_copy(
            self._parser,
            ffi.from_buffer("uint8_t[]", blocks, require_writable=True),
            blocks.size,
            ffi.from_buffer("uint8_t[]", splits, require_writable=True),
            splits.size,
        )
        if copied != lib.OVBITS_OK:
            raise BitstreamError(f"{self.codec}: one parser was used from two threads at the same time")
        return blocks, splits

    def _no_blocks(self) -> np.ndarray[Any, Any]:
        shape = self._picture.mb_rows, self._picture.mb_cols
        if self._unknown.shape != shape:
            self._unknown = np.zeros(shape, BLOCK_DTYPE)
            self._unknown.flags.writeable = False
        return self._unknown

    def _lists(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        ends: np.ndarray[Any, Any] = np.empty(self._picture.lists, np.uint32)
        pocs: np.ndarray[Any, Any] = np.empty(self._picture.list_entries, np.int32)
        copied = lib.ovbits_copy_references(
            self._parser,
            ffi.from_buffer("uint32_t[]", ends, require_writable=True),
            ends.size,
            ffi.from_buffer("int32_t[]", pocs, require_writable=True),
            pocs.size,
        )
        if copied != lib.OVBITS_OK:
            raise BitstreamError(f"{self.codec}: one parser was used from two threads at the same time")
        return ends, pocs

    def _list_pocs(self, slice_index: int, number: int) -> list[int]:
        pocs = ffi.new("int32_t[]", _LONGEST_LIST)
        count = lib.ovbits_reference_pocs(self._parser, slice_index, number, pocs, _LONGEST_LIST)
        return [pocs[index] for index in range(min(count, _LONGEST_LIST))]

    def _raise(self, status: int) -> NoReturn:
        error = self._error
        kind, verb = _ERRORS[status]
        element = ffi.string(ffi.cast("char *", error.element)).decode()
        part = "partition" if self.codec == "vp8" else "NAL unit"
        place = f"bit {error.bit_offset} of {part} {error.nal_index}"
        raise kind(
            f"{self.codec}: {verb} {element} at {place}",
            element=element,
            bit_offset=error.bit_offset,
            nal_index=error.nal_index,
        )
