"""Runs a stream again from its recording: planner, scheduler and publisher are real, bytes and pixels are not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Self, TypeVar, cast

import numpy as np
import numpy.typing as npt

from ovstream.config import StreamConfig, changed_config, stream_config
from ovstream.decode import Picture
from ovstream.encode import Output
from ovstream.errors import DecodeError, InvalidBitstream, RecordingError
from ovstream.pipeline.effort import Effort
from ovstream.pipeline.metadata import Reading
from ovstream.pipeline.parts import Parts
from ovstream.pipeline.sight import Indices
from ovstream.pipeline.stats import StreamStats
from ovstream.pipeline.tape import NOTHING, fingerprint
from ovstream.pipeline.worker import FrameTrace, StreamWorker
from ovstream.recording import (
    Decoded,
    Differed,
    Encoded,
    Header,
    Probed,
    Pushed,
    RecordingReader,
    UnitEntry,
    Watched,
)
from ovstream.recording.entries import Step
from ovstream.types import AccessUnit, BoolArray, Embedding, Patches, StreamEvent

_StepT = TypeVar("_StepT", Pushed, Decoded, Differed, Probed, Encoded, Watched)
_GREY = np.full((2, 2), 128, np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Replayed:
    """One access unit, run again.

    Attributes:
        unit: As it came, without its bytes; None: the end of a decoded stream.
        embeddings: What it gave.
        same: As many embeddings as in the recording, each equal to the bit.
    """

    unit: AccessUnit | None
    embeddings: list[Embedding] = field(repr=False)
    same: bool


class Replay:
    """A recording, ready to run again.

    With the options it was recorded with, the result is the same to the bit. With others, plans, budget and
    scheduler are those of the new options; where these ask for what nobody looked at then, the patch counts as
    changed, the cost as that of as many others, and the vector stays what it was: `guesses` counts such answers.

    Zones and rules are left out, and so is what was lost before the recording.

    Args:
        path: Of the recording.
        **options: Of `StreamConfig`, instead of the recorded ones.

    Raises:
        RecordingError: It is no recording.
        ConfigError: An option is unknown or wrong.

    Attributes:
        header: Of the recording.
        config: Used for this run.
        stats: As of a live stream.
        guesses: Answers that the recording does not hold.
        events: Of the run, in order.
    """

    def __init__(self, path: str | Path, **options: Any) -> None:
        self._reader = RecordingReader(path)
        self.header: Header = self._reader.header
        try:
            self.config = _config(self.header, options)
        except BaseException:
            self._reader.close()
            raise
        self.stats = StreamStats()
        self.guesses = 0
        self.events: list[StreamEvent] = []

    @property
    def damaged(self) -> str:
        """What is wrong behind the last whole chunk; empty when nothing is."""
        return self._reader.damaged

    @property
    def units(self) -> int:
        """Access units in the recording."""
        return self._reader.entries

    def run(self, *, observe: Callable[[FrameTrace], None] | None = None) -> Iterator[Replayed]:
        """Yields what each access unit gives; may be run once.

        Args:
            observe: Called with a `FrameTrace` after every picture; its pictures are grey.
        """
        script, model = _Script(self.header, self.stats), _Model(self.header)
        worker = StreamWorker(
            self.config,
            encoder=model,
            stats=self.stats,
            restore=self.header.checkpoint,
            on_event=lambda kind, detail: self.events.append(
                StreamEvent(kind, self.config.stream_id, script.now_ns, detail)
            ),
            observe=observe,
            wall_clock_ns=script.publish_time_ns,
            parts=Parts(
                _Reader(script),
                _Pixels(script, self.stats),
                lambda grid, size: _Sight(script, model.dense_flops(grid), grid[0] * grid[1]),
            ),
        )
        for entry in self._reader.units():
            script.begin(entry)
            every, budget, whole = entry.effort
            worker.effort = Effort(every=every, budget=budget, whole=whole)
            found = worker.flush() if entry.unit is None else worker.process(entry.unit)
            same = [fingerprint(one) for one in found] == [crc for _, crc in entry.published]
            self.guesses = script.guesses
            yield Replayed(entry.unit, found, same)
        worker.close()

    def close(self) -> None:
        """Closes the file."""
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _config(header: Header, options: Mapping[str, Any]) -> StreamConfig:
    """The recorded options with some replaced."""
    recorded = StreamConfig.model_validate({**header.config, "url": "recording"})
    if not options:
        return recorded
    chosen = stream_config(recorded.url, **options).model_dump(exclude_unset=True)
    return changed_config(recorded, chosen)


class _Script:
    """What the recording says about the access unit at hand."""

    def __init__(self, header: Header, stats: StreamStats) -> None:
        self.guesses = 0
        self.now_ns = header.started_ns
        self.entry = UnitEntry(unit=None)
        self._stats = stats
        self._steps: list[Step] = []
        self._looked: dict[int, bool] = {}
        self._times: list[int] = []

    def begin(self, entry: UnitEntry) -> None:
        """Turns to the next unit."""
        self.entry = entry
        self._steps = list(entry.steps)
        self._times = [when for when, _ in entry.published]
        self._looked = {
            int(index): bool(differs)
            for step in entry.steps
            if isinstance(step, Differed)
            for index, differs in zip(step.indices, step.differs, strict=True)
        }
        stats = self._stats
        stats.source_lost, stats.dropped, stats.frames_decoded = entry.counters

    def publish_time_ns(self) -> int:
        """When the next embedding was published; between two, the time of the one before."""
        if self._times:
            self.now_ns = self._times.pop(0)
        return self.now_ns

    def next(self, kind: type[_StepT]) -> _StepT | None:
        """The next answer, if it is of this kind."""
        if self._steps and isinstance(self._steps[0], kind):
            return cast(_StepT, self._steps.pop(0))
        return None

    def expect(self, kind: type[_StepT]) -> _StepT | None:
        """The next answer of this kind, skipping others; None, counted, when there is none left."""
        while self._steps:
            step = self._steps.pop(0)
            if isinstance(step, kind):
                return step
        self.guesses += 1
        return None

    def differs(self, index: int) -> bool:
        """Whether a patch had changed; one that nobody looked at counts as changed."""
        found = self._looked.get(index)
        self.guesses += found is None
        return found is not False


class _Reader:
    memory_bytes = 0

    def __init__(self, script: _Script) -> None:
        self._script = script

    @property
    def fallback_reason(self) -> str | None:
        return self._script.entry.fallback

    @property
    def waits(self) -> bool:
        return self._script.entry.waits

    def read(self, unit: AccessUnit, *, every: int = 1) -> Sequence[Reading]:
        entry = self._script.entry
        if entry.error:
            raise InvalidBitstream(entry.error)
        return self.flush()

    def flush(self) -> Sequence[Reading]:
        entry = self._script.entry
        stand_in = AccessUnit("recording", b"", None, Fraction(1), keyframe=False)
        return [
            Reading(one, _grey(one.pts) if entry.by_decoder else None, stand_in if kept else None)
            for one, kept in zip(entry.frames, entry.kept, strict=True)
        ]

    def close(self) -> None:
        return


class _Pixels:
    memory_bytes = 0

    def __init__(self, script: _Script, stats: StreamStats) -> None:
        self._script, self._stats = script, stats

    def push(self, unit: AccessUnit, *, reference: bool) -> None:
        step = self._script.next(Pushed)
        self._stats.frames_decoded += 0 if step is None else step.units

    def picture(self) -> Picture:
        step = self._script.expect(Decoded) or Decoded(damaged=False, error="", units=1)
        self._stats.frames_decoded += step.units
        if step.error:
            raise DecodeError(step.error)
        return _grey(None, damaged=step.damaged)

    def close(self) -> None:
        return


class _Model:
    """Facts about the model that made the recording."""

    def __init__(self, header: Header) -> None:
        self.info = header.model
        self.mode = header.mode
        self._dense_flops = header.dense_flops

    def dense_flops(self, grid: tuple[int, int]) -> int:
        """Operations of a whole pass."""
        return self._dense_flops[grid[0] * grid[1] - 1]


class _Sight:
    memory_bytes = 0

    def __init__(self, script: _Script, dense_flops: int, patches: int) -> None:
        self._script = script
        self._patches = patches
        self._flops_per_patch = dense_flops / patches
        self.output: Output | None = None

    def cut(self, picture: Picture, indices: Indices, masked: BoolArray) -> Patches:
        pixels = np.zeros((indices.size, 3, 1, 1), np.float32)
        return Patches(indices, pixels, (masked.shape[0], masked.shape[1]))

    def differs(self, patches: Patches) -> BoolArray:
        return np.array([self._script.differs(int(index)) for index in patches.indices], np.bool_)

    def choose_probes(self, taken: Indices) -> Indices:
        step = self._script.expect(Probed)
        if step is None:
            return taken[:0]
        return step.chosen[~np.isin(step.chosen, taken)]

    def encode(self, patches: Patches, probes: Patches | None) -> Output:
        step = self._script.expect(Encoded)
        asked = patches.indices if probes is None else np.concatenate([patches.indices, probes.indices])
        output = self._guessed(asked.size) if step is None else self._recorded(step, asked)
        self.output = replace(output, event=None, n_updated=0, flops=0)
        return output

    def refresh(self) -> Output:
        step = self._script.expect(Encoded)
        output = self._guessed(self._patches) if step is None else self._recorded(step, NOTHING)
        self.output = replace(output, event=None, n_updated=0, flops=0)
        return output

    def collapse(self, patches: Patches, output: Output) -> str | None:
        step = self._script.next(Watched)
        return None if step is None else step.problem

    def _recorded(self, step: Encoded, asked: npt.NDArray[np.integer]) -> Output:
        output = Output(
            step.scene, step.event, step.n_updated, step.flops, drift=step.drift, staleness=step.staleness
        )
        if np.array_equal(asked, np.concatenate([step.indices, step.probes])):
            return output
        self._script.guesses += 1  # the vector is that of other patches; the cost is counted anew
        return replace(output, n_updated=asked.size, flops=round(asked.size * self._flops_per_patch))

    def _guessed(self, asked: int) -> Output:
        if self.output is None:
            raise RecordingError("the recording holds no vector before this picture: nothing was encoded yet")
        return replace(self.output, n_updated=asked, flops=round(asked * self._flops_per_patch))


def _grey(pts: int | None, *, damaged: bool = False) -> Picture:
    return Picture(_GREY, _GREY[:1, :1], _GREY[:1, :1], pts, full_range=True, matrix="bt709", damaged=damaged)
