"""Metadata by decoding, for streams that no parser reads."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from ovstream.config import DEFAULT_MAX_PIXELS
from ovstream.decode.libav import (
    Decoder,
    VideoFrame,
    encoding_parameters,
    is_damaged,
    motion_vectors,
    slice_type,
    to_picture,
)
from ovstream.decode.motion import (
    Blocks,
    Splits,
    difference_energy,
    fill_motion,
    fill_qp,
    new_blocks,
    spread_bits,
)
from ovstream.decode.picture import Picture, Plane
from ovstream.errors import DecodeError
from ovstream.types import SPLIT_DTYPE, AccessUnit, BlockClass, FrameMetadata

# Codecs whose decoders in FFmpeg export motion vectors; those outside decode by another scheme or not at all.
EXPORTS_MOTION = frozenset({"h264", "mpeg1video", "mpeg2video", "mpeg4", "h263", "flv1", "msmpeg4v3"})
MAX_DELAYED_UNITS = 64  # no decoder holds back more pictures; older ones gave none


class FallbackParser:
    """Decodes every access unit and makes metadata of what FFmpeg tells about it.

    | codecs | `origin` | motion | `block_class` | `residual_energy` | `qp` |
    |---|---|---|---|---|---|
    | `EXPORTS_MOTION` | "decoder" | exported | INTER, INTRA | luma against the previous picture | if exported |
    | others | "difference" | none | SKIP where nothing changed, else UNKNOWN | the same | 0 |

    The difference is not compensated for motion. The cost in bits of a cell is not known either: the bits of
    the unit are shared in proportion to the energy. Cells that a decoder copied are INTER with a vector of
    zero here; SKIP is not exported.

    Pictures come in display order, so some units give none and others several.

    Args:
        codec: As in `AccessUnit`.
        max_pixels: Larger pictures are refused.

    Raises:
        DecodeError: FFmpeg has no such decoder.
    """

    def __init__(self, codec: str, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> None:
        self.codec = codec
        self._max_pixels = max_pixels
        self._extradata = b""
        self._decoder: Decoder | None = self._open()
        self._serial = 0
        self._units: OrderedDict[int, AccessUnit] = OrderedDict()
        self._previous: Plane | None = None
        self._needs_keyframe = True

    def parse(self, unit: AccessUnit) -> list[tuple[FrameMetadata, Picture]]:
        """Decodes one access unit.

        Returns:
            Metadata and picture of every frame that is ready, in display order; may be empty.

        Raises:
            DecodeError: The decoder refused the unit, or no keyframe came yet.
        """
        if self._decoder is None:
            raise DecodeError("the decoder is closed")
        if unit.extradata != self._extradata:
            self._extradata = unit.extradata
            self._decoder = self._open()  # it has no picture yet that this one could refer to
            self._needs_keyframe = True
        if unit.discontinuity and not unit.keyframe:
            self._needs_keyframe = True
        if self._needs_keyframe and not unit.keyframe:
            raise DecodeError(f"{self.codec}: waiting for a keyframe")
        if self._needs_keyframe:
            self._decoder.reset()
            self._units.clear()
        self._needs_keyframe = False
        self._serial += 1
        self._units[self._serial] = unit
        while len(self._units) > MAX_DELAYED_UNITS:
            self._units.popitem(last=False)
        return self._results(self._decoder.decode(unit.data, self._serial))

    def flush(self) -> list[tuple[FrameMetadata, Picture]]:
        """Returns what the decoder still holds; the next unit must be a keyframe."""
        if self._decoder is None:
            return []
        results = self._results(self._decoder.drain())
        self._needs_keyframe = True
        return results

    def close(self) -> None:
        """Frees the decoder; may be called twice."""
        self._decoder = self._previous = None
        self._units.clear()

    def _open(self) -> Decoder:
        return Decoder(
            self.codec,
            extradata=self._extradata,
            max_pixels=self._max_pixels,
            immediate=False,
            options={"flags2": "+export_mvs", "export_side_data": "+venc_params"},
        )

    def _results(self, frames: list[VideoFrame]) -> list[tuple[FrameMetadata, Picture]]:
        results = []
        for frame in frames:
            unit = self._units.pop(frame.pts, None) if frame.pts is not None else None
            if unit is not None:
                picture = to_picture(frame, pts=unit.pts, damaged=is_damaged(frame, self.codec))
                results.append((self._describe(frame, unit, picture), picture))
        return results

    def _describe(self, frame: VideoFrame, unit: AccessUnit, picture: Picture) -> FrameMetadata:
        exports = self.codec in EXPORTS_MOTION
        blocks, splits = self._motion(frame, picture) if exports else self._still(picture)
        self._add_difference(blocks, picture.y, mark_same=not exports)
        bits = 8 * len(unit.data)
        spread_bits(blocks, bits)
        return FrameMetadata(
            codec=unit.codec,
            width=picture.width,
            height=picture.height,
            pts=unit.pts,
            time_base=unit.time_base,
            keyframe=unit.keyframe,
            reference=True,
            slice_type=slice_type(frame),
            poc=0,
            coverage=0.0 if picture.damaged else 1.0,
            origin="decoder" if exports else "difference",
            bits=bits,
            blocks=blocks,
            splits=splits,
            errors=int(picture.damaged),
        )

    def _motion(self, frame: VideoFrame, picture: Picture) -> tuple[Blocks, Splits]:
        blocks = new_blocks(picture.width, picture.height, BlockClass.INTRA)
        vectors = motion_vectors(frame)
        splits = np.empty(0, SPLIT_DTYPE) if vectors is None else fill_motion(blocks, vectors)
        fill_qp(blocks, encoding_parameters(frame))
        return blocks, splits

    def _still(self, picture: Picture) -> tuple[Blocks, Splits]:
        return new_blocks(picture.width, picture.height), np.empty(0, SPLIT_DTYPE)

    def _add_difference(self, blocks: Blocks, luma: Plane, *, mark_same: bool) -> None:
        if self._previous is not None and self._previous.shape == luma.shape:
            blocks["residual_energy"] = difference_energy(luma, self._previous)
            if mark_same:
                blocks["block_class"][blocks["residual_energy"] == 0] = BlockClass.SKIP
        self._previous = luma
