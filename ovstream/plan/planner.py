"""Decides, picture by picture and without pixels, which patches are worth encoding."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ovstream.config import PlanConfig
from ovstream.plan.camera_motion import CameraMotion, CameraWatch, MotionReader
from ovstream.plan.debt import Debt
from ovstream.plan.grid import PatchGrid
from ovstream.plan.pressure import Pressure
from ovstream.plan.refresh import Causes, Refresh
from ovstream.plan.regions import touched
from ovstream.plan.saliency import Evidence, SaliencyMeter
from ovstream.types import Action, BoolArray, FrameMetadata, PatchPlan

Indices = npt.NDArray[np.int32]

CAMERA_TRAVEL = 0.15  # of a patch: how far the view shifts before it is encoded again
PROBE_SHARE = 0.5  # of the probes found changed: the whole picture faded


class Planner:
    """Plans the patches of one stream.

    Each picture adds evidence; a patch whose change passed the threshold stays in debt until it was planned, oldest
    first, at most ``ceil(keep_ratio * patches)`` a picture. What is left of the budget goes to patches in doubt.
    Everything is encoded ("dense") at the first picture, at a cut, after loss, when the camera moved on, when most
    patches changed, and at least every `refresh_seconds`; loss, camera and change keep `dense_interval_seconds`
    apart. Keyframes are judged by what they show: a still camera codes the same scene again.

    B pictures that present before a picture already seen get the action "skip": their content is older than what
    was encoded. What they show to be changing is owed to the next picture. Pictures whose blocks were left unread add
    no evidence; one that was too costly to read counts as changed everywhere.

    Call `settle` after a sparse plan, even with nothing to settle: the planner learns from it what is noise.

    Nothing that happens in the masks of the configuration counts as change.

    Args:
        grid: Of the stream; a picture of another size replaces it, see `grid`.
        config: Budget, thresholds and schedule.
        keyframes_refresh: Encode everything at each keyframe, whatever it shows.
        stagger: Share of the first `refresh_seconds` to leave out, 0..1; another for each stream.

    Attributes:
        budget_scale: Share of the budget that may be spent at present, 0..1.
    """

    def __init__(
        self, grid: PatchGrid, config: PlanConfig, *, keyframes_refresh: bool = False, stagger: float = 0.0
    ) -> None:
        self._config = config
        self._stagger = stagger
        self._keyframes_refresh = keyframes_refresh
        self.budget_scale = 1.0
        self._start(grid)

    @property
    def grid(self) -> PatchGrid:
        """The grid of the last plan; another than at the start once the picture changed its size."""
        return self._grid

    @property
    def budget(self) -> int:
        """Most patches of a sparse plan."""
        return math.ceil(self.budget_scale * self._config.keep_ratio * self._grid.patches)

    @property
    def masked(self) -> BoolArray:
        """(rows, cols) bool: patches that the configuration keeps out of sight."""
        return self._masked

    def reset(self) -> None:
        """Forgets everything, as for a new stream of the same size."""
        self._start(self._grid)

    def plan(self, frame: FrameMetadata, *, discontinuity: bool = False, eager: bool = False) -> PatchPlan:
        """Plans one picture.

        Args:
            frame: The next picture in coded order.
            discontinuity: Pictures were lost since the one before.
            eager: There is no reason to save: what asks for everything need not wait `dense_interval_seconds`.
        """
        if (frame.width, frame.height) != (self._grid.width, self._grid.height):
            self._start(PatchGrid.fit(frame.width, frame.height, max_tokens=self._grid.max_tokens))
        late = self._refresh.tick(frame)
        camera, moved_px = self._motion.read(frame)
        evidence = self._unmasked(self._meter.measure(frame, moved_px, learn=not self._watch.moving))
        changed = self._changed(frame, evidence)
        self._note_damage(evidence, discontinuity)
        self._debt.add(changed.ravel(), evidence.saliency.ravel())
        if late:
            return self._result(frame, None, _no_patches(), evidence, changed, camera)
        self._follow(frame, evidence, camera)
        reason = self._refresh.decide(frame, self._causes(frame, evidence, changed), eager=eager)
        indices = self._everything() if reason else self._top_up(frame, self._debt.take(self.budget))
        self._note_planned(indices, evidence)
        return self._result(frame, reason, indices, evidence, changed, camera)

    def request(self, reason: str) -> None:
        """Asks for everything to be encoded as soon as the interval allows."""
        self._refresh.owe(reason)

    def defer(self, indices: npt.NDArray[np.integer]) -> None:
        """Takes planned patches back into debt, at the age they had: they could not be encoded."""
        if len(indices) == self._grid.patches:
            self._refresh.failed()
        self._debt.give_back(indices)
        self._looked_at[:] = False

    def settle(self, indices: npt.NDArray[np.integer]) -> None:
        """Forgives planned patches whose pixels were found as they were last encoded; the others had changed.

        Teaches the noise floor both ways. When most of the patches looked at without suspicion had changed, the
        picture faded: everything is encoded next.
        """
        self._debt.cancel(indices)
        settled = np.zeros(self._grid.patches, np.bool_)
        settled[indices] = True
        shape = self._grid.shape
        self._meter.teach(settled.reshape(shape), noise=True)
        self._meter.teach((self._looked_at & ~settled).reshape(shape), noise=False)
        self._looked_at[:] = False
        if self._probes.size and np.mean(~settled[self._probes]) > PROBE_SHARE:
            self._refresh.owe("change")

    def _start(self, grid: PatchGrid) -> None:
        self._grid = grid
        self._motion = MotionReader(grid.cells_shape)
        self._watch = CameraWatch()
        self._meter = SaliencyMeter(grid, self._config)
        self._debt = Debt(grid.patches)
        self._pressure = Pressure(grid.shape)
        self._refresh = Refresh(
            self._config, keyframes_refresh=self._keyframes_refresh, stagger=self._stagger
        )
        self._plans = 0
        self._unread = 0  # pictures since the last one whose cells were read
        self._planned_at = np.zeros(grid.patches, np.int64)
        self._planned_since_intra = np.zeros(grid.patches, np.bool_)
        self._looked_at = np.zeros(grid.patches, np.bool_)
        self._probes = _no_patches()
        self._damaged = np.zeros(grid.shape, np.bool_)
        self._changed_before = np.zeros(grid.shape, np.bool_)
        self._masked = touched(self._config.masks, grid.shape)
        self._any_masked = bool(self._masked.any())

    def _unmasked(self, evidence: Evidence) -> Evidence:
        if not self._any_masked:
            return evidence
        saliency = np.where(self._masked, np.float32(0), evidence.saliency)
        return replace(evidence, saliency=saliency, unknown=evidence.unknown & ~self._masked)

    def _follow(self, frame: FrameMetadata, evidence: Evidence, camera: CameraMotion) -> None:
        """Follows the camera; a picture that was read stands for those before it that were not."""
        if evidence.unread:
            self._unread += 1
            if evidence.texture_only:
                self._refresh.unread_keyframe(frame)
        else:
            self._watch.update(camera, pictures=1 + self._unread)
            self._unread = 0

    def _changed(self, frame: FrameMetadata, evidence: Evidence) -> BoolArray:
        """(rows, cols) bool: over the threshold, unknown, or healed by this picture.

        An I picture shows no motion. What moved a picture ago is taken to move on, and a texture unlike that of
        the I picture before counts where nothing was planned in between.
        """
        changed = evidence.saliency >= 1
        if evidence.unread and not evidence.texture_only:
            return changed
        before, self._changed_before = self._changed_before, changed
        if evidence.texture_only:
            changed = (changed & ~self._planned_since_intra.reshape(self._grid.shape)) | before
            self._planned_since_intra[:] = False
        else:
            changed = changed | self._pressure.add(evidence.saliency)
        if frame.keyframe:
            changed = changed | self._damaged
        return changed | evidence.unknown

    def _note_damage(self, evidence: Evidence, discontinuity: bool) -> None:
        """Remembers which patches have wrong pixels until a keyframe."""
        self._damaged |= evidence.unknown
        if discontinuity:
            self._damaged[:] = True
            self._refresh.owe("lost")

    def _causes(self, frame: FrameMetadata, evidence: Evidence, changed: BoolArray) -> Causes:
        many = self._config.dense_above * self._grid.patches
        lost = int(np.count_nonzero(self._damaged if frame.keyframe else evidence.unknown)) > many
        if frame.keyframe:
            if lost:
                self._refresh.owe("lost")  # the interval may put it off
            self._damaged[:] = False
        return Causes(
            cut=evidence.cut,
            camera=self._camera_moved(),
            lost=lost,
            change=max(int(np.count_nonzero(changed)), len(self._debt)) > many,
        )

    def _camera_moved(self) -> bool:
        rows, cols = self._grid.shape
        patch_px = min(self._grid.height / rows, self._grid.width / cols)
        travel_px = self._watch.travel_px(math.hypot(self._grid.width, self._grid.height) / 4)
        return travel_px > CAMERA_TRAVEL * patch_px or (self._watch.stopped and travel_px >= 1)

    def _everything(self) -> Indices:
        everything = np.arange(self._grid.patches, dtype=np.int32)
        self._debt.take(everything.size)
        self._watch.arrive()
        self._probes = _no_patches()
        return everything

    def _top_up(self, frame: FrameMetadata, indices: Indices) -> Indices:
        """Spends what is left of the budget on looking twice.

        When the picture is decoded anyway, at patches in doubt. At a keyframe, at those that were planned longest
        ago: a fade that stays below the quantiser leaves no trace until a keyframe carries it all at once.
        """
        if indices.size:
            indices = self._with(indices, self._pressure.doubtful(self.budget))
        self._probes = _no_patches()
        if self._refresh.probe_due(frame):
            oldest_first = np.argsort(self._planned_at, kind="stable").astype(np.int32)
            oldest_first = oldest_first[~self._masked.ravel()[oldest_first]]
            with_probes = self._with(indices, oldest_first)
            self._probes = np.setdiff1d(with_probes, indices)
            return with_probes
        return indices

    def _with(self, indices: Indices, more: Indices) -> Indices:
        """Sorted union, as far as the budget goes."""
        taken = np.zeros(self._grid.patches, np.bool_)
        taken[indices] = True
        fresh = more[~taken[more]]
        taken[fresh[: self.budget - indices.size]] = True
        return np.flatnonzero(taken).astype(np.int32)

    def _note_planned(self, indices: Indices, evidence: Evidence) -> None:
        self._plans += 1
        self._planned_at[indices] = self._plans
        self._pressure.release(indices)
        self._looked_at[:] = False
        self._looked_at[indices] = not evidence.unread
        if not evidence.texture_only:  # what an I picture shows is what the next one is compared with
            self._planned_since_intra[indices] = True

    def _result(
        self,
        frame: FrameMetadata,
        reason: str | None,
        indices: Indices,
        evidence: Evidence,
        changed: BoolArray,
        camera: CameraMotion,
    ) -> PatchPlan:
        action: Action = "dense" if reason else "sparse" if indices.size else "skip"
        if reason is None and indices.size == self._probes.size > 0:
            reason = "keyframe"
        elif reason is None:
            reason = "change" if indices.size or changed.any() else "quiet"
        return PatchPlan(
            pts=frame.pts,
            action=action,
            reason=reason,
            indices=indices,
            saliency=evidence.saliency,
            changed=changed,
            debt=len(self._debt),
            camera_motion_px=camera.translation_px,
        )


def _no_patches() -> Indices:
    return np.zeros(0, np.int32)
