"""Pictures for people, as JPEG."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from ovstream.types import BoolArray

MAX_WIDTH = 1920
_GREY = 58


def jpeg(picture: Any, masked: BoolArray, *, width: int, quality: int = 75) -> bytes:
    """Scales a decoded picture down by a whole factor and encodes it; what is masked is grey.

    Args:
        picture: Of the decoder.
        masked: (rows, cols) bool, patches that nobody may see.
        width: Wanted at least, in samples, where the picture has as many.
        quality: Of the JPEG, 1 to 95.
    """
    from PIL import Image

    factor = max(1, picture.width // max(width, 16))
    small = picture.shrunk(factor)
    rgb = small.to_rgb()
    if masked.any():
        rows = np.arange(small.height) * masked.shape[0] // small.height
        cols = np.arange(small.width) * masked.shape[1] // small.width
        rgb[masked[rows[:, None], cols[None, :]]] = _GREY
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "JPEG", quality=quality)
    return out.getvalue()
