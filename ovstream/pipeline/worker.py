"""Takes one stream's access units through the stages; no thread, task, socket or queue."""

from __future__ import annotations

import contextlib
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from ovstream.config import StreamConfig
from ovstream.decode import OnDemandDecoder, PatchCropper, Picture
from ovstream.encode import Audit, CollapseWatch, Encoder, EncoderState, Output, Scheduler
from ovstream.errors import DecodeError, InvalidBitstream
from ovstream.pipeline.metadata import MetadataReader, Reading
from ovstream.pipeline.stats import StreamStats
from ovstream.plan import PatchGrid, Planner
from ovstream.types import (
    AccessUnit,
    BoolArray,
    Checkpoint,
    Embedding,
    EventKind,
    FloatArray,
    FrameMetadata,
    Kind,
    Patches,
    PatchPlan,
)

_MAX_DELAYED_UNITS = 64  # more than any codec reorders
_ROOM = 4  # of the source's queue: catching up from half of it must not make the queue overflow


@dataclass(frozen=True, slots=True, eq=False)
class FrameTrace:
    """All that happened to one picture, for drawings and debugging.

    Attributes:
        frame: Its metadata.
        plan: What was decided.
        encoded: (rows, cols) bool, patches that went through the model.
        picture: The decoded picture; None when no pixels were needed.
    """

    frame: FrameMetadata
    plan: PatchPlan
    encoded: BoolArray
    picture: Picture | None


@dataclass(slots=True)
class _Scene:
    """The stages that depend on the size of the picture, and what watches over them."""

    size: tuple[int, int]
    grid: tuple[int, int]
    planner: Planner
    cropper: PatchCropper
    state: EncoderState
    scheduler: Scheduler
    audit: Audit
    watch: CollapseWatch
    dense_flops: int


class StreamWorker:
    """Wires the stages of one stream, from access units to embeddings.

    Args:
        config: Of the stream.
        encoder: Shared by any number of workers; the worker's state is its own.
        stats: Counters to add to.
        restore: Where an earlier worker of the same stream stopped.
        first_epoch: Where epochs begin without `restore`.
        on_event: Called with (kind, detail) when something happens beside the frames.
        observe: Called with a `FrameTrace` after every picture.
        wall_clock_ns: Unix time in nanoseconds.
    """

    def __init__(
        self,
        config: StreamConfig,
        *,
        encoder: Encoder,
        stats: StreamStats,
        restore: Checkpoint | None = None,
        first_epoch: int = 0,
        on_event: Callable[[EventKind, str], None] = lambda kind, detail: None,
        observe: Callable[[FrameTrace], None] | None = None,
        wall_clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._config = config
        self._encoder = encoder
        self._stats = stats
        self._on_event = on_event
        self._observe = observe
        self._wall_clock_ns = wall_clock_ns
        self._reader = MetadataReader(max_pixels=config.source.max_pixels)
        self._decoder: OnDemandDecoder | None = None
        self._scene: _Scene | None = None
        self._source_epoch = 0
        self._epoch = restore.epoch + 1 if restore else first_epoch
        self._next_seq = restore.next_seq if restore else 0
        self._cursor_pts: int | None = None
        self._time_base = Fraction(1, 1)
        self._newest_poc: int | None = None
        self._capture_times_ns: OrderedDict[int | None, int] = OrderedDict()
        self._lost = False
        self._since_dense = 0

    @property
    def checkpoint(self) -> Checkpoint:
        """What a successor needs to go on: all that this worker knows and cannot rebuild."""
        return Checkpoint(
            stream_id=self._config.stream_id,
            epoch=self._epoch,
            next_seq=self._next_seq,
            cursor_pts=self._cursor_pts,
            time_base=self._time_base,
            model_digest=self._encoder.info.digest,
        )

    def process(self, unit: AccessUnit) -> list[Embedding]:
        """Takes one access unit through every stage that it needs.

        Damaged bits are counted, never raised: the stream goes on with the next unit.
        """
        self._stats.units += 1
        if unit.epoch != self._source_epoch:
            self._restart(unit.epoch)
        self._lost |= unit.discontinuity
        try:
            with self._stats.clock("parse"):
                readings = self._reader.read(unit)
        except (InvalidBitstream, DecodeError) as error:
            if not self._stats.parse_errors:
                self._on_event("error", f"damaged picture: {error}")
            self._stats.parse_errors += 1
            self._lost = True
            readings = []
        return self._finish(unit, readings)

    def flush(self) -> list[Embedding]:
        """Takes what a fallback decoder still holds through the stages, at the end of a stream."""
        return [one for reading in self._reader.flush() for one in self._analyse(reading)]

    def close(self) -> None:
        """Frees decoders; the worker cannot be used afterwards."""
        self._reader.close()
        if self._decoder is not None:
            self._decoder.close()
        self._scene = None

    def _restart(self, source_epoch: int) -> None:
        """Begins a new epoch: nothing seen before may be used for what comes."""
        self._source_epoch = source_epoch
        self._epoch += 1
        self._newest_poc = None
        self._scene = None
        self._capture_times_ns.clear()
        if self._decoder is not None:
            self._decoder.close()
            self._decoder = None

    def _finish(self, unit: AccessUnit, readings: list[Reading]) -> list[Embedding]:
        native = all(reading.picture is None for reading in readings)
        if readings and not native and not self._stats.frames_fallback:
            self._on_event("fallback", self._reader.fallback_reason or "no parser for this stream")
        if native and self._reader.fallback_reason is None:
            reference = readings[0].frame.reference if readings else True
            self._buffer(unit, reference=reference)
        self._note_capture_time(unit)
        results = [one for reading in readings for one in self._analyse(reading)]
        self._cursor_pts, self._time_base = unit.pts, unit.time_base
        return results

    def _note_capture_time(self, unit: AccessUnit) -> None:
        """Keeps the capture time until the picture comes, which a reordering decoder may delay."""
        if unit.capture_time_ns is not None:
            self._capture_times_ns[unit.pts] = unit.capture_time_ns
            if len(self._capture_times_ns) > _MAX_DELAYED_UNITS:
                self._capture_times_ns.popitem(last=False)

    def _analyse(self, reading: Reading) -> list[Embedding]:
        frame = reading.frame
        capture_time_ns = self._capture_times_ns.pop(frame.pts, None)
        if reading.picture is None:
            self._stats.frames_parsed += 1
        else:
            self._stats.frames_fallback += 1
            self._stats.frames_decoded += 1
        if frame.errors:
            self._stats.parse_errors += 1
        if not frame.shown:
            return []
        scene = self._scene_of(frame)
        self._stats.patches_total += scene.grid[0] * scene.grid[1]
        late = reading.picture is None and not self._config.plan.everything and self._is_late(frame)
        with self._stats.clock("plan"):
            # What presents before a picture already seen is, to the planner, never referred to.
            shown = replace(frame, reference=False) if late else frame
            scene.scheduler.earn()
            eager = scene.scheduler.affords_dense
            plan = scene.planner.plan(shown, discontinuity=self._lost, eager=eager)
            if self._config.plan.everything:
                plan = _everything(plan)
            elif plan.action == "sparse":
                plan = self._affordable(scene, plan)
        self._lost = False
        output, encoded, picture = self._encode(scene, frame, plan, reading.picture)
        if plan.needs_pixels and (picture is None or picture.damaged):
            plan = replace(plan, reason="lost")
            self._stats.frames_damaged += 1
        if self._observe is not None:
            self._observe(FrameTrace(frame, plan, encoded, picture))
        if late or output is None or (self._config.emit == "changes" and not encoded.any()):
            return []
        return [
            self._embedding(
                frame, plan, kind, vector, encoded, picture is not None, output.drift, capture_time_ns
            )
            for kind, vector in _vectors(output, self._config.kinds)
        ]

    def _encode(
        self, scene: _Scene, frame: FrameMetadata, plan: PatchPlan, picture: Picture | None
    ) -> tuple[Output | None, BoolArray, Picture | None]:
        encoded = np.zeros(scene.grid, np.bool_)
        output = scene.state.output
        self._since_dense += 1
        patches = None
        if plan.needs_pixels:
            picture = picture or self._decode(scene, plan)
            if picture is not None:
                patches = self._crop(scene, plan, picture)
        with self._stats.clock("encode"):
            if picture is not None and patches is not None and len(patches):
                output = self._run(scene, patches)
                if len(patches) < encoded.size and scene.audit.due(frame.pts_seconds):
                    patches = scene.cropper.crop(picture, _everything(plan).indices)
                    output = self._audited(scene, patches, output, frame)
                encoded.ravel()[patches.indices] = True
                self._stats.frames_encoded += 1
                self._stats.patches_encoded += len(patches)
                if encoded.all():
                    self._stats.frames_dense += 1
                    self._since_dense = 0
        return output, encoded, picture

    def _affordable(self, scene: _Scene, plan: PatchPlan) -> PatchPlan:
        """The sparse plan, or none of it where its cost is better saved up for a dense pass."""
        changed = max(float(plan.changed.mean()), plan.keep_ratio + plan.debt / plan.saliency.size)
        if scene.scheduler.admits(share=plan.keep_ratio, changed=changed):
            return plan
        self._stats.frames_deferred += 1
        scene.planner.defer(plan.indices)
        return replace(plan, action="skip", reason="budget", indices=plan.indices[:0])

    def _run(self, scene: _Scene, patches: Patches) -> Output:
        """Encodes, pays, and asks for a dense pass where the tokens have drifted."""
        output = self._encoder.encode_patches(scene.state, patches, patches.positions())
        scene.scheduler.spend(output.flops / scene.dense_flops)
        if scene.scheduler.drifted(output.drift) and scene.scheduler.affords_dense:
            scene.planner.request("drift")
        if len(patches) == scene.state.alive.size:
            problem = scene.watch.check(patches.pixels, output.scene)
            if problem is not None:
                self._on_event("quality", problem)
        return output

    def _audited(self, scene: _Scene, patches: Patches, sparse: Output, frame: FrameMetadata) -> Output:
        """Encodes a picture whole after it was encoded sparsely, and judges the difference."""
        whole = self._run(scene, patches)
        cosine, passed = scene.audit.judge(sparse.scene, whole.scene, frame.pts_seconds)
        scene.scheduler.audited(passed=passed)
        self._stats.audits += 1
        self._stats.audit_cosine_sum += cosine
        if not passed:
            self._stats.audits_failed += 1
            self._on_event(
                "quality", f"cosine to a dense pass is {cosine:.4f}: too low, refreshing more often"
            )
        return whole

    def _decode(self, scene: _Scene, plan: PatchPlan) -> Picture | None:
        if self._decoder is None:
            return None
        try:
            with self._counting_decoded(self._decoder), self._stats.clock("decode"):
                return self._decoder.picture()
        except DecodeError as error:
            if not self._stats.decode_errors:
                self._on_event("error", str(error))
            self._stats.decode_errors += 1
            scene.planner.defer(plan.indices)
            return None

    def _crop(self, scene: _Scene, plan: PatchPlan, picture: Picture) -> Patches:
        """Cuts the planned patches; of a sparse plan only those that differ from what was last encoded."""
        with self._stats.clock("crop"):
            patches = scene.cropper.crop(picture, plan.indices)
            if plan.action == "dense":
                return patches
            differs = scene.state.changed(patches, self._config.encode.min_change)
            scene.planner.settle(plan.indices[~differs])
            return patches.subset(differs)

    def _embedding(
        self,
        frame: FrameMetadata,
        plan: PatchPlan,
        kind: Kind,
        vector: FloatArray,
        encoded: BoolArray,
        decoded: bool,
        drift: float | None,
        capture_time_ns: int | None,
    ) -> Embedding:
        info = self._encoder.info
        embedding = Embedding(
            stream_id=self._config.stream_id,
            epoch=self._epoch,
            seq=self._next_seq,
            pts_seconds=frame.pts_seconds,
            capture_time_ns=capture_time_ns,
            publish_time_ns=self._wall_clock_ns(),
            kind=kind,
            vector=vector,
            changed=encoded,
            action="skip" if not encoded.any() else "dense" if encoded.all() else "sparse",
            reason=plan.reason,
            keep_ratio=float(encoded.mean()),
            decoded=decoded,
            drift=drift,
            staleness_frames=self._since_dense,
            model_id=info.model_id,
            model_digest=info.digest,
            trained=info.trained,
            counters=self._stats.counters(),
        )
        self._next_seq += 1
        self._stats.embeddings += 1
        return embedding

    def _buffer(self, unit: AccessUnit, *, reference: bool) -> None:
        """Keeps a unit for the decoder; a very long GOP is decoded in time, before the buffer overflows."""
        decoder = self._pixels(unit)
        decoder.push(unit, reference=reference)
        if decoder.crowded:
            with (
                contextlib.suppress(DecodeError),
                self._counting_decoded(decoder),
                self._stats.clock("decode"),
            ):
                decoder.picture()

    @contextlib.contextmanager
    def _counting_decoded(self, decoder: OnDemandDecoder) -> Iterator[None]:
        before = decoder.units_decoded
        try:
            yield
        finally:
            self._stats.frames_decoded += decoder.units_decoded - before

    def _pixels(self, unit: AccessUnit) -> OnDemandDecoder:
        if self._decoder is None or self._decoder.codec != unit.codec:
            if self._decoder is not None:
                self._decoder.close()
            self._decoder = OnDemandDecoder(
                unit.codec,
                max_units=_ROOM * self._config.source.queue_units,
                max_pixels=self._config.source.max_pixels,
            )
        return self._decoder

    def _scene_of(self, frame: FrameMetadata) -> _Scene:
        size = frame.width, frame.height
        if self._scene is None or self._scene.size != size:
            if self._scene is not None:
                self._epoch += 1
                self._on_event("params", f"picture size is now {frame.width}x{frame.height}")
            self._scene = self._new_scene(frame)
        return self._scene

    def _new_scene(self, frame: FrameMetadata) -> _Scene:
        info = self._encoder.info
        max_tokens = min(self._config.plan.max_tokens, info.max_tokens)
        grid = PatchGrid.fit(frame.width, frame.height, max_tokens=max_tokens)
        options = self._config.encode
        unlimited = self._config.plan.everything or self._encoder.mode == "dense"
        return _Scene(
            size=(frame.width, frame.height),
            grid=grid.shape,
            planner=Planner(grid, self._config.plan),
            cropper=PatchCropper(
                grid.shape, (frame.width, frame.height), patch_px=info.patch_px, mean=info.mean, std=info.std
            ),
            state=self._encoder.new_state(grid=grid.shape),
            scheduler=Scheduler(
                budget=math.inf if unlimited else options.max_flops,
                dense_above=self._config.plan.dense_above,
                max_drift=options.max_drift,
            ),
            audit=Audit(every_seconds=options.audit_seconds, min_fidelity=options.min_fidelity),
            watch=CollapseWatch(),
            dense_flops=self._encoder.dense_flops(grid.shape),
        )

    def _is_late(self, frame: FrameMetadata) -> bool:
        """Whether the picture presents before one already seen, as B pictures do in coded order.

        Told by the order count: raw files have no presentation times.
        """
        if frame.slice_type == "B" and self._newest_poc is not None and frame.poc < self._newest_poc:
            return True
        self._newest_poc = frame.poc
        return False


def _everything(plan: PatchPlan) -> PatchPlan:
    """The same plan, with every patch in it."""
    return replace(plan, action="dense", indices=np.arange(plan.saliency.size, dtype=np.int32))


def _vectors(output: Output, kinds: tuple[Kind, ...]) -> list[tuple[Kind, FloatArray]]:
    """The vectors asked for that this picture has; an event needs updated tokens."""
    wanted: dict[Kind, FloatArray | None] = {
        "scene": output.scene,
        "event": output.event,
        "tokens": output.tokens if "tokens" in kinds else None,
    }
    return [(kind, vector) for kind in kinds if (vector := wanted[kind]) is not None]
