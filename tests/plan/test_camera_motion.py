import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ovstream.plan.camera_motion import STILL, CameraMotion, CameraWatch, MotionReader
from ovstream.types import BlockClass
from tests.plan.frames import PictureMaker, cell_positions, split_cell

QUARTER_PX = 0.25


def similarity(maker: PictureMaker, shift: complex, slope: complex) -> tuple[np.ndarray, np.ndarray]:
    x, y = cell_positions(*maker.shape)
    motion = shift + slope * (x + 1j * y)
    return motion.real, motion.imag


def test_intra_pictures_have_no_motion() -> None:
    maker = PictureMaker()
    camera, moved = MotionReader(maker.shape).read(maker.intra())
    assert camera == STILL
    assert not moved.any()


def test_a_still_camera_is_exactly_still_beside_a_big_object() -> None:
    maker = PictureMaker()
    x, _ = cell_positions(*maker.shape)
    thing = x < 0.1 * x.min()  # 45 % of the picture
    camera, moved = MotionReader(maker.shape).read(maker.inter(content_px=(thing * 6.0, thing * -2.0)))
    assert 0.4 < thing.mean() < 0.5
    assert (camera.shift, camera.slope) == (0, 0)
    assert not moved[~thing].any()
    np.testing.assert_allclose(moved[thing], np.hypot(6, 2), rtol=1e-6)


@given(st.integers(-40, 40), st.integers(-40, 40))
def test_a_pan_leaves_nothing_beside_it(x_qpel: int, y_qpel: int) -> None:
    maker = PictureMaker(320, 240)
    camera, moved = MotionReader(maker.shape).read(maker.inter(content_px=(x_qpel / 4, y_qpel / 4)))
    assert camera.translation_px == (x_qpel / 4, y_qpel / 4)
    assert not moved.any()


@settings(deadline=None, max_examples=60)
@given(
    shift=st.tuples(st.floats(-8, 8), st.floats(-8, 8)),
    slope=st.tuples(st.floats(-0.03, 0.03), st.floats(-0.03, 0.03)),
    thing_px=st.tuples(st.floats(-12, 12), st.floats(-12, 12)),
    thing_share=st.floats(0, 0.4),
    seed=st.integers(0, 99),
)
def test_zoom_and_rotation_are_found_beside_objects_and_outliers(
    shift: tuple[float, float],
    slope: tuple[float, float],
    thing_px: tuple[float, float],
    thing_share: float,
    seed: int,
) -> None:
    maker = PictureMaker(640, 360)
    rng = np.random.default_rng(seed)
    x, y = cell_positions(*maker.shape)
    content_x, content_y = similarity(maker, complex(*shift), complex(*slope))
    alike = np.hypot(content_x - thing_px[0], content_y - thing_px[1]) < 1.5
    slow = np.hypot(content_x, content_y) < 0.5
    assume(max(alike.mean(), slow.mean()) < 0.1)  # else the thing, or a still camera, explains as many cells
    angle = rng.uniform(0, 2 * np.pi)
    side = np.cos(angle) * x + np.sin(angle) * y
    thing = side < np.quantile(side, thing_share)
    wild = rng.random(maker.shape) < 0.03
    content_x = np.where(thing, thing_px[0], content_x) + wild * rng.normal(0, 5, maker.shape)
    content_y = np.where(thing, thing_px[1], content_y) + wild * rng.normal(0, 5, maker.shape)
    _, moved = MotionReader(maker.shape).read(maker.inter(content_px=(content_x, content_y)))
    followers = ~thing & ~wild
    assert np.quantile(moved[followers], 0.9) < 2.5 * QUARTER_PX


@pytest.mark.parametrize("size", [(112, 64), (464, 16)])  # 28 and 29 cells
def test_a_zoom_is_found_in_few_cells(size: tuple[int, int]) -> None:
    maker = PictureMaker(*size)
    with np.errstate(all="raise"):
        camera, _ = MotionReader(maker.shape).read(maker.inter(content_px=similarity(maker, 0j, 0.05 + 0j)))
    assert camera.slope == pytest.approx(0.05, abs=0.01)


def test_the_same_picture_gives_the_same_motion() -> None:
    maker = PictureMaker()
    picture = maker.inter(content_px=similarity(maker, 3 - 1j, 0.01 + 0.02j))
    first, first_moved = MotionReader(maker.shape).read(picture)
    again, again_moved = MotionReader(maker.shape).read(picture)
    assert first == again
    assert (first_moved == again_moved).all()


def test_incoherent_motion_is_no_camera() -> None:
    maker = PictureMaker()
    rng = np.random.default_rng(4)
    noise = rng.uniform(-8, 8, (2, *maker.shape))
    camera, moved = MotionReader(maker.shape).read(maker.inter(content_px=(noise[0], noise[1])))
    assert camera == STILL
    assert moved.mean() > 3


def test_older_references_count_per_step() -> None:
    maker = PictureMaker()
    picture = maker.inter(content_px=(4.0, 0.0))
    picture.blocks["mv"][5, 6, 0] = (-32, 0)  # twice the pan, from two pictures ago
    picture.blocks["ref_idx"][5, 6, 0] = 1
    picture.blocks["ref_idx"][7, 8, 0] = 1  # the same picture again, in a longer list
    _, moved = MotionReader(maker.shape).read(picture)
    assert moved[5, 6] == moved[7, 8] == 0


def test_divided_cells_count_by_their_fastest_part() -> None:
    maker = PictureMaker()
    blocks = maker.blocks(BlockClass.INTER)
    parts = np.zeros((16, 2), np.int16)
    parts[[10, 11]] = (12, -16)  # the upper half of the last quadrant
    splits = split_cell(blocks, 4, 9, parts)
    _, moved = MotionReader(maker.shape).read(maker.frame(blocks, slice_type="P", splits=splits))
    assert moved[4, 9] == 5  # 3, 4 samples
    assert np.count_nonzero(moved) == 1
    splits["ref_idx"][0, 0, 3] = -1  # the quadrant of that part uses no list
    _, moved = MotionReader(maker.shape).read(maker.frame(blocks, slice_type="P", splits=splits))
    assert not moved.any()


def test_divided_cells_follow_a_rotation() -> None:
    maker = PictureMaker()
    slope = 0.05j
    content = similarity(maker, 0j, slope)
    picture = maker.inter(content_px=content)
    y, x = np.divmod(np.arange(16), 4)
    x_cells, y_cells = cell_positions(*maker.shape)
    motion = slope * ((x_cells[20, 3] + (x - 1.5) * 4) + 1j * (y_cells[20, 3] + (y - 1.5) * 4))
    parts = np.rint(np.stack([motion.real, motion.imag], axis=1) * -4).astype(np.int16)
    splits = split_cell(picture.blocks, 20, 3, parts)
    _, moved = MotionReader(maker.shape).read(maker.frame(picture.blocks, slice_type="P", splits=splits))
    assert moved[20, 3] < 2 * QUARTER_PX


def test_future_references_point_the_other_way() -> None:
    maker = PictureMaker()
    picture = maker.inter(content_px=(4.0, 2.0))
    future = np.s_[3:9, 4:12]
    picture.blocks["mv"][future][..., 1, :] = (16, 8)
    picture.blocks["mv"][future][..., 0, :] = 0
    picture.blocks["ref_idx"][future] = (-1, 0)
    both = maker.frame(picture.blocks, slice_type="B")
    camera, moved = MotionReader(maker.shape).read(both)
    assert camera.translation_px == (4, 2)
    assert not moved.any()


def drive(watch: CameraWatch, speeds_px: list[float]) -> list[bool]:
    verdicts = []
    for speed_px in speeds_px:
        watch.update(CameraMotion(shift=complex(speed_px), speed_px=speed_px, support=1))
        verdicts.append(watch.moving)
    return verdicts


def test_the_verdict_does_not_flicker() -> None:
    assert drive(CameraWatch(), [0.5, 0.5, 0.6]) == [False] * 3
    assert drive(CameraWatch(), [2, 0.5, 0.5, 0.1, 0.1, 0.5, 0.5]) == [True] * 7
    assert drive(CameraWatch(), [2, 0, 0, 0, 0.5]) == [True, True, True, False, False]


def test_shaking_goes_nowhere_and_drift_arrives() -> None:
    watch = CameraWatch()
    drive(watch, [0.5, -0.5] * 40)
    assert watch.travel_px(100) == pytest.approx(0)
    drive(watch, [0.25] * 40)
    assert watch.travel_px(100) == pytest.approx(10)
    watch.arrive()
    assert watch.travel_px(100) == 0
