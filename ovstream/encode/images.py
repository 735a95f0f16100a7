"""Pictures to patches, for single images; streams have `ovstream.decode`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from ovstream.errors import ConfigError
from ovstream.plan.grid import PatchGrid
from ovstream.types import FloatArray, ModelInfo, Patches


def image_patches(rgb: npt.NDArray[np.uint8], info: ModelInfo, *, max_tokens: int) -> Patches:
    """Scales an image to the grid that fits its aspect, and cuts all patches.

    Args:
        rgb: (H, W, 3) uint8.
        info: Patch size and normalisation.
        max_tokens: Most patches.

    Returns:
        All patches of the image.

    Raises:
        ConfigError: `rgb` is not an image.
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.size == 0:
        raise ConfigError(f"an image must be (H, W, 3) uint8, not {rgb.shape} {rgb.dtype}")
    height, width = rgb.shape[:2]
    rows, cols = PatchGrid.fit(width, height, max_tokens=max_tokens).shape
    size = info.patch_px
    scaled = Image.fromarray(np.ascontiguousarray(rgb)).resize(
        (cols * size, rows * size), Image.Resampling.BICUBIC
    )
    mean: FloatArray = np.array(info.mean, np.float32)
    std: FloatArray = np.array(info.std, np.float32)
    values: FloatArray = (np.asarray(scaled, np.float32) / np.float32(255) - mean) / std
    cells = values.reshape(rows, size, cols, size, 3).transpose(0, 2, 4, 1, 3)
    pixels = np.ascontiguousarray(cells).reshape(rows * cols, 3, size, size)
    return Patches(np.arange(rows * cols, dtype=np.int32), pixels, (rows, cols))
