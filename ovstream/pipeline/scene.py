"""The stages that depend on the size of the picture: plan, crop, encode, and what watches over them."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ovstream.config import StreamConfig
from ovstream.decode import Picture
from ovstream.encode import Audit, Output, Scheduler
from ovstream.errors import DecodeError
from ovstream.model.config import TEMPORAL_POSITIONS
from ovstream.pipeline.effort import FULL_EFFORT, Effort
from ovstream.pipeline.sight import ModelFacts, SightFactory
from ovstream.pipeline.stats import StreamStats
from ovstream.plan import PatchGrid, Planner
from ovstream.types import BoolArray, EventKind, FrameMetadata, Patches, PatchPlan

_MAY_WAIT = ("refresh", "drift", "change", "camera", "keyframe")  # a cut, loss and the first picture may not
_LONGEST_BLIND = 250  # pictures: some cameras send keyframes hardly ever


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """What became of one picture.

    Attributes:
        plan: What was decided.
        encoded: (rows, cols) bool, patches that went through the model.
        picture: The decoded picture; None when no pixels were needed, or none could be had.
        output: Of the encoder, maybe from an earlier picture; None before the first.
    """

    plan: PatchPlan
    encoded: BoolArray
    picture: Picture | None
    output: Output | None

    @property
    def confirmed(self) -> BoolArray:
        """(rows, cols) bool: patches that changed, without those whose pixels turned out to be the same."""
        if self.picture is None or self.plan.action != "sparse":
            return self.plan.changed
        looked_at = np.zeros(self.encoded.size, np.bool_)
        looked_at[self.plan.indices] = True
        return self.plan.changed & ~(looked_at.reshape(self.encoded.shape) & ~self.encoded)


class Scene:
    """Everything one stream remembers about a view of one size.

    Args:
        frame: The first picture; its size is that of all others.
        config: Of the stream.
        model: Behind the vectors.
        stats: Counters to add to.
        on_event: Called with (kind, detail).
        sight: Makes what looks at the pictures.
    """

    def __init__(
        self,
        frame: FrameMetadata,
        config: StreamConfig,
        *,
        model: ModelFacts,
        stats: StreamStats,
        on_event: Callable[[EventKind, str], None],
        sight: SightFactory,
    ) -> None:
        info, options = model.info, config.encode
        self.size = frame.width, frame.height
        grid = PatchGrid.fit(*self.size, max_tokens=min(config.plan.max_tokens, info.max_tokens))
        self.grid = grid.shape
        self.frames_since_dense = 0
        self._config, self._stats, self._on_event = config, stats, on_event
        self._planner = Planner(grid, config.plan, stagger=_stagger(config.stream_id))
        self._pictures = self._looked = 0
        self.put_off = False  # a whole pass waits for its turn
        self._sight = sight(self.grid, self.size)
        unlimited = config.plan.everything or model.mode == "dense"
        self._windowed = options.memory == "window"
        self._time = -1  # of the newest picture in the window
        self._scheduler = Scheduler(
            budget=math.inf if unlimited else options.max_flops,
            dense_above=config.plan.dense_above,
            max_drift=options.max_drift,
            enough=math.inf if unlimited or self._windowed else 1.0,  # whole passes begin a window
        )
        self._audit = Audit(every_seconds=options.audit_seconds, min_fidelity=options.min_fidelity)
        self._dense_flops = model.dense_flops(self.grid)

    @property
    def masked(self) -> BoolArray:
        """(rows, cols) bool: patches whose pixels nobody sees."""
        return self._planner.masked

    @property
    def memory_bytes(self) -> int:
        """Size of the encoder's state."""
        return self._sight.memory_bytes

    def analyse(
        self,
        frame: FrameMetadata,
        *,
        late: bool,
        lost: bool,
        decode: Callable[[], Picture],
        effort: Effort = FULL_EFFORT,
    ) -> Analysis:
        """Takes one picture through plan, decode, crop and encode.

        Args:
            frame: Its metadata.
            late: It presents before a picture already seen.
            lost: Pictures are missing before this one.
            decode: Gives its pixels.
            effort: What the stream may cost at present.
        """
        with self._stats.clock("plan"):
            plan = self._plan(frame, late=late, lost=lost, effort=effort)
            if plan.action == "sparse" and self._window_full:
                plan = replace(_everything(plan), reason="refresh")
        picture = self._pixels(plan, decode) if plan.needs_pixels else None
        if plan.needs_pixels and (picture is None or picture.damaged):
            plan = replace(plan, reason="lost")
            self._stats.frames_damaged += 1
        encoded = np.zeros(self.grid, np.bool_)
        self.frames_since_dense += 1
        output = self._sight.output
        if picture is not None:
            output = self._encode(frame, plan, picture, encoded) or output
        return Analysis(plan, encoded, picture, output)

    def _plan(self, frame: FrameMetadata, *, late: bool, lost: bool, effort: Effort) -> PatchPlan:
        if (
            frame.slice_type == "B"
        ):  # the planner looks at B pictures that others refer to, so not at late ones
            frame = replace(frame, reference=not late)
        self._scheduler.earn(effort.budget)
        self._planner.budget_scale = effort.budget
        known = self._sight.output
        reason = self._scheduler.due(known.drift) if known is not None else None
        if reason is not None:
            self._planner.request(reason)
        plan = self._planner.plan(frame, discontinuity=lost, eager=self._scheduler.affords_dense)
        if self._config.plan.everything:
            return _everything(plan)
        self._pictures += not late
        if plan.needs_pixels and self._sight.output is not None and not self._has_turn(frame, plan, effort):
            self._stats.frames_skipped_for_load += 1
            return self._later(plan, "load")
        if plan.action == "dense":
            self.put_off = False
        return self._affordable(plan) if plan.action == "sparse" else plan

    def _has_turn(self, frame: FrameMetadata, plan: PatchPlan, effort: Effort) -> bool:
        """Whether the effort lets the plan be carried out at this picture."""
        can_wait = plan.action == "dense" and plan.reason in _MAY_WAIT
        looks = self._looks(frame, effort.every) or (can_wait and self.put_off)
        if looks and can_wait and not effort.whole:
            self.put_off = True
            return False
        return looks

    def _looks(self, frame: FrameMetadata, every: int) -> bool:
        """Whether the effort lets this picture be looked at; the number of the one that was is kept."""
        due = self._pictures % every == 0 if every else frame.keyframe
        if due or self._pictures - self._looked >= _LONGEST_BLIND:
            self._looked = self._pictures
            return True
        return False

    def _later(self, plan: PatchPlan, reason: str) -> PatchPlan:
        """The plan without its patches; they stay first in line."""
        self._planner.defer(plan.indices)
        return replace(plan, action="skip", reason=reason, indices=plan.indices[:0])

    def _affordable(self, plan: PatchPlan) -> PatchPlan:
        """The sparse plan, or none of it where its cost is better saved up for a dense pass."""
        changed = max(float(plan.changed.mean()), plan.keep_ratio + plan.debt / plan.saliency.size)
        if self._scheduler.admits(changed=changed):
            return plan
        self._stats.frames_deferred += 1
        return self._later(plan, "budget")

    def _pixels(self, plan: PatchPlan, decode: Callable[[], Picture]) -> Picture | None:
        try:
            return decode()
        except DecodeError as error:
            if not self._stats.decode_errors:
                self._on_event("error", str(error))
            self._stats.decode_errors += 1
            self._planner.defer(plan.indices)
            return None

    def _encode(
        self, frame: FrameMetadata, plan: PatchPlan, picture: Picture, encoded: BoolArray
    ) -> Output | None:
        """Encodes what the plan asks for and marks it in `encoded`; None when nothing differed."""
        patches = self._crop(plan, picture)
        if not len(patches):
            return None
        probes = None
        if len(patches) < encoded.size:
            patches, probes = self._look_around(patches, picture)
        with self._stats.clock("encode"):
            output = self._run(patches, probes)
            if len(patches) < encoded.size and self._audit.due(frame.pts_seconds):
                patches, output = self._audited(plan, picture, patches, output, frame)
        encoded.ravel()[patches.indices] = True
        self._stats.frames_encoded += 1
        if encoded.all():
            self._stats.frames_dense += 1
            self.frames_since_dense = 0
        return output

    def _crop(self, plan: PatchPlan, picture: Picture) -> Patches:
        """Cuts the planned patches; of a sparse plan only those that differ from what was last encoded."""
        with self._stats.clock("crop"):
            patches = self._sight.cut(picture, plan.indices, self.masked)
            if plan.action == "dense":
                return patches
            differs = self._sight.differs(patches)
            self._planner.settle(plan.indices[~differs])
            return patches.subset(differs)

    def _look_around(self, patches: Patches, picture: Picture) -> tuple[Patches, Patches]:
        """Cuts the encoder's probes; those that turn out to have changed join the patches."""
        with self._stats.clock("crop"):
            chosen = self._sight.choose_probes(patches.indices)
            probes = self._sight.cut(picture, chosen, self.masked)
            differs = self._sight.differs(probes)
        found = probes.subset(differs)
        joined = Patches(
            np.concatenate([patches.indices, found.indices]),
            np.concatenate([patches.pixels, found.pixels]),
            patches.grid,
        )
        return joined, probes.subset(~differs)

    def _run(self, patches: Patches, probes: Patches | None = None) -> Output:
        """Encodes and pays."""
        whole = len(patches) == self.masked.size
        output = self._paid(self._sight.encode(patches, probes), whole=whole)
        self._time = 0 if whole else self._time + 1
        if whole:
            problem = self._sight.collapse(patches, output)
            if problem is not None:
                self._on_event("quality", problem)
        return output

    def _paid(self, output: Output, *, whole: bool) -> Output:
        self._stats.patches_encoded += output.n_updated
        self._scheduler.spend(output.flops / self._dense_flops, whole=whole)
        return output

    @property
    def _window_full(self) -> bool:
        """Whether the next picture begins another window."""
        return self._windowed and self._time == TEMPORAL_POSITIONS - 1

    def _audited(
        self, plan: PatchPlan, picture: Picture, patches: Patches, sparse: Output, frame: FrameMetadata
    ) -> tuple[Patches, Output]:
        """Encodes a picture whole after it was encoded sparsely, and judges the difference.

        In a window all that it remembers is encoded again, since a whole picture would begin another.

        Returns:
            What was encoded, and what came out; operations are those of both passes.
        """
        if self._windowed:
            whole = replace(self._paid(self._sight.refresh(), whole=True), event=sparse.event)
        else:
            patches = self._sight.cut(picture, _everything(plan).indices, self.masked)
            whole = self._run(patches)
        cosine, passed = self._audit.judge(sparse.scene, whole.scene, frame.pts_seconds)
        self._scheduler.audited(passed=passed)
        self._stats.audits += 1
        self._stats.audit_cosine_sum += cosine
        if not passed:
            self._stats.audits_failed += 1
            self._on_event(
                "quality", f"cosine to a dense pass is {cosine:.4f}: too low, refreshing more often"
            )
        both = sparse.n_updated + whole.n_updated, sparse.flops + whole.flops
        return patches, replace(whole, n_updated=both[0], flops=both[1])


def _stagger(stream_id: str) -> float:
    """0 to 0.5, from the name: the same in every run."""
    return zlib.crc32(stream_id.encode()) / 2**33


def _everything(plan: PatchPlan) -> PatchPlan:
    """The same plan, with every patch in it."""
    return replace(plan, action="dense", indices=np.arange(plan.saliency.size, dtype=np.int32))
