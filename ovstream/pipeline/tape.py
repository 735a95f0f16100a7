"""Writes down what a worker reads, sees and publishes."""

from __future__ import annotations

import contextlib
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ovstream import __version__
from ovstream.config import StreamConfig
from ovstream.decode import Picture
from ovstream.encode import Encoder, Output
from ovstream.errors import ConfigError, DecodeError, OvstreamError, RecordingError
from ovstream.pipeline.effort import Effort
from ovstream.pipeline.metadata import Reading
from ovstream.pipeline.parts import Parts, Pixels, Reader
from ovstream.pipeline.sight import Indices, Sight
from ovstream.pipeline.stats import StreamStats
from ovstream.recording import (
    Decoded,
    Differed,
    Encoded,
    Header,
    Probed,
    Pushed,
    RecordingWriter,
    UnitEntry,
    Watched,
)
from ovstream.recording.cells import coarse
from ovstream.recording.entries import Step, rounded
from ovstream.recording.names import new_recording
from ovstream.types import AccessUnit, BoolArray, Embedding, Patches
from ovstream.wire import encode

_MEGABYTE = 10**6
NOTHING = np.zeros(0, np.int32)
_RECORDED: dict[str, Any] = {
    "stream_id": True,
    "emit": True,
    "kinds": True,
    "plan": True,
    "encode": True,
    "source": {"max_pixels", "queue_units"},
}  # neither address nor credentials, nor where results go


class Tape:
    """Listens to the parts of one worker and writes an entry per access unit.

    When the disk refuses or the file is full, the recording ends with an event; the stream goes on.

    Args:
        writer: Where to; closed by `close`.
        stats: Of the worker.
        on_event: Called with one sentence when the recording ends early.
        events: Keep the event vectors of the encoder too.
        whole: Keep all that the bitstream said, exactly. Otherwise residual energy, bits and vectors are rounded before
            the worker sees them: what runs is what a replay will run.
        wall_clock_ns: UTC, Unix.
    """

    def __init__(
        self,
        writer: RecordingWriter,
        *,
        stats: StreamStats,
        on_event: Callable[[str], None],
        events: bool = False,
        whole: bool = False,
        wall_clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.stats = stats
        self.events = events
        self.whole = whole
        self.path = writer.path
        self._writer: RecordingWriter | None = writer
        self._on_event = on_event
        self._wall_clock_ns = wall_clock_ns
        self._entry: UnitEntry | None = None
        self._steps: list[Step] = []

    def listen(self, parts: Parts) -> Parts:
        """The same parts, overheard."""
        return Parts(
            _Reader(parts.reader, self),
            _Pixels(parts.pixels, self),
            lambda grid, size: _Sight(parts.sight(grid, size), self),
        )

    def begin(self, unit: AccessUnit | None, *, effort: Effort) -> None:
        """Starts the entry of a unit; None: of what a decoder still holds at the end."""
        stats = self.stats
        self._entry = UnitEntry(
            unit=None if unit is None else replace(unit, data=b"", extradata=b""),
            effort=(effort.every, effort.budget, effort.whole),
            counters=(stats.source_lost, stats.dropped, stats.frames_decoded),
        )
        self._steps = []

    def end(self, results: Sequence[Embedding]) -> None:
        """Finishes the entry and writes it."""
        if self._entry is None:
            return
        published = tuple((one.publish_time_ns, fingerprint(one)) for one in results)
        entry = replace(self._entry, steps=tuple(self._steps), published=published)
        self._entry = None
        if self._writer is None:
            return
        try:
            self._writer.add(entry, now_ns=self._wall_clock_ns())
        except RecordingError as error:
            self._stop(f"the recording ends: {error}")
        else:
            if self._writer.full:
                self._stop(f"the recording ends: {self._writer.path} has reached its size")

    def close(self) -> None:
        """Writes what waits and closes the file; may be called twice."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.close()

    def note(self, step: Step) -> None:
        """Adds an answer that needed pixels; outside of a unit, where somebody just wants to see, it counts not."""
        if self._entry is not None:
            self._steps.append(step)

    def amend(self, **changes: object) -> None:
        """Adds to the entry of the unit on its way."""
        if self._entry is not None:
            self._entry = replace(self._entry, **changes)  # type: ignore[arg-type]

    def _stop(self, why: str) -> None:
        with contextlib.suppress(RecordingError):  # the first complaint says it
            self.close()
        self._on_event(why)


def open_tape(
    config: StreamConfig,
    *,
    encoder: Encoder,
    stats: StreamStats,
    epoch: int,
    next_seq: int,
    on_event: Callable[[str], None],
) -> Tape | None:
    """Starts the recording that a configuration asks for; None when it asks for none.

    Raises:
        ConfigError: The stream publishes tokens, which no recording holds.
        RecordingError: The file cannot be made.
    """
    if config.record.path is None:
        return None
    if "tokens" in config.kinds:
        raise ConfigError("record: a recording holds no tokens; leave 'tokens' out of 'kinds'")
    started_ns = time.time_ns()
    path = new_recording(
        Path(config.record.path),
        stream_id=config.stream_id,
        started_ns=started_ns,
        max_files=config.record.max_files,
    )
    sizes = range(1, encoder.info.max_tokens + 1)
    header = Header(
        stream_id=config.stream_id,
        started_ns=started_ns,
        epoch=epoch,
        next_seq=next_seq,
        config=config.model_dump(mode="json", include=_RECORDED),
        model=encoder.info,
        mode=encoder.mode,
        dense_flops=tuple(encoder.dense_flops((1, patches)) for patches in sizes),
        software=__version__,
        whole=config.record.depth == "all",
    )
    most = config.record.max_megabytes
    writer = RecordingWriter(path, header, max_bytes=None if most is None else most * _MEGABYTE)
    return Tape(writer, stats=stats, on_event=on_event, events="event" in config.kinds, whole=header.whole)


def fingerprint(embedding: Embedding) -> int:
    """CRC-32 of the message that carries an embedding in full precision: equal for embeddings equal to the bit."""
    return zlib.crc32(b"".join(encode(embedding, dtype="float32")))


class _Reader:
    def __init__(self, inner: Reader, tape: Tape) -> None:
        self._inner, self._tape = inner, tape

    @property
    def fallback_reason(self) -> str | None:
        return self._inner.fallback_reason

    @property
    def waits(self) -> bool:
        return self._inner.waits

    @property
    def memory_bytes(self) -> int:
        return self._inner.memory_bytes

    def read(self, unit: AccessUnit, *, every: int = 1) -> Sequence[Reading]:
        try:
            readings = self._inner.read(unit, every=every)
        except OvstreamError as error:
            self._tape.amend(error=str(error))
            raise
        finally:
            self._tape.amend(fallback=self._inner.fallback_reason, waits=self._inner.waits)
        return self._noted(readings)

    def flush(self) -> Sequence[Reading]:
        return self._noted(self._inner.flush())

    def close(self) -> None:
        self._inner.close()

    def _noted(self, readings: Sequence[Reading]) -> Sequence[Reading]:
        if not self._tape.whole:
            readings = [replace(one, frame=coarse(one.frame)) for one in readings]
        self._tape.amend(
            frames=tuple(one.frame for one in readings),
            by_decoder=any(one.picture is not None for one in readings),
            kept=tuple(one.unit is not None for one in readings),
        )
        return readings


class _Pixels:
    def __init__(self, inner: Pixels, tape: Tape) -> None:
        self._inner, self._tape = inner, tape

    @property
    def memory_bytes(self) -> int:
        return self._inner.memory_bytes

    def push(self, unit: AccessUnit, *, reference: bool) -> None:
        before = self._tape.stats.frames_decoded
        self._inner.push(unit, reference=reference)
        self._tape.note(Pushed(self._tape.stats.frames_decoded - before))

    def picture(self) -> Picture:
        before = self._tape.stats.frames_decoded
        damaged, trouble = False, ""
        try:
            picture = self._inner.picture()
            damaged = picture.damaged
        except DecodeError as error:
            trouble = str(error)
            raise
        finally:
            self._tape.note(Decoded(damaged, trouble, self._tape.stats.frames_decoded - before))
        return picture

    def close(self) -> None:
        self._inner.close()


class _Sight:
    def __init__(self, inner: Sight, tape: Tape) -> None:
        self._inner, self._tape = inner, tape

    @property
    def output(self) -> Output | None:
        known = self._inner.output
        return None if known is None else self._rounded(known)

    @property
    def memory_bytes(self) -> int:
        return self._inner.memory_bytes

    def cut(self, picture: Picture, indices: Indices, masked: BoolArray) -> Patches:
        return self._inner.cut(picture, indices, masked)

    def differs(self, patches: Patches) -> BoolArray:
        differs = self._inner.differs(patches)
        self._tape.note(Differed(patches.indices, differs))
        return differs

    def choose_probes(self, taken: Indices) -> Indices:
        chosen = self._inner.choose_probes(taken)
        self._tape.note(Probed(taken, chosen))
        return chosen

    def encode(self, patches: Patches, probes: Patches | None) -> Output:
        output = self._inner.encode(patches, probes)
        return self._noted(output, patches.indices, NOTHING if probes is None else probes.indices)

    def refresh(self) -> Output:
        return self._noted(self._inner.refresh(), NOTHING, NOTHING)

    def _rounded(self, output: Output) -> Output:
        if self._tape.whole:
            return output
        event = None if output.event is None else rounded(output.event)
        return replace(output, scene=rounded(output.scene), event=event)

    def _noted(self, output: Output, indices: Indices, probes: Indices) -> Output:
        output = self._rounded(output)
        self._tape.note(
            Encoded(
                indices,
                probes,
                output.scene,
                output.event if self._tape.events else None,
                output.n_updated,
                output.flops,
                output.drift,
                output.staleness,
            )
        )
        return output

    def collapse(self, patches: Patches, output: Output) -> str | None:
        problem = self._inner.collapse(patches, output)
        self._tape.note(Watched(problem))
        return problem
