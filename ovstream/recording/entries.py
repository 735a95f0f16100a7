"""What happened to one access unit: what was read, and every answer that needed its pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from fractions import Fraction
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from ovstream.errors import RecordingError
from ovstream.recording.columns import Columns
from ovstream.recording.planes import pack_frame, unpack_frame
from ovstream.types import AccessUnit, BoolArray, FloatArray, FrameMetadata

Indices = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Pushed:
    """A unit was put away for the decoder.

    Attributes:
        units: Access units that were decoded to make room.
    """

    tag: ClassVar[str] = "psh"
    units: int


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """The decoder was asked for the newest picture.

    Attributes:
        damaged: It made up parts.
        error: Why there was none; empty when there was one.
        units: Access units that it worked on.
    """

    tag: ClassVar[str] = "dec"
    damaged: bool
    error: str
    units: int


@dataclass(frozen=True, slots=True, eq=False)
class Differed:
    """Patches were compared with what was last encoded at their place.

    Attributes:
        indices: (n,) int32, flat patch numbers.
        differs: (n,) bool.
    """

    tag: ClassVar[str] = "dif"
    indices: Indices
    differs: BoolArray


@dataclass(frozen=True, slots=True, eq=False)
class Probed:
    """Probes were chosen.

    Attributes:
        taken: (n,) int32, patches that are encoded anyway.
        chosen: (p,) int32.
    """

    tag: ClassVar[str] = "prb"
    taken: Indices
    chosen: Indices


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """The model ran.

    Attributes:
        indices: (n,) int32, patches.
        probes: (p,) int32, probes beside them.
        scene: (D,) float32.
        event: (D,) float32, or None.
        n_updated: As in the encoder's output, as the rest.
        flops: Operations.
        drift: Estimated error, or None.
        staleness: Calls.
    """

    tag: ClassVar[str] = "enc"
    indices: Indices
    probes: Indices
    scene: FloatArray
    event: FloatArray | None
    n_updated: int
    flops: int
    drift: float | None
    staleness: int


@dataclass(frozen=True, slots=True, eq=False)
class Watched:
    """A whole pass was checked for collapse.

    Attributes:
        problem: What was complained about; None when nothing was.
    """

    tag: ClassVar[str] = "col"
    problem: str | None


Step = Pushed | Decoded | Differed | Probed | Encoded | Watched
_STEPS: dict[str, type[Step]] = {
    one.tag: one for one in (Pushed, Decoded, Differed, Probed, Encoded, Watched)
}
_CODES: dict[str, np.dtype[Any]] = {
    "i": np.dtype("<i4"),
    "f": np.dtype("<f4"),
    "h": np.dtype("<f2"),
    "b": np.dtype("?"),
}


@dataclass(frozen=True, slots=True, eq=False)
class UnitEntry:
    """One access unit.

    Attributes:
        unit: As it came, without its bytes; None: what a decoder still held at the end of the stream.
        frames: What the parser told; several where a decoder reorders.
        by_decoder: A decoder had to make the pictures: there is no parser for this stream.
        fallback: Why, as the reader says; None while the parser reads.
        error: Why nothing could be read; empty when something was.
        waits: The reader waits for the rest of the picture.
        kept: Which of the frames belong to a unit that is put away for the decoder.
        steps: Every answer that needed pixels, in order.
        effort: (every, budget, whole) of the moment.
        counters: `source_lost`, `dropped` and `frames_decoded` before the unit.
        published: (publish_time_ns, crc32 of the message) of each embedding.
    """

    unit: AccessUnit | None
    frames: tuple[FrameMetadata, ...] = ()
    by_decoder: bool = False
    fallback: str | None = None
    error: str = ""
    waits: bool = False
    kept: tuple[bool, ...] = ()
    steps: tuple[Step, ...] = field(default=(), repr=False)
    effort: tuple[int, float, bool] = (1, 1.0, True)
    counters: tuple[int, int, int] = (0, 0, 0)
    published: tuple[tuple[int, int], ...] = ()

    @property
    def keyframe(self) -> bool:
        """A replay can start here."""
        return self.unit is not None and self.unit.keyframe

    def as_map(self, columns: Columns, *, whole: bool = False) -> dict[str, Any]:
        """For msgpack.

        Args:
            columns: Take what is large.
            whole: See `pack_frame`.
        """
        return {
            "u": None if self.unit is None else _pack_unit(self.unit),
            "f": [pack_frame(one, columns, whole=whole) for one in self.frames],
            "d": self.by_decoder,
            "w": self.fallback,
            "e": self.error,
            "h": self.waits,
            "k": list(self.kept),
            "s": [_pack_step(one, columns) for one in self.steps],
            "o": list(self.effort[: 2 + (not self.effort[2])]),  # two of them: as earlier versions wrote it
            "c": list(self.counters),
            "p": [list(one) for one in self.published],
        }

    @classmethod
    def from_map(cls, found: Any, columns: Columns) -> Self:
        """Reads what `as_map` gave.

        Raises:
            RecordingError: It is something else.
        """
        try:
            every, budget, *rest = found["o"]
            lost, dropped, decoded = found["c"]
            return cls(
                unit=None if found["u"] is None else _unpack_unit(found["u"]),
                frames=tuple(unpack_frame(one, columns) for one in found["f"]),
                by_decoder=found["d"],
                fallback=found["w"],
                error=found["e"],
                waits=found["h"],
                kept=tuple(found["k"]),
                steps=tuple(_unpack_step(one, columns) for one in found["s"]),
                effort=(every, budget, bool(rest[0]) if rest else True),
                counters=(lost, dropped, decoded),
                published=tuple((when, crc) for when, crc in found["p"]),
            )
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise RecordingError(f"an entry of the recording is damaged: {error!r}") from None


def _pack_unit(unit: AccessUnit) -> list[Any]:
    return [
        unit.codec, unit.pts, unit.time_base.numerator, unit.time_base.denominator, unit.keyframe,
        unit.discontinuity, unit.params_changed, unit.arrival_ns, unit.capture_time_ns, unit.clock_quality, unit.epoch,
    ]  # fmt: skip


def _unpack_unit(found: list[Any]) -> AccessUnit:
    codec, pts, over, under, keyframe, gap, params, arrival, capture, quality, epoch = found
    return AccessUnit(
        codec, b"", pts, Fraction(over, under), keyframe, discontinuity=gap, params_changed=params,
        arrival_ns=arrival, capture_time_ns=capture, clock_quality=quality, epoch=epoch,
    )  # fmt: skip


def _pack_step(step: Step, columns: Columns) -> list[Any]:
    return [step.tag, *(_pack_value(getattr(step, one.name), columns) for one in fields(step))]


def _unpack_step(found: list[Any], columns: Columns) -> Step:
    tag, *values = found
    return _STEPS[tag](*(_unpack_value(value, columns) for value in values))


def _pack_value(value: Any, columns: Columns) -> Any:
    """Arrays go to columns and leave a map with their type and length; all else is plain."""
    if not isinstance(value, np.ndarray):
        return value
    code = {"i": "i", "u": "i", "f": "f", "b": "b"}[value.dtype.kind]
    if code == "f" and np.array_equal(rounded(value), value):
        code = "h"
    values = value.astype(_CODES[code])
    columns.put(f"array.{code}", np.diff(values, prepend=0).astype(values.dtype) if code == "i" else values)
    return {code: len(values)}


def _unpack_value(value: Any, columns: Columns) -> Any:
    if not isinstance(value, Mapping):
        return value
    ((code, count),) = value.items()
    values = columns.take(f"array.{code}", _CODES[code], count)
    if code == "i":
        return values.cumsum(dtype=np.int32)
    return values.astype(np.float32) if code == "h" else values


def rounded(vector: FloatArray) -> FloatArray:
    """(D,) float32 of numbers that 16 bits hold, as nearly all messages carry them; as it was where they do not."""
    with np.errstate(over="ignore"):
        halves = vector.astype(_CODES["h"]).astype(np.float32)
    return halves if np.isfinite(halves).all() else vector
