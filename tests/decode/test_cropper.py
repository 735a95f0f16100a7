from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ovstream.decode import PatchCropper, Picture
from ovstream.decode.picture import LUMA_WEIGHTS, Matrix
from ovstream.sources.scene import Scene
from ovstream.types import FloatArray

NO_MEAN = (0.0, 0.0, 0.0)
NO_STD = (1.0, 1.0, 1.0)


def picture_of(rgb: npt.NDArray[np.uint8], *, matrix: Matrix = "bt601", full_range: bool = False) -> Picture:
    """Converts RGB to YUV 4:2:0 in floating point, chroma averaged over 2x2 (odd sizes: the border repeated)."""
    kr, kb = LUMA_WEIGHTS[matrix]
    red, green, blue = (rgb[..., channel] / 255.0 for channel in range(3))
    y = kr * red + (1 - kr - kb) * green + kb * blue
    u, v = (blue - y) / (2 * (1 - kb)), (red - y) / (2 * (1 - kr))
    luma, chroma, black = (255, 255, 0) if full_range else (219, 224, 16)
    height, width = y.shape

    def half(plane: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
        even = np.pad(plane, ((0, height % 2), (0, width % 2)), mode="edge")
        mean = even.reshape((height + 1) // 2, 2, (width + 1) // 2, 2).mean(axis=(1, 3))
        return np.rint(mean * chroma + 128).astype(np.uint8)

    return Picture(
        y=np.rint(y * luma + black).astype(np.uint8),
        u=half(u),
        v=half(v),
        pts=0,
        full_range=full_range,
        matrix=matrix,
    )


def whole(pixels: FloatArray, grid: tuple[int, int]) -> FloatArray:
    """Puts all patches together: (rows * p, cols * p, 3)."""
    rows, cols = grid
    side = pixels.shape[2]
    return (
        pixels.reshape(rows, cols, 3, side, side)
        .transpose(0, 3, 1, 4, 2)
        .reshape(rows * side, cols * side, 3)
    )


def everything(grid: tuple[int, int]) -> npt.NDArray[np.int32]:
    return np.arange(grid[0] * grid[1], dtype=np.int32)


def cropper_for(picture: Picture, grid: tuple[int, int], patch_px: int) -> PatchCropper:
    return PatchCropper(grid, (picture.width, picture.height), patch_px=patch_px, mean=NO_MEAN, std=NO_STD)


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(2, 300),
    height=st.integers(2, 200),
    rows=st.integers(1, 9),
    cols=st.integers(1, 9),
    patch_px=st.sampled_from([8, 14, 16]),
    data=st.data(),
)
def test_a_patch_does_not_depend_on_the_others(
    width: int, height: int, rows: int, cols: int, patch_px: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(width * 1000 + height)
    planes = [
        rng.integers(0, 256, shape, dtype=np.uint8)
        for shape in [(height, width)] + [(-(-height // 2), -(-width // 2))] * 2
    ]
    picture = Picture(*planes, pts=None, full_range=True, matrix="bt709")
    cropper = cropper_for(picture, (rows, cols), patch_px)
    complete = cropper.crop(picture, everything((rows, cols)))
    assert complete.pixels.shape == (rows * cols, 3, patch_px, patch_px)
    assert complete.pixels.dtype == np.float32
    indices = np.array(data.draw(st.lists(st.integers(0, rows * cols - 1), max_size=12)), np.int32)
    some = cropper.crop(picture, indices)
    assert some.pixels.tobytes() == complete.pixels[indices].tobytes()
    assert (some.indices == indices).all()
    assert complete.pixels.min() >= 0
    assert complete.pixels.max() <= 1


@pytest.mark.parametrize(
    ("size", "grid"),
    [((640, 480), (12, 16)), ((1000, 562), (12, 21)), ((355, 289), (5, 6)), ((257, 161), (10, 16))],
)
def test_shrinking_equals_the_area_average_of_another_library(
    size: tuple[int, int], grid: tuple[int, int]
) -> None:
    picture = picture_of(Scene(*size, seed=3).render(2), full_range=True)
    grey = Picture(
        y=picture.y,
        u=np.full_like(picture.u, 128),
        v=np.full_like(picture.v, 128),
        pts=0,
        full_range=True,
        matrix="bt601",
    )
    got = whole(cropper_for(grey, grid, 16).crop(grey, everything(grid)).pixels, grid)
    target = grid[1] * 16, grid[0] * 16
    expected = np.asarray(Image.fromarray(grey.y.astype(np.float32)).resize(target, Image.Resampling.BOX))
    # PIL's box takes whole samples by their centre at the edges of a pixel; ours shares them by area.
    exact = _area_matrix(size[1], target[1]) @ grey.y @ _area_matrix(size[0], target[0]).T
    error = np.abs(got[..., 0] * 255 - exact)
    assert error.max() < 1.0
    assert error.mean() < 0.15
    assert np.abs(got[..., 0] * 255 - expected).mean() < 2.0


def test_colour_follows_the_whole_picture_converted_first() -> None:
    picture = picture_of(Scene(640, 352, seed=1, noise=0).render(0))
    grid = 11, 20
    got = whole(cropper_for(picture, grid, 16).crop(picture, everything(grid)).pixels, grid)
    rgb = Image.fromarray(picture.to_rgb())
    expected = np.asarray(rgb.resize((320, 176), Image.Resampling.BOX)) / 255
    assert np.abs(got - expected).mean() * 255 < 1.0


def test_enlarging_is_smooth() -> None:
    ramp = np.tile(np.arange(0, 240, 6, dtype=np.uint8), (24, 1))
    chroma = np.full((12, 20), 128, np.uint8)
    picture = Picture(ramp, chroma, chroma, pts=0, full_range=True, matrix="bt601")
    got = whole(cropper_for(picture, (3, 10), 16).crop(picture, everything((3, 10))).pixels, (3, 10))
    steps = np.diff(got[0, :, 0] * 255)
    assert steps.min() >= 0
    assert steps.max() < 2.0  # 6 levels over 4 pixels
    assert np.abs(got - got[:1]).max() == 0


@pytest.mark.parametrize("matrix", LUMA_WEIGHTS)
@pytest.mark.parametrize("full_range", [True, False])
@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0), (200, 30, 40), (20, 180, 90), (10, 20, 230)])
def test_flat_colours_come_out_as_they_went_in(
    matrix: Matrix, full_range: bool, colour: tuple[int, int, int]
) -> None:
    rgb = np.full((48, 64, 3), colour, np.uint8)
    picture = picture_of(rgb, matrix=matrix, full_range=full_range)
    pixels = cropper_for(picture, (3, 4), 14).crop(picture, everything((3, 4))).pixels
    assert np.ptp(pixels, axis=(0, 2, 3)).max() == 0
    assert np.abs(pixels[0, :, 0, 0] * 255 - colour).max() < 2.5
    assert np.abs(picture.to_rgb().astype(int) - colour).max() <= 2


def test_mean_and_std_are_applied_last() -> None:
    picture = picture_of(np.full((32, 32, 3), 128, np.uint8), full_range=True)
    mean, std = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
    cropper = PatchCropper((2, 2), (32, 32), patch_px=16, mean=mean, std=std)
    pixels = cropper.crop(picture, np.array([3], np.int32)).pixels
    assert pixels[0, :, 0, 0] == pytest.approx((128 / 255 - np.array(mean)) / std, abs=1e-4)


def test_wrong_sizes_and_indices_are_refused() -> None:
    picture = picture_of(np.zeros((32, 48, 3), np.uint8))
    cropper = PatchCropper((2, 3), (48, 32), patch_px=16, mean=NO_MEAN, std=NO_STD)
    with pytest.raises(ValueError, match="48x32"):
        cropper.crop(picture_of(np.zeros((48, 32, 3), np.uint8)), np.array([0], np.int32))
    for index in (-1, 6):
        with pytest.raises(ValueError, match="outside"):
            cropper.crop(picture, np.array([index], np.int32))
    with pytest.raises(ValueError, match="no patches"):
        PatchCropper((0, 3), (48, 32), patch_px=16, mean=NO_MEAN, std=NO_STD)
    assert len(cropper.crop(picture, np.empty(0, np.int32))) == 0


def _area_matrix(samples: int, pixels: int) -> npt.NDArray[np.float64]:
    """(pixels, samples): share of each sample in each pixel, written the slow way."""
    matrix = np.zeros((pixels, samples))
    scale = samples / pixels
    for pixel in range(pixels):
        for sample in range(samples):
            shared = min((pixel + 1) * scale, sample + 1) - max(pixel * scale, sample)
            matrix[pixel, sample] = max(0.0, shared) / scale
    return matrix
