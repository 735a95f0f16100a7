import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovstream.config import PlanConfig
from ovstream.plan import PatchGrid, Planner
from ovstream.types import BlockClass, FrameMetadata, PatchPlan, Unread
from tests.plan.frames import FPS, PictureMaker, cell_positions


def make(maker: PictureMaker, **options: float) -> Planner:
    return Planner(PatchGrid.fit(maker.width, maker.height), PlanConfig(**options))


def started(maker: PictureMaker, quiet: int = 20, **options: float) -> Planner:
    """A planner after its first dense pass and a quiet while."""
    planner = make(maker, **options)
    planner.plan(maker.intra())
    for _ in range(quiet):
        assert planner.plan(maker.quiet()).action == "skip"
    return planner


def region(maker: PictureMaker, rows: slice, cols: slice) -> np.ndarray:
    cells = np.zeros(maker.shape, np.bool_)
    cells[rows, cols] = True
    return cells


def patches_inside(planner: Planner, cells: np.ndarray) -> set[int]:
    """Patches that these cells cover by half or more."""
    return set(np.flatnonzero(planner.grid.to_patches_mean(cells).ravel() >= 0.5).tolist())


def test_the_first_picture_is_dense_and_a_quiet_one_needs_no_pixels() -> None:
    maker = PictureMaker()
    planner = make(maker)
    first = planner.plan(maker.intra())
    assert (first.action, first.reason, first.keep_ratio) == ("dense", "keyframe", 1.0)
    quiet = planner.plan(maker.quiet())
    assert (quiet.action, quiet.reason, quiet.needs_pixels) == ("skip", "quiet", False)
    assert quiet.grid == planner.grid.shape
    assert quiet.pts == 1


def test_a_change_is_planned_at_once_and_once() -> None:
    maker = PictureMaker()
    planner = started(maker)
    cells = region(maker, np.s_[4:8], np.s_[10:14])
    plan = planner.plan(maker.change(cells))
    assert (plan.action, plan.reason) == ("sparse", "change")
    assert patches_inside(planner, cells) <= set(plan.indices.tolist())
    assert plan.keep_ratio < 0.06
    assert planner.plan(maker.quiet()).action == "skip"


def unread(maker: PictureMaker, reason: Unread) -> FrameMetadata:
    """A P picture whose cells were not parsed."""
    frame = maker.frame(maker.blocks(BlockClass.UNKNOWN), slice_type="P", coverage=0.0)
    return replace(frame, unread=reason)


def test_a_picture_left_out_by_sampling_tells_nothing() -> None:
    maker = PictureMaker()
    planner = started(maker)
    for _ in range(4):
        plan = planner.plan(unread(maker, "inter"))
        assert (plan.action, plan.reason, plan.debt) == ("skip", "quiet", 0)
    cells = region(maker, np.s_[4:8], np.s_[10:14])
    plan = planner.plan(maker.change(cells))
    assert patches_inside(planner, cells) <= set(plan.indices.tolist())
    assert planner.plan(unread(maker, "inter")).action == "skip"


def test_what_was_too_costly_to_read_changed_everywhere() -> None:
    maker = PictureMaker()
    planner = started(maker)
    plan = planner.plan(unread(maker, "costly"))
    assert plan.changed.all()
    assert (plan.action, plan.reason) == ("dense", "change")
    # It leaves no damage behind that a keyframe would have to heal.
    planner.plan(maker.quiet())
    assert planner.plan(maker.intra()).action != "dense"


def test_the_camera_moves_on_while_pictures_are_left_out() -> None:
    """Motion of 3 samples a picture is noticed after as many pictures, whether all of them are read or a third."""
    noticed = []
    for every in (1, 3):
        maker = PictureMaker()
        planner = started(maker, dense_interval_seconds=0)
        for number in range(60):
            moved = maker.inter(content_px=(3.0, 0.0))
            frame = moved if number % every == 0 else replace(moved, unread="inter")
            if planner.plan(frame).reason == "camera":
                noticed.append(number)
                break
    assert len(noticed) == 2
    assert noticed[1] <= noticed[0] + 6


@settings(max_examples=25, deadline=None)
@given(
    spots=st.lists(st.tuples(st.integers(0, 14), st.integers(0, 19)), min_size=1, max_size=60),
    pictures=st.integers(1, 5),
    keep_ratio=st.floats(0.01, 0.3),
)
def test_no_change_is_ever_forgotten(spots: list[tuple[int, int]], pictures: int, keep_ratio: float) -> None:
    maker = PictureMaker(320, 240)
    planner = started(maker, 3, keep_ratio=keep_ratio)
    owed: set[int] = set()
    for spot in np.array_split(np.array(spots).reshape(-1, 2), pictures):
        cells = np.zeros(maker.shape, np.bool_)
        cells[spot[:, 0], spot[:, 1]] = True
        plan = planner.plan(maker.change(cells))
        assert set(np.flatnonzero(plan.saliency >= 1)) <= set(np.flatnonzero(plan.changed))
        owed |= set(np.flatnonzero(plan.changed).tolist())
        owed -= set(plan.indices.tolist())
        assert plan.action == "dense" or plan.indices.size <= planner.budget
        assert plan.debt == len(owed)
    for _ in range(math.ceil(len(owed) / planner.budget)):
        owed -= set(planner.plan(maker.quiet()).indices.tolist())
    assert not owed
    assert planner.plan(maker.quiet()).action == "skip"


def test_deferred_patches_stay_first_in_line_and_settled_ones_leave() -> None:
    maker = PictureMaker()
    planner = started(maker, keep_ratio=0.01)
    cells = region(maker, np.s_[4:7], np.s_[10:13])
    first = planner.plan(maker.change(cells))
    planner.defer(first.indices)
    assert first.indices.tolist() == planner.plan(maker.quiet()).indices.tolist()
    planner.defer(first.indices)
    planner.settle(first.indices)
    assert not set(first.indices.tolist()) & set(planner.plan(maker.quiet()).indices.tolist())


def test_a_failed_dense_pass_is_tried_again() -> None:
    maker = PictureMaker()
    planner = make(maker)
    first = planner.plan(maker.intra())
    planner.defer(first.indices)
    again = planner.plan(maker.quiet())
    assert (again.action, again.reason) == ("dense", "keyframe")
    assert planner.plan(maker.quiet()).action == "skip"


def test_keyframes_of_a_still_camera_are_quiet() -> None:
    maker = PictureMaker()
    planner = started(maker)
    for _ in range(5):
        plan = planner.plan(maker.intra(noise=0.05))
        assert (plan.action, plan.reason) in {("skip", "quiet"), ("sparse", "keyframe")}
        assert not plan.changed.any()
        for _ in range(20):
            assert planner.plan(maker.quiet()).action == "skip"
    refreshing = Planner(planner.grid, PlanConfig(), keyframes_refresh=True)
    refreshing.plan(maker.intra())
    assert refreshing.plan(maker.intra()).action == "dense"


def test_a_keyframe_tells_what_changed_since_the_last_one() -> None:
    maker = PictureMaker()
    planner = started(maker)
    cells = region(maker, np.s_[4:8], np.s_[10:14])
    plan = planner.plan(maker.intra(texture=np.where(cells, maker.texture * 9, maker.texture)))
    assert patches_inside(planner, cells) <= set(plan.indices.tolist())
    assert plan.changed.mean() < 0.1


def test_a_keyframe_of_another_scene_is_a_cut() -> None:
    maker, other = PictureMaker(), PictureMaker(seed=5)
    planner = started(maker)
    plan = planner.plan(maker.intra(texture=other.texture))
    assert (plan.action, plan.reason) == ("dense", "cut")


def test_a_p_picture_of_new_texture_is_a_cut_and_intra_refresh_is_not() -> None:
    maker, other = PictureMaker(), PictureMaker(seed=5)
    planner = started(maker)
    blocks = maker.intra(texture=other.texture).blocks
    plan = planner.plan(maker.frame(blocks, slice_type="P"))
    assert (plan.action, plan.reason) == ("dense", "cut")
    for col in range(maker.shape[1]):
        blocks = maker.quiet().blocks
        blocks[:, col] = maker.intra(texture=other.texture).blocks[:, col]
        plan = planner.plan(maker.frame(blocks, slice_type="P"))
        assert plan.keep_ratio < 0.02, col


def test_a_pan_is_refreshed_at_a_rate_and_when_it_ends() -> None:
    maker = PictureMaker()
    planner = started(maker, dense_interval_seconds=0.4, refresh_seconds=100)
    plans = [planner.plan(maker.inter(content_px=(-3.0, 0.0))) for _ in range(50)]
    dense = [number for number, plan in enumerate(plans) if plan.action == "dense"]
    assert {plans[number].reason for number in dense} == {"camera"}
    assert set(np.diff(dense)) == {int(0.4 * FPS)}
    assert all(not plan.changed.any() for plan in plans)
    assert plans[0].camera_motion_px == (-3, 0)
    after = [planner.plan(maker.quiet()) for _ in range(20)]
    assert sum(plan.action == "dense" for plan in after) == 1
    assert not any(planner.plan(maker.quiet()).needs_pixels for _ in range(20))


def test_most_of_the_picture_changing_is_dense_at_a_rate() -> None:
    maker = PictureMaker()
    planner = started(maker, refresh_seconds=100)
    cells = region(maker, np.s_[:], np.s_[: maker.shape[1] * 2 // 3])
    plans = [planner.plan(maker.change(cells)) for _ in range(50)]
    dense = [number for number, plan in enumerate(plans) if plan.action == "dense"]
    assert {plans[number].reason for number in dense} == {"change"}
    assert min(np.diff(dense)) >= 12
    assert all(plan.indices.size == planner.budget for plan in plans if plan.action == "sparse")


def test_the_schedule_prefers_a_keyframe() -> None:
    maker = PictureMaker()
    planner = started(maker, 0, refresh_seconds=2)
    reasons = [planner.plan(maker.quiet()).reason for _ in range(2 * FPS)]
    assert reasons == ["quiet"] * (2 * FPS - 1) + ["refresh"]
    for _ in range(42):
        assert planner.plan(maker.quiet()).reason == "quiet"
    assert planner.plan(maker.intra()).reason == "refresh"


def test_streams_without_time_stamps_keep_the_schedule() -> None:
    maker = PictureMaker()
    planner = make(maker, refresh_seconds=1)
    reasons = [planner.plan(maker.inter(timed=False)).reason for _ in range(60)]
    assert [number for number, reason in enumerate(reasons) if reason == "refresh"] == [25, 50]


def test_streams_that_start_together_refresh_apart() -> None:
    found = []
    for stagger in (0.0, 0.4):
        maker = PictureMaker()
        planner = Planner(
            PatchGrid.fit(maker.width, maker.height), PlanConfig(refresh_seconds=1), stagger=stagger
        )
        reasons = [planner.plan(maker.quiet()).reason for _ in range(80)]
        found.append([number for number, reason in enumerate(reasons) if reason == "refresh"])
    assert found == [[25, 50, 75], [15, 40, 65]]


def test_a_clock_that_starts_again_does_not_stop_the_schedule() -> None:
    maker = PictureMaker()
    planner = started(maker, 20, refresh_seconds=1)
    assert planner.plan(maker.inter(seconds=0.0)).action == "skip"
    reasons = [planner.plan(maker.inter(seconds=number / FPS)).reason for number in range(1, 9)]
    assert reasons.count("refresh") == 1


def test_loss_is_refreshed_at_once_and_healed_at_the_next_keyframe() -> None:
    maker = PictureMaker()
    planner = started(maker)
    lost = planner.plan(maker.quiet(), discontinuity=True)
    assert (lost.action, lost.reason) == ("dense", "lost")
    for _ in range(20):
        assert planner.plan(maker.quiet()).action == "skip"
    healed = planner.plan(maker.intra())
    assert (healed.action, healed.reason) == ("dense", "lost")
    for _ in range(20):
        assert planner.plan(maker.quiet()).action == "skip"
    assert not planner.plan(maker.intra()).changed.any()


def test_unknown_cells_count_as_changed_now_and_at_the_next_keyframe() -> None:
    maker = PictureMaker()
    planner = started(maker)
    blocks = maker.quiet().blocks
    blocks[5:9, 7:12]["block_class"] = BlockClass.UNKNOWN
    lost = patches_inside(planner, blocks["block_class"] == BlockClass.UNKNOWN)
    plan = planner.plan(maker.frame(blocks, slice_type="P", coverage=0.97))
    assert lost <= set(plan.indices.tolist())
    assert plan.action == "sparse"
    assert planner.plan(maker.quiet()).action == "skip"
    assert lost <= set(planner.plan(maker.intra()).indices.tolist())


def test_a_picture_that_is_mostly_unknown_is_lost() -> None:
    maker = PictureMaker()
    planner = started(maker)
    plan = planner.plan(maker.frame(maker.blocks(BlockClass.UNKNOWN), slice_type="P", coverage=0.0))
    assert (plan.action, plan.reason) == ("dense", "lost")


def b_picture(maker: PictureMaker, cells: np.ndarray, *, reference: bool, seconds: float) -> FrameMetadata:
    return maker.frame(maker.change(cells).blocks, slice_type="B", reference=reference, seconds=seconds)


@pytest.mark.parametrize("reference", [False, True])
def test_late_b_pictures_only_add_evidence(reference: bool) -> None:
    maker = PictureMaker()
    planner = started(maker)
    planner.plan(maker.inter(seconds=4.0))
    cells = region(maker, np.s_[4:8], np.s_[10:14])
    late = planner.plan(b_picture(maker, cells, reference=reference, seconds=3.9))
    assert (late.action, late.needs_pixels) == ("skip", False)
    assert late.debt > 0
    following = planner.plan(maker.inter(seconds=4.1))
    assert patches_inside(planner, cells) <= set(following.indices.tolist())


def test_b_references_in_order_are_planned() -> None:
    maker = PictureMaker()
    planner = started(maker)
    cells = region(maker, np.s_[4:8], np.s_[10:14])
    assert planner.plan(b_picture(maker, cells, reference=True, seconds=4.0)).action == "sparse"


def test_another_size_starts_again() -> None:
    maker, larger = PictureMaker(), PictureMaker(480, 640)
    planner = started(maker)
    plan = planner.plan(larger.quiet())
    assert (plan.action, plan.reason) == ("dense", "keyframe")
    assert plan.grid == PatchGrid.fit(480, 640).shape == planner.grid.shape
    assert planner.plan(larger.quiet()).action == "skip"


def test_reset_forgets() -> None:
    maker = PictureMaker()
    planner = started(maker, keep_ratio=0.01)
    planner.plan(maker.change(region(maker, np.s_[4:8], np.s_[10:14])))
    planner.reset()
    assert planner.plan(maker.quiet()).reason == "keyframe"
    assert planner.plan(maker.quiet()).action == "skip"


def test_zoom_is_a_camera_motion() -> None:
    maker = PictureMaker()
    planner = started(maker)
    x, y = cell_positions(*maker.shape)
    plans: list[PatchPlan] = [planner.plan(maker.inter(content_px=(0.03 * x, 0.03 * y))) for _ in range(14)]
    assert next(plan.reason for plan in plans if plan.action == "dense") == "camera"
    assert np.mean([plan.changed.mean() for plan in plans]) < 0.05
