"""What one picture says about the health of its camera."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from ovstream.types import BlockClass, FloatArray, FrameMetadata

CELL_SAMPLES = 256
QUIET_RMS = 0.35  # grey levels: an encoder refines a frozen picture, but by less and less
FRESH_INTRA = 0.6  # share of cells coded without reference that makes a picture tell its textures
_CHROMA_BITS = {"h264": 0x30, "h265": 0x30}  # of `cbp`


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """One picture in a few numbers.

    Attributes:
        seconds: Presentation time.
        fresh: Coded (nearly) without reference: `texture` is of the whole picture.
        keyframe: An I picture.
        bits: Size of the access unit.
        qp: Mean quantiser, in steps of H.264.
        skip: Share of cells copied without residual.
        intra: Share of cells coded without reference.
        residual_rms: Grey levels, over the picture.
        moving: Share of cells whose motion is not zero; 1 where so much residual was sent that nobody asks.
        colour: Share of cells with coded chroma; None where the codec does not tell, and unless fresh.
        texture: (mb_rows, mb_cols) float32, grey levels RMS of what prediction left; None unless fresh.
    """

    seconds: float
    fresh: bool
    keyframe: bool
    bits: int
    qp: float
    skip: float
    intra: float
    residual_rms: float
    moving: float
    colour: float | None
    texture: FloatArray | None = field(default=None, repr=False)

    @classmethod
    def of(cls, frame: FrameMetadata, seconds: float) -> Features:
        """Reads them from the compact records; `seconds` stands in where the stream has no times."""
        blocks = frame.blocks
        kinds = np.bincount(blocks["block_class"].ravel(), minlength=len(BlockClass)) / blocks.size
        energy = np.ascontiguousarray(blocks["residual_energy"])
        residual_rms = math.sqrt(float(energy.mean()) / CELL_SAMPLES)
        intra = float(kinds[BlockClass.INTRA :].sum())
        keyframe = frame.slice_type == "I"
        fresh = keyframe or intra >= FRESH_INTRA
        mask = _CHROMA_BITS.get(frame.codec) if fresh else None
        qp = float(blocks["qp"].mean(dtype=np.float32))
        quiet = not fresh and residual_rms < QUIET_RMS
        return cls(
            seconds=seconds,
            fresh=fresh,
            keyframe=keyframe,
            bits=frame.bits,
            qp=qp * 51 / 127 if frame.codec == "vp8" else qp,
            skip=float(kinds[BlockClass.SKIP]),
            intra=intra,
            residual_rms=residual_rms,
            moving=float(blocks["mv"][:, :, 0].any(axis=-1).mean()) if quiet else 1.0,
            colour=None if mask is None else float(((blocks["cbp"] & mask) != 0).mean()),
            texture=np.sqrt(energy * np.float32(1 / CELL_SAMPLES)) if fresh else None,
        )
