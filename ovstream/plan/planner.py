"""Decides, picture by picture and without pixels, which patches are worth encoding."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ovstream.config import PlanConfig
from ovstream.plan.camera_motion import CameraMotion, CameraWatch, MotionReader
from ovstream.plan.debt import Debt
from ovstream.plan.grid import PatchGrid
from ovstream.plan.pressure import Pressure
from ovstream.plan.saliency import Evidence, SaliencyMeter
from ovstream.types import Action, BoolArray, FloatArray, FrameMetadata, PatchPlan

ROUNDING_SECONDS = 1e-6
ASSUMED_FPS = 25.0  # for streams without time stamps
CUT_SHARE = 0.5  # of the cells coded anew, and of those unlike before: another scene
CAMERA_TRAVEL = 0.15  # of a patch: how far the view shifts before it is encoded again
PROBE_SECONDS = 1.0  # shortest time between keyframes at which unchanged patches are looked at again
PROBE_SHARE = 0.5  # of them found changed: the whole picture faded
EARLY_REFRESH = 0.8  # of the schedule: a keyframe this late is taken, since it is the cheapest to decode


class Planner:
    """Plans the patches of one stream.

    Each picture adds evidence; a patch whose change passed the threshold stays in debt until it was planned, oldest
    first, at most ``ceil(keep_ratio * patches)`` a picture. Everything is encoded ("dense") at the first picture, at
    a cut, after loss, when the camera moved on, when most patches changed, and at least every `refresh_seconds`;
    all but the first two keep `dense_interval_seconds` apart. Keyframes are judged by what they show: a still
    camera codes the same scene again.

    B pictures that present before a picture already seen get the action "skip": their content is older than what
    was encoded. What they show to be changing is owed to the next picture.

    Args:
        grid: Of the stream; a picture of another size replaces it, see `grid`.
        config: Budget, thresholds and schedule.
        keyframes_refresh: Encode everything at each keyframe, whatever it shows.
    """

    _due: str | None  # a dense pass is owed, for this reason
    _newest_seconds: float
    _dense_seconds: float

    def __init__(self, grid: PatchGrid, config: PlanConfig, *, keyframes_refresh: bool = False) -> None:
        self._config = config
        self._keyframes_refresh = keyframes_refresh
        self._frames = 0
        self._start(grid)

    @property
    def grid(self) -> PatchGrid:
        """The grid of the last plan; another than at the start once the picture changed its size."""
        return self._grid

    @property
    def budget(self) -> int:
        """Most patches of a sparse plan."""
        return math.ceil(self._config.keep_ratio * self._grid.patches)

    def reset(self) -> None:
        """Forgets everything, as for a new stream of the same size."""
        self._start(self._grid)

    def plan(self, frame: FrameMetadata, *, discontinuity: bool = False) -> PatchPlan:
        """Plans one picture.

        Args:
            frame: The next picture in coded order.
            discontinuity: Pictures were lost since the one before.
        """
        if (frame.width, frame.height) != (self._grid.width, self._grid.height):
            self._start(PatchGrid.fit(frame.width, frame.height, max_tokens=self._grid.max_tokens))
        self._frames += 1
        camera, moved_px = self._motion.read(frame)
        evidence = self._meter.measure(frame, moved_px, learn=not self._watch.moving)
        changed = self._changed(frame, evidence)
        if discontinuity:
            self._due = self._due or "lost"
            self._damaged[:] = True
        self._debt.add(changed.ravel(), evidence.saliency.ravel())
        if self._is_late(frame):
            return self._result(frame, "skip", _no_patches(), evidence, changed, camera)
        self._watch.update(camera)
        if frame.keyframe:
            self._heal()
        cause = self._dense_cause(frame, evidence, changed)
        if cause is not None:
            return self._dense(frame, cause, evidence, changed, camera)
        indices = self._top_up(frame, self._debt.take(self.budget))
        self._note_planned(frame, indices)
        action: Action = "sparse" if indices.size else "skip"
        return self._result(frame, action, indices, evidence, changed, camera)

    def defer(self, indices: npt.NDArray[np.integer]) -> None:
        """Takes planned patches back into debt, at the age they had: they could not be encoded."""
        if len(indices) == self._grid.patches:
            self._due = self._last_cause
        self._debt.give_back(indices)

    def settle(self, indices: npt.NDArray[np.integer]) -> None:
        """Forgives planned patches whose pixels were found as they were last encoded."""
        self._debt.cancel(indices)
        noise = np.zeros(self._grid.patches, np.bool_)
        noise[indices] = True
        self._meter.teach(noise.reshape(self._grid.shape), noise=True)
        self._meter.teach((self._looked_at & ~noise).reshape(self._grid.shape), noise=False)
        self._looked_at[:] = False
        if np.count_nonzero(~noise[self._probes]) > PROBE_SHARE * max(self._probes.size, 1):
            self._due = self._due or "change"

    def _start(self, grid: PatchGrid) -> None:
        self._grid = grid
        self._motion = MotionReader(grid.cells_shape)
        self._watch = CameraWatch()
        self._meter = SaliencyMeter(grid, self._config)
        self._debt = Debt(grid.patches)
        self._pressure = Pressure(grid.patches)
        self._looked_at = np.zeros(grid.patches, np.bool_)
        self._planned_at = np.zeros(grid.patches, np.int64)
        self._probes = _no_patches()
        self._probed_seconds = -math.inf
        self._damaged = np.zeros(grid.shape, np.bool_)
        self._changed_before = np.zeros(grid.shape, np.bool_)
        self._planned_since_intra = np.zeros(grid.patches, np.bool_)
        self._due = "keyframe"
        self._last_cause = "keyframe"
        self._dense_seconds = -math.inf
        self._newest_seconds = -math.inf

    def _changed(self, frame: FrameMetadata, evidence: Evidence) -> BoolArray:
        """(rows, cols) bool: over the threshold, unknown, or healed by this picture.

        An I picture shows no motion. What moved a picture ago is taken to move on, and a texture unlike that of
        the I picture before counts where nothing was planned in between.
        """
        changed = evidence.saliency >= 1
        if frame.slice_type == "I":
            changed &= ~self._planned_since_intra.reshape(self._grid.shape)
            changed |= self._changed_before
            self._planned_since_intra[:] = False
        else:
            changed |= self._pressure.add(evidence.saliency.ravel()).reshape(self._grid.shape)
        self._changed_before = changed
        if frame.keyframe:
            changed |= self._damaged
        self._damaged |= evidence.unknown
        return changed | evidence.unknown

    def _heal(self) -> None:
        """A keyframe makes good pixels again where a loss had spoilt them."""
        if self._damaged.mean() > self._config.dense_above:
            self._due = self._due or "lost"
        self._damaged[:] = False

    def _is_late(self, frame: FrameMetadata) -> bool:
        """Whether the picture presents before one that was planned."""
        if frame.slice_type == "B" and not frame.reference:
            return True
        seconds = frame.pts_seconds
        if seconds is None:
            seconds = self._frames / ASSUMED_FPS
        if frame.slice_type == "B" and seconds < self._newest_seconds:
            return True
        if seconds < self._newest_seconds:  # the clock started again
            self._dense_seconds += seconds - self._newest_seconds
        self._newest_seconds = seconds
        return False

    def _top_up(self, frame: FrameMetadata, indices: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """Spends what is left of the budget on looking twice.

        When the picture is decoded anyway, at patches in doubt. At a keyframe, at those that were planned longest
        ago: a fade that stays below the quantiser leaves no trace until a keyframe carries it all at once.
        """
        more = self._pressure.doubtful(self.budget) if indices.size else _no_patches()
        self._probes = _no_patches()
        if frame.keyframe and self._newest_seconds - self._probed_seconds >= PROBE_SECONDS:
            self._probed_seconds = self._newest_seconds
            oldest_first = np.argsort(self._planned_at, kind="stable").astype(np.int32)
            self._probes = np.setdiff1d(oldest_first[: self.budget], indices)
            more = np.concatenate([more, self._probes])
        fresh = more[~np.isin(more, indices)]
        return np.union1d(indices, fresh[: self.budget - indices.size]).astype(np.int32)

    def _dense_cause(self, frame: FrameMetadata, evidence: Evidence, changed: BoolArray) -> str | None:
        elapsed_seconds = self._newest_seconds - self._dense_seconds + ROUNDING_SECONDS
        if self._due == "keyframe" or (self._keyframes_refresh and frame.keyframe):
            return "keyframe"
        if evidence.recoded_share > CUT_SHARE and evidence.novel_share > CUT_SHARE:
            return "cut"
        schedule = self._config.refresh_seconds * (EARLY_REFRESH if frame.keyframe else 1.0)
        if elapsed_seconds >= schedule:
            return "refresh"
        if elapsed_seconds < self._config.dense_interval_seconds:
            return None
        if self._due is not None:
            return self._due
        if self._camera_moved():
            return "camera"
        if max(np.count_nonzero(changed), len(self._debt)) > self._config.dense_above * self._grid.patches:
            return "lost" if evidence.unknown.any() else "change"
        return None

    def _camera_moved(self) -> bool:
        height_px, width_px = self._grid.height, self._grid.width
        rows, cols = self._grid.shape
        travel_px = self._watch.travel_px(math.hypot(width_px, height_px) / 4)
        return travel_px > CAMERA_TRAVEL * min(height_px / rows, width_px / cols) or (
            self._watch.stopped and travel_px >= 1
        )

    def _dense(
        self, frame: FrameMetadata, cause: str, evidence: Evidence, changed: BoolArray, camera: CameraMotion
    ) -> PatchPlan:
        everything = np.arange(self._grid.patches, dtype=np.int32)
        self._debt.cancel(everything)
        self._note_planned(frame, everything)
        self._watch.arrive()
        self._due, self._last_cause = None, cause
        self._dense_seconds = self._newest_seconds
        return self._result(frame, "dense", everything, evidence, changed, camera, cause)

    def _note_planned(self, frame: FrameMetadata, indices: npt.NDArray[np.int32]) -> None:
        self._pressure.release(indices)
        self._planned_at[indices] = self._frames
        self._looked_at[:] = False
        self._looked_at[indices] = True
        if frame.slice_type != "I":  # what an I picture shows is what the next one is compared with
            self._planned_since_intra[indices] = True

    def _result(
        self,
        frame: FrameMetadata,
        action: Action,
        indices: npt.NDArray[np.int32],
        evidence: Evidence,
        changed: BoolArray,
        camera: CameraMotion,
        reason: str | None = None,
    ) -> PatchPlan:
        saliency: FloatArray = evidence.saliency
        return PatchPlan(
            pts=frame.pts,
            action=action,
            reason=reason or ("change" if indices.size or changed.any() else "quiet"),
            indices=indices,
            saliency=saliency,
            changed=changed,
            debt=len(self._debt),
            camera_motion_px=camera.translation_px,
        )


def _no_patches() -> npt.NDArray[np.int32]:
    return np.zeros(0, np.int32)
