"""Picture files to small encoded ones: photos cropped square, things with a transparent surround trimmed."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from ovstream.training.packs import SIDE_PX, SPRITE_PX, PictureKind

LEAST_PX = 48
LEAST_DEVIATION = 12.0  # grey levels: an even picture teaches nothing
GIF_STEP = 4
TRANSPARENT = 0.15  # of the pixels: what makes a picture a sprite
Encoded = tuple[bytes, PictureKind]


@dataclass(frozen=True, slots=True)
class Cut:
    """How pictures become small ones.

    Attributes:
        side_px: Of photos.
        crop_area_px: A crop more than the middle square for every so many pixels of a picture.
        most_crops: Of one picture.
        kind: File format of photos; sprites are WebP.
        quality: Of both.
    """

    side_px: int = SIDE_PX
    crop_area_px: int = 560**2
    most_crops: int = 20
    kind: str = "JPEG"
    quality: int = 80

    def pictures(self, file: Path | BinaryIO, rng: np.random.Generator) -> Iterator[Encoded]:
        """What one file gives: nothing where it is damaged, even or too small.

        Args:
            file: Anything that Pillow reads; of animations every fourth picture counts.
            rng: Chooses the crops.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow warns of odd metadata; too large pictures raise
                with Image.open(file) as image:
                    for frame in range(0, getattr(image, "n_frames", 1), GIF_STEP):
                        image.seek(frame)
                        yield from self._cut(image, rng)
        except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError):
            return  # damaged, or of another kind than it says

    def photo(self, picture: Image.Image) -> Iterator[Encoded]:
        """The middle square of one, unless it is even."""
        side = min(picture.size)
        x, y = ((length - side) // 2 for length in picture.size)
        yield from self._square(picture.crop((x, y, x + side, y + side)))

    def _cut(self, image: Image.Image, rng: np.random.Generator) -> Iterator[Encoded]:
        if image.mode in ("RGBA", "LA") or "transparency" in image.info:
            with_alpha = image.convert("RGBA")
            alpha = np.asarray(with_alpha)[..., 3]
            if float((alpha < 128).mean()) > TRANSPARENT:
                yield from self._sprite(with_alpha)
                return
        photo = image.convert("RGB")
        if min(photo.size) < LEAST_PX:
            return
        yield from self.photo(photo)
        for _ in range(min(self.most_crops, photo.width * photo.height // self.crop_area_px)):
            side = int(rng.uniform(min(self.side_px, min(photo.size) / 2), 0.8 * min(photo.size)))
            x, y = (int(rng.integers(0, length - side + 1)) for length in photo.size)
            yield from self._square(photo.crop((x, y, x + side, y + side)))

    def _sprite(self, picture: Image.Image) -> Iterator[Encoded]:
        box = picture.getchannel("A").point(lambda value: 255 * (value > 32)).getbbox()
        if box is not None and min(box[2] - box[0], box[3] - box[1]) >= LEAST_PX // 2:
            sprite = picture.crop(box)
            sprite.thumbnail((SPRITE_PX, SPRITE_PX), Image.Resampling.BICUBIC)
            yield self._encoded(sprite, "WEBP"), PictureKind.SPRITE

    def _square(self, square: Image.Image) -> Iterator[Encoded]:
        scaled = square.resize((self.side_px, self.side_px), Image.Resampling.BICUBIC, reducing_gap=2.0)
        if float(np.asarray(scaled.convert("L"), np.float32).std()) >= LEAST_DEVIATION:
            yield self._encoded(scaled, self.kind), PictureKind.PHOTO

    def _encoded(self, image: Image.Image, kind: str) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, kind, quality=self.quality)
        return buffer.getvalue()
