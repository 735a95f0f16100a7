"""A picture's motion and change in a few numbers, straight from the codec: nothing is decoded."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ovstream.types import BlockClass, FloatArray, FrameMetadata

MOTION_EDGES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Thousandths of the picture's width a picture."""

RESIDUAL_EDGES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Grey levels, root mean square over a cell."""

CELL_SAMPLES = 256
LENGTH = len(MOTION_EDGES) + 1 + len(RESIDUAL_EDGES) + 1 + 3


def codec_profile(frame: FrameMetadata) -> FloatArray:
    """Says how much moves how fast, and what had to be sent anew; comparable between cameras of any size.

    Args:
        frame: Of level "full". I pictures have no motion: leave them out.

    Returns:
        (LENGTH,) float32, square roots of shares of the picture: by length of motion, by strength of the residual,
        and of cells skipped, predicted, and coded anew.
    """
    kinds = np.bincount(frame.block_class.ravel(), minlength=len(BlockClass)) / frame.block_class.size
    residual = np.sqrt(frame.residual_energy / CELL_SAMPLES)
    classes = np.array([kinds[BlockClass.SKIP], kinds[BlockClass.INTER], kinds[BlockClass.INTRA :].sum()])
    shares = [_shares(_motion(frame), MOTION_EDGES), _shares(residual, RESIDUAL_EDGES), classes]
    profile: FloatArray = np.sqrt(np.concatenate(shares)).astype(np.float32)
    return profile


def _motion(frame: FrameMetadata) -> FloatArray:
    """(4 mb_rows, 4 mb_cols): length of the vector into list 0, where there is none into list 1; 0 without any."""
    vectors, used = frame.mv.astype(np.float32) / 4, frame.ref_idx >= 0
    lengths = np.hypot(vectors[..., 0], vectors[..., 1]) * np.float32(1000 / frame.width)
    return np.where(used[0], lengths[0], np.where(used[1], lengths[1], np.float32(0)))


def _shares(values: FloatArray, edges: tuple[float, ...]) -> npt.NDArray[np.float64]:
    counts = np.bincount(np.searchsorted(edges, values.ravel(), side="right"), minlength=len(edges) + 1)
    return counts / values.size
