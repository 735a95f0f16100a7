import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovstream.plan import PatchGrid

sizes = st.tuples(st.integers(1, 700), st.integers(1, 700), st.sampled_from([4, 36, 256, 1024]))


@pytest.mark.parametrize(
    ("width", "height", "max_tokens", "shape"),
    [
        (1920, 1080, 256, (12, 21)),
        (1280, 720, 256, (12, 21)),
        (720, 1280, 256, (21, 12)),
        (448, 448, 256, (16, 16)),
        (640, 480, 256, (14, 18)),
        (448, 448, 1024, (32, 32)),
        (3840, 100, 16, (1, 16)),
    ],
)
def test_known_shapes(width: int, height: int, max_tokens: int, shape: tuple[int, int]) -> None:
    assert PatchGrid.fit(width, height, max_tokens=max_tokens).shape == shape


@given(sizes)
def test_no_other_grid_samples_finer(size: tuple[int, int, int]) -> None:
    width, height, max_tokens = size
    grid = PatchGrid.fit(width, height, max_tokens=max_tokens)
    rows, cols = grid.shape
    assert rows * cols == grid.patches <= max_tokens
    side = max(width / cols, height / rows)
    for other in range(1, min(height, max_tokens) + 1):
        assert side <= max(height / other, width / min(max_tokens // other, width)) + 1e-9


@given(sizes)
def test_rectangles_tile_the_picture(size: tuple[int, int, int]) -> None:
    width, height, max_tokens = size
    grid = PatchGrid.fit(width, height, max_tokens=max_tokens)
    painted = np.zeros((height, width), np.int32)
    for index in range(grid.patches):
        y0, y1, x0, x1 = grid.rect(index)
        assert y1 > y0
        assert x1 > x0
        painted[y0:y1, x0:x1] += 1
    assert (painted == 1).all()


@given(sizes, st.integers(0, 2**32 - 1))
def test_maps_equal_pixel_by_pixel_geometry(size: tuple[int, int, int], seed: int) -> None:
    width, height, max_tokens = size
    grid = PatchGrid.fit(width, height, max_tokens=max_tokens)
    rows, cols = grid.cells_shape
    assert (rows, cols) == (-(-height // 16), -(-width // 16))
    cells = np.random.default_rng(seed).uniform(0, 100, (rows, cols)).astype(np.float32)
    pixels = cells.repeat(16, axis=0).repeat(16, axis=1)[:height, :width]
    area = np.ones_like(pixels)
    visible = np.add.reduceat(np.add.reduceat(area, range(0, height, 16), 0), range(0, width, 16), 1)
    per_pixel = (cells / visible).repeat(16, axis=0).repeat(16, axis=1)[:height, :width]
    mean, total = np.empty(grid.shape), np.empty(grid.shape)
    for index in range(grid.patches):
        y0, y1, x0, x1 = grid.rect(index)
        mean.ravel()[index] = pixels[y0:y1, x0:x1].mean()
        total.ravel()[index] = per_pixel[y0:y1, x0:x1].sum()
    np.testing.assert_allclose(grid.to_patches_mean(cells), mean, rtol=1e-4)
    np.testing.assert_allclose(grid.to_patches_sum(cells), total, rtol=1e-4)


def test_every_cell_reaches_the_maximum_of_some_patch() -> None:
    for width, height in [(1920, 1080), (178, 100), (320, 240), (706, 1282), (17, 33)]:
        grid = PatchGrid.fit(width, height)
        rows, cols = grid.cells_shape
        for cell in range(rows * cols):
            cells = np.zeros((rows, cols), np.float32)
            cells.ravel()[cell] = 7
            assert grid.to_patches_max(cells).max() == 7, (width, height, divmod(cell, cols))


def test_a_sliver_does_not_carry_the_maximum() -> None:
    grid = PatchGrid.fit(
        1920, 1080
    )  # patches of 90 rows: cell row 5 (80..96) gives 10 rows to the first, 6 to the next
    cells = np.zeros(grid.cells_shape, np.float32)
    cells[5, 0] = 1
    assert grid.to_patches_max(cells)[:2, 0].tolist() == [1, 1]
    cells[:] = 0
    cells[11, 0] = 1  # rows 176..192: 4 in the second patch, which is a quarter, 12 in the third
    assert grid.to_patches_max(cells)[:3, 0].tolist() == [0, 1, 1]
    cells[:] = 0
    cells[0, 5] = 1  # columns 80..96; patches of 91: 11 and 5
    assert grid.to_patches_max(cells)[0, :2].tolist() == [1, 1]
    cells[:] = 0
    cells[0, 17] = 1  # columns 272..288; the third patch ends at 274: 2 columns are a sliver
    assert grid.to_patches_max(cells)[0, 2:4].tolist() == [0, 1]


def test_cells_outside_the_visible_picture_are_ignored() -> None:
    grid = PatchGrid.fit(320, 240)
    cells = np.ones((20, 24), np.float32)
    cells[15:, :] = cells[:, 20:] = 1e6
    assert grid.to_patches_mean(cells).max() == pytest.approx(1)
    assert grid.to_patches_max(cells).max() == 1


@pytest.mark.parametrize("size", [(0, 10, 256), (10, 0, 256), (10, 10, 0)])
def test_impossible_sizes_are_refused(size: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        PatchGrid.fit(size[0], size[1], max_tokens=size[2])
