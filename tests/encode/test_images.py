"""Single images: any size and aspect."""

from __future__ import annotations

import numpy as np
import pytest

from ovstream.encode import Encoder, load_encoder
from ovstream.encode.images import image_patches
from ovstream.errors import ConfigError
from ovstream.types import ModelInfo

INFO = ModelInfo("m", "0" * 16, False, 8, 14, 1024, (0.5, 0.25, 0.0), (0.5, 0.25, 1.0))


def test_patches_are_normalised_cells_of_the_image() -> None:
    """An image of the right size is not resampled: the numbers can be written down."""
    rgb = np.random.default_rng(0).integers(0, 256, (28, 42, 3), np.uint8)
    patches = image_patches(rgb, INFO, max_tokens=6)
    assert patches.grid == (2, 3)
    for row in range(2):
        for col in range(3):
            cell = rgb[14 * row : 14 * row + 14, 14 * col : 14 * col + 14].astype(np.float64) / 255
            wanted = ((cell - [0.5, 0.25, 0.0]) / [0.5, 0.25, 1.0]).transpose(2, 0, 1)
            assert np.abs(patches.pixels[3 * row + col] - wanted).max() < 1e-6


@pytest.mark.parametrize(("height", "width"), [(1080, 1920), (600, 200), (1, 1), (50, 700)])
def test_the_grid_follows_the_aspect(exact: Encoder, height: int, width: int) -> None:
    output = exact.encode_image(np.zeros((height, width, 3), np.uint8), max_tokens=64)
    assert output.n_updated <= 64
    assert np.isfinite(output.scene).all()


def test_embeddings_tell_pictures_apart() -> None:
    """The embedded model hears change over sensor noise, which every picture of a camera has."""
    encoder = load_encoder("ov-nano", mode="exact")
    rng = np.random.default_rng(0)
    rows, cols = np.mgrid[0:224, 0:224]
    scene = np.stack([120 + 60 * np.sin(rows / 30 + c) + 40 * np.cos(cols / 17) for c in range(3)], axis=-1)
    moved = scene.copy()
    moved[80:136, 80:136] = (200, 30, 30)  # one sixteenth of the picture
    noisy = [np.clip(image + rng.normal(0, 3, scene.shape), 0, 255) for image in (scene, scene, moved)]
    first, second, third = (encoder.encode_image(image.astype(np.uint8)).scene for image in noisy)
    assert np.linalg.norm(third - first) > 3 * np.linalg.norm(second - first)


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)]
)
def test_what_is_no_image_is_an_error(exact: Encoder, image: np.ndarray) -> None:
    with pytest.raises(ConfigError, match="uint8"):
        exact.encode_image(image)
