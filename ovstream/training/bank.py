"""Packs to tensors."""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from ovstream.errors import TrainingError
from ovstream.training.packs import SIDE_PX, SPRITE_PX, PictureKind, read_pictures
from ovstream.training.views import Bank


def load_bank(folder: Path) -> Bank:
    """Decodes all pictures of a folder of packs.

    Args:
        folder: Written by `collect`.

    Raises:
        TrainingError: There are none, or one is damaged.
    """
    pictures = read_pictures(folder)
    if not len(pictures):
        raise TrainingError(f"{folder} holds no pictures")
    is_sprite = [kind == PictureKind.SPRITE for kind in pictures.kinds]
    with ThreadPoolExecutor(
        os.cpu_count()
    ) as threads:  # Pillow decodes and scales without the interpreter's lock
        decoded = list(threads.map(_decode, pictures.data, is_sprite))
    photos = [picture for picture, sprite in zip(decoded, is_sprite, strict=True) if not sprite]
    sprites = [picture for picture, sprite in zip(decoded, is_sprite, strict=True) if sprite]
    return Bank(_stacked(photos, 3, SIDE_PX), _stacked(sprites, 4, SPRITE_PX))


def _decode(data: bytes, sprite: bool) -> npt.NDArray[np.uint8]:
    """(3, S, S), or (4, s, s) with the sprite in the middle."""
    try:
        image = Image.open(io.BytesIO(data))
        if not sprite:
            photo = image.convert("RGB")
            if photo.size != (SIDE_PX, SIDE_PX):
                photo = photo.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)
            return np.ascontiguousarray(np.asarray(photo).transpose(2, 0, 1))
        sheet = Image.new("RGBA", (SPRITE_PX, SPRITE_PX))
        sheet.paste(image.convert("RGBA"), ((SPRITE_PX - image.width) // 2, (SPRITE_PX - image.height) // 2))
        return np.ascontiguousarray(np.asarray(sheet).transpose(2, 0, 1))
    except (OSError, ValueError) as error:
        raise TrainingError(f"a picture in the packs is damaged: {error}") from error


def _stacked(pictures: list[npt.NDArray[np.uint8]], channels: int, side: int) -> torch.Tensor:
    if not pictures:
        return torch.zeros((0, channels, side, side), dtype=torch.uint8)
    return torch.from_numpy(np.stack(pictures))
