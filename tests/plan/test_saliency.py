from dataclasses import replace

import numpy as np
import pytest

from ovstream.config import PlanConfig
from ovstream.plan import PatchGrid, Planner
from ovstream.plan.noise_floor import NoiseFloor
from ovstream.plan.pressure import Pressure
from ovstream.plan.saliency import Evidence, SaliencyMeter
from ovstream.types import BlockClass, FrameMetadata
from tests.plan.frames import PictureMaker

NO_MOTION = np.zeros((23, 40), np.float32)
GREY_ENERGY = 256.0  # one grey level over a whole cell


def measured(frames: list[FrameMetadata], **options: float) -> list[Evidence]:
    meter = SaliencyMeter(PatchGrid.fit(640, 360), PlanConfig(**options))
    return [meter.measure(frame, NO_MOTION) for frame in frames]


def test_units_are_absolute() -> None:
    """Twice the change is more saliency, and a lone faint cell is not raised to the picture's maximum."""
    maker = PictureMaker()
    faint = np.zeros(maker.shape, np.float32)
    faint[10, 20] = GREY_ENERGY
    levels = [
        measured([maker.inter(energy=faint * factor)])[0].saliency.max() for factor in (1, 4, 16, 64, 256)
    ]
    assert levels[0] < 0.5
    assert levels[-1] > 1
    assert (np.diff(levels) > 0).all()


def test_sensitivity_scales_saliency() -> None:
    maker = PictureMaker()
    frame = maker.inter(energy=4 * GREY_ENERGY)
    plain, keen = measured([frame])[0], measured([frame], sensitivity=3)[0]
    np.testing.assert_allclose(keen.saliency, 3 * plain.saliency, rtol=1e-5)


def noisy(maker: PictureMaker, rng: np.random.Generator, level: float) -> FrameMetadata:
    coded = rng.random(maker.shape) < 0.6
    return maker.inter(energy=np.where(coded, rng.chisquare(4, maker.shape) * level * GREY_ENERGY, 0))


def planned_share(planner: Planner, frames: list[FrameMetadata]) -> float:
    """With the pixel check of the pipeline, which finds that nothing changed."""
    shares = []
    for frame in frames:
        plan = planner.plan(frame)
        if plan.action == "sparse":
            planner.settle(plan.indices)
        shares.append(plan.keep_ratio)
    return float(np.mean(shares))


def test_noise_is_learnt_within_seconds_and_an_object_still_stands_out() -> None:
    """Day turns to infrared night: the whole picture becomes noisy."""
    maker, rng = PictureMaker(), np.random.default_rng(1)
    planner = Planner(PatchGrid.fit(640, 360), PlanConfig(refresh_seconds=100))
    planner.plan(maker.intra())
    assert planned_share(planner, [noisy(maker, rng, 0.3) for _ in range(50)]) < 0.01
    planned_share(planner, [noisy(maker, rng, 3) for _ in range(75)])
    assert planned_share(planner, [noisy(maker, rng, 3) for _ in range(50)]) < 0.03
    frame = noisy(maker, rng, 3)
    frame.blocks["residual_energy"][8:12, 16:20] += 400 * GREY_ENERGY
    patches = np.flatnonzero(planner.grid.to_patches_mean(frame.residual_energy > 100 * GREY_ENERGY) > 0.5)
    assert patches.size > 2
    assert set(patches) <= set(planner.plan(frame).indices.tolist())


def test_an_object_does_not_teach_its_cells_to_ignore_it() -> None:
    """Something flutters in one place for 20 seconds; each time, it is planned."""
    maker = PictureMaker()
    planner = Planner(PatchGrid.fit(640, 360), PlanConfig(refresh_seconds=1000))
    planner.plan(maker.intra())
    cells = np.zeros(maker.shape, np.float32)
    cells[8:12, 16:20] = 100 * GREY_ENERGY
    patches = set(np.flatnonzero(planner.grid.to_patches_mean(cells) > 60 * GREY_ENERGY).tolist())
    for _ in range(500):
        plan = planner.plan(maker.inter(energy=cells))
        planner.settle(plan.indices[:0])
        assert patches <= set(plan.indices.tolist())


def test_the_floor_is_the_percentile_asked_for() -> None:
    rng = np.random.default_rng(0)
    floor = NoiseFloor((40, 40), percentile=80.0)
    everywhere = np.ones((40, 40), np.bool_)
    samples = rng.uniform(0.2, 1.2, (1500, 40, 40)).astype(np.float32)
    for sample in samples:
        floor.learn(sample, everywhere)
    assert floor.level.mean() == pytest.approx(1.0, abs=0.05)


def test_cells_in_motion_do_not_move_the_floor() -> None:
    floor = NoiseFloor((2, 2), percentile=90.0)
    quiet = np.array([[True, False], [True, True]])
    for _ in range(50):
        floor.learn(np.ones((2, 2), np.float32), quiet)
    assert floor.level[0, 1] == np.float32(NoiseFloor.LOWEST)
    assert floor.level[0, 0] > 0.5
    before = floor.level.copy()
    floor.teach(np.array([[False, False], [True, False]]), noise=False)
    assert floor.level[1, 0] < before[1, 0]
    assert (floor.level.ravel()[[0, 1, 3]] == before.ravel()[[0, 1, 3]]).all()


def test_small_changes_add_up_and_steady_noise_does_not() -> None:
    fades, noise = Pressure((1, 1)), Pressure((1, 1))
    rng = np.random.default_rng(2)
    for _ in range(200):
        noise_found = noise.add(rng.uniform(0.2, 0.4, (1, 1)).astype(np.float32))
        assert not noise_found.any()
    found = [bool(fades.add(np.full((1, 1), 0.5 * (step % 5 == 0), np.float32)).any()) for step in range(100)]
    assert not any(found[:10])
    assert any(found)
    fades.release(np.array([0]))
    assert not fades.add(np.zeros((1, 1), np.float32)).any()


def test_intra_cells_count_by_how_new_they_look() -> None:
    maker = PictureMaker()
    frames = [maker.intra(), maker.quiet()]
    same, new = maker.quiet(), maker.quiet()
    area = np.s_[6:12, 10:20]
    same.blocks[area] = maker.intra().blocks[area]
    new.blocks[area] = maker.intra(texture=maker.texture[::-1]).blocks[area]
    again, novel = measured([*frames, same])[-1], measured([*frames, new])[-1]
    assert again.saliency.max() < 1 < novel.saliency.max()
    assert not novel.cut


def test_a_cut_needs_most_cells_to_look_new() -> None:
    maker, other = PictureMaker(), PictureMaker(seed=9)
    few = np.where(np.arange(maker.shape[1]) < 12, other.texture, maker.texture)
    assert not measured([maker.intra(), maker.intra(texture=few)])[-1].cut
    assert measured([maker.intra(), maker.intra(texture=other.texture)])[-1].cut


def test_an_unread_keyframe_is_judged_by_its_size() -> None:
    maker = PictureMaker()
    blocks = maker.blocks(BlockClass.INTRA)
    small = replace(maker.frame(blocks, slice_type="I"), bits=100_000, unread="intra")
    planner = Planner(PatchGrid.fit(640, 360), PlanConfig())
    assert planner.plan(small).action == "dense"
    assert planner.plan(replace(small, pts=30)).action != "dense"
    assert planner.plan(replace(small, pts=60, bits=190_000)).action == "dense"


def test_differences_measured_by_a_decoder_count_in_any_class() -> None:
    """The fallback marks changed cells UNKNOWN, although it knows them, and has no pictures without history."""
    maker = PictureMaker()
    planner = Planner(PatchGrid.fit(640, 360), PlanConfig())
    planner.plan(replace(maker.intra(), origin="difference"))
    for slice_type in ("P", "I"):
        blocks = maker.blocks(BlockClass.SKIP)
        blocks["block_class"][8:12, 16:20] = BlockClass.UNKNOWN
        blocks["residual_energy"][8:12, 16:20] = 200 * GREY_ENERGY
        blocks["block_class"][0, 0] = BlockClass.UNKNOWN
        blocks["residual_energy"][0, 0] = 0.2 * GREY_ENERGY
        plan = planner.plan(replace(maker.frame(blocks, slice_type=slice_type), origin="difference"))
        assert plan.action == "sparse"
        assert not plan.changed[0, 0]
        assert plan.changed[4:6, 9:10].all()
    lost = replace(maker.frame(blocks, slice_type="P", coverage=0.0), origin="difference")
    for _ in range(13):
        plan = planner.plan(lost)
    assert plan.changed.all()
