"""Takes one stream's access units through the stages; no thread, task, socket or queue."""

from __future__ import annotations

import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from ovstream.config import StreamConfig
from ovstream.decode import Picture
from ovstream.encode import Encoder, Output
from ovstream.errors import BitstreamError, DecodeError
from ovstream.health import MOMENTARY, Condition, HealthMonitor
from ovstream.pipeline.effort import FULL_EFFORT
from ovstream.pipeline.metadata import Reading
from ovstream.pipeline.parts import Parts
from ovstream.pipeline.scene import Analysis, Scene
from ovstream.pipeline.sight import ModelFacts
from ovstream.pipeline.stats import StreamStats
from ovstream.pipeline.tape import Tape
from ovstream.types import (
    AccessUnit,
    BoolArray,
    Checkpoint,
    Embedding,
    EventKind,
    FloatArray,
    FrameMetadata,
    Kind,
    PatchPlan,
)
from ovstream.watch import Scores, Watcher

_MAX_DELAYED_UNITS = 64  # more than any codec reorders


@dataclass(frozen=True, slots=True, eq=False)
class FrameTrace:
    """All that happened to one picture, for drawings and debugging.

    Attributes:
        frame: Its metadata.
        plan: What was decided.
        encoded: (rows, cols) bool, patches that went through the model.
        picture: The decoded picture; None when no pixels were needed.
        masked: (rows, cols) bool, patches that nobody may see.
        scores: Activity and novelty, per zone.
        drift: As in `Embedding`.
    """

    frame: FrameMetadata
    plan: PatchPlan
    encoded: BoolArray
    picture: Picture | None
    masked: BoolArray
    scores: Scores
    drift: float | None


class StreamWorker:
    """Wires the stages of one stream, from access units to embeddings.

    Args:
        config: Of the stream.
        encoder: Shared by any number of workers; the worker's state is its own. With `parts`, facts are enough.
        stats: Counters to add to.
        restore: Where an earlier worker of the same stream stopped.
        first_epoch: Lowest epoch to begin with.
        first_seq: Lowest number to begin with.
        on_event: Called with (kind, detail) when something happens beside the frames.
        observe: Called with a `FrameTrace` after every picture.
        wall_clock_ns: Unix time in nanoseconds.
        parts: What touches bytes and pixels; None: parser, decoder and model.
        tape: Writes down what happens.
    """

    def __init__(
        self,
        config: StreamConfig,
        *,
        encoder: Encoder | ModelFacts,
        stats: StreamStats,
        restore: Checkpoint | None = None,
        first_epoch: int = 0,
        first_seq: int = 0,
        on_event: Callable[[EventKind, str], None] = lambda kind, detail: None,
        observe: Callable[[FrameTrace], None] | None = None,
        wall_clock_ns: Callable[[], int] = time.time_ns,
        parts: Parts | None = None,
        tape: Tape | None = None,
    ) -> None:
        self._config = config
        self._encoder = encoder
        self._stats = stats
        self._on_event = on_event
        self._observe = observe
        self._wall_clock_ns = wall_clock_ns
        if parts is None:
            assert isinstance(encoder, Encoder), "facts see nothing: they need parts"
            parts = Parts.real(config, stats, encoder)
        parts = parts if tape is None else tape.listen(parts)
        self._reader, self._pixels, self._sight = parts.reader, parts.pixels, parts.sight
        self._tape = tape
        self._scene: Scene | None = None
        self._decoded: Picture | None = None  # the newest one, where a decoder stands in for the parser
        self._source_epoch = 0
        self._epoch = max(restore.epoch + 1 if restore else 0, first_epoch)
        self._next_seq = max(restore.next_seq if restore else 0, first_seq)
        self._cursor_pts: int | None = None
        self._time_base = Fraction(1, 1)
        self._newest_poc: int | None = None
        self._capture_times_ns: OrderedDict[int | None, int] = OrderedDict()
        self._lost = False
        self._watcher = Watcher(config.watch)
        self._scores = Scores()
        self._health: HealthMonitor | None = None
        self._health_shape = (0, 0, 0, 0)
        self.effort = FULL_EFFORT

    @property
    def watcher(self) -> Watcher:
        """Zones and rules of the stream."""
        return self._watcher

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """What is wrong with the camera now, by its metadata; empty when it is well."""
        return self._health.conditions if self._health is not None else ()

    @property
    def put_off(self) -> bool:
        """Whether a whole pass waits for its turn, see `Effort.whole`."""
        return self._scene is not None and self._scene.put_off

    @property
    def memory_bytes(self) -> int:
        """What the stream holds: caches of the encoder and compressed pictures that wait."""
        compressed = max(self._pixels.memory_bytes, self._reader.memory_bytes)  # nearly the same units
        return compressed + (self._scene.memory_bytes if self._scene else 0)

    def picture(self) -> tuple[Picture, BoolArray]:
        """Decodes the newest picture for somebody who wants to see it; with (rows, cols) bool, its masked patches.

        Raises:
            DecodeError: There is none.
        """
        if self._scene is None:
            raise DecodeError("nothing was received yet")
        return self._decoded or self._pixels.picture(), self._scene.masked

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
        with self._taped(unit) as results:
            results += self._process(unit)
        return results

    def _process(self, unit: AccessUnit) -> list[Embedding]:
        if unit.epoch != self._source_epoch or (unit.params_changed and self._scene is not None):
            self._restart(unit.epoch)
        self._lost |= unit.discontinuity
        try:
            with self._stats.clock("parse"):
                readings: Sequence[Reading] = self._reader.read(unit, every=self.effort.read)
        except (BitstreamError, DecodeError) as error:
            if not self._stats.parse_errors:
                self._on_event("error", f"damaged picture: {error}")
            self._stats.parse_errors += 1
            self._lost = True
            readings = []
        self._stats.units += not self._reader.waits
        return self._finish(unit, readings)

    def flush(self) -> list[Embedding]:
        """Takes what a fallback decoder still holds through the stages, at the end of a stream."""
        with self._taped(None) as results:
            results += [one for reading in self._reader.flush() for one in self._take(reading)]
        return results

    @contextlib.contextmanager
    def _taped(self, unit: AccessUnit | None) -> Iterator[list[Embedding]]:
        """Writes down what happens inside, and the results put into the list."""
        results: list[Embedding] = []
        if self._tape is not None:
            self._tape.begin(unit, effort=self.effort)
        yield results
        if self._tape is not None:
            self._tape.end(results)

    def close(self) -> None:
        """Frees decoders; the worker cannot be used afterwards."""
        self._reader.close()
        self._pixels.close()
        self._scene = self._decoded = None
        if self._tape is not None:
            self._tape.close()

    def _restart(self, source_epoch: int) -> None:
        """Begins a new epoch: nothing seen before may be used for what comes."""
        self._source_epoch = source_epoch
        self._epoch += 1
        self._newest_poc = None
        self._scene = self._decoded = None
        self._capture_times_ns.clear()
        self._pixels.close()

    def _finish(self, unit: AccessUnit, readings: Sequence[Reading]) -> list[Embedding]:
        native = all(reading.picture is None for reading in readings)
        if readings and not native and not self._stats.frames_fallback:
            self._on_event("fallback", self._reader.fallback_reason or "no parser for this stream")
        if not readings and not self._reader.waits and self._reader.fallback_reason is None:
            self._pixels.push(unit, reference=True)
        self._note_capture_time(unit)
        results = [one for reading in readings for one in self._take(reading)]
        self._cursor_pts, self._time_base = unit.pts, unit.time_base
        return results

    def _take(self, reading: Reading) -> list[Embedding]:
        if reading.unit is not None:
            self._pixels.push(reading.unit, reference=reading.frame.reference)
        return self._analyse(reading)

    def _note_capture_time(self, unit: AccessUnit) -> None:
        """Keeps the capture time until the picture comes, which a reordering decoder may delay."""
        if unit.capture_time_ns is not None:
            self._capture_times_ns[unit.pts] = unit.capture_time_ns
            if len(self._capture_times_ns) > _MAX_DELAYED_UNITS:
                self._capture_times_ns.popitem(last=False)

    def _analyse(self, reading: Reading) -> list[Embedding]:
        frame = reading.frame
        capture_time_ns = self._capture_times_ns.pop(frame.pts, None)
        self._decoded = reading.picture
        if reading.picture is None:
            self._stats.frames_parsed += 1
            self._stats.frames_unread += frame.unread != ""
            self._stats.frames_costly += frame.unread == "costly"
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
        done = scene.analyse(
            frame,
            late=late,
            lost=self._lost,
            decode=lambda: reading.picture or self._pixels.picture(),
            effort=self.effort,
        )
        self._lost = False
        happened = [] if late else self._check_health(frame, done.plan.camera_motion_px)
        self._watch(frame, done, scene.masked, late=late, happened=happened)
        if late or done.output is None or (self._config.emit == "changes" and not done.encoded.any()):
            return []
        return [
            self._embedding(frame, done, done.output, kind, vector, capture_time_ns)
            for kind, vector in _vectors(done.output, self._config.kinds)
        ]

    def _check_health(self, frame: FrameMetadata, camera_motion_px: tuple[float, float]) -> list[Condition]:
        """Tells what begins or ends, and returns it; what is known of a camera outlives its reconnects."""
        shape = frame.width, frame.height, *frame.mb_shape  # encoders pad pictures of a size differently
        if self._health is None or self._health_shape != shape:
            self._health, self._health_shape = HealthMonitor((frame.width, frame.height)), shape
        with self._stats.clock("health"):
            changes = self._health.observe(frame, camera_motion_px=camera_motion_px)
        for change in changes:
            self._on_event(change.condition if change.active else "recovered", change.detail)
        return [change.condition for change in changes if change.active]

    def _watch(
        self,
        frame: FrameMetadata,
        done: Analysis,
        masked: BoolArray,
        *,
        late: bool,
        happened: Sequence[Condition],
    ) -> None:
        """Scores the picture, unless a newer one was scored before it, and asks the rules."""
        output = done.output
        if not late:
            seconds = frame.pts_seconds
            with self._stats.clock("watch"):
                self._scores, events = self._watcher.update(
                    time.monotonic() if seconds is None else seconds,
                    done.confirmed,
                    scene=None if output is None else output.scene,
                    tokens=None if output is None else lambda: output.tokens,
                    conditions=self.conditions,
                    happened=[name for name in happened if name in MOMENTARY],
                )
            for event in events:
                self._on_event("rule", str(event))
        if self._observe is not None:
            drift = None if output is None else output.drift
            self._observe(
                FrameTrace(frame, done.plan, done.encoded, done.picture, masked, self._scores, drift)
            )

    def _embedding(
        self,
        frame: FrameMetadata,
        done: Analysis,
        output: Output,
        kind: Kind,
        vector: FloatArray,
        capture_time_ns: int | None,
    ) -> Embedding:
        info, encoded = self._encoder.info, done.encoded
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
            reason=done.plan.reason,
            keep_ratio=float(encoded.mean()),
            decoded=done.picture is not None,
            drift=output.drift,
            staleness_frames=self._scene.frames_since_dense if self._scene else 0,
            model_id=info.model_id,
            model_digest=info.digest,
            trained=info.trained,
            counters=self._stats.counters(),
            n_updated=output.n_updated,
            flops=output.flops,
        )
        self._next_seq += 1
        self._stats.embeddings += 1
        return embedding

    def _scene_of(self, frame: FrameMetadata) -> Scene:
        size = frame.width, frame.height
        if self._scene is None or self._scene.size != size:
            if self._scene is not None:
                self._epoch += 1
                self._on_event("params", f"picture size is now {frame.width}x{frame.height}")
            self._scene = Scene(
                frame,
                self._config,
                model=self._encoder,
                stats=self._stats,
                on_event=self._on_event,
                sight=self._sight,
            )
        return self._scene

    def _is_late(self, frame: FrameMetadata) -> bool:
        """Whether the picture presents before one already seen, as B pictures do in coded order.

        Told by the order count: raw files have no presentation times.
        """
        if frame.slice_type == "B" and self._newest_poc is not None and frame.poc < self._newest_poc:
            return True
        self._newest_poc = frame.poc
        return False


def _vectors(output: Output, kinds: tuple[Kind, ...]) -> list[tuple[Kind, FloatArray]]:
    """The vectors asked for that this picture has; an event needs updated tokens."""
    wanted: dict[Kind, FloatArray | None] = {
        "scene": output.scene,
        "event": output.event,
        "tokens": output.tokens if "tokens" in kinds else None,
    }
    return [(kind, vector) for kind in kinds if (vector := wanted[kind]) is not None]
