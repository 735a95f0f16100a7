"""What page, REST API, metrics and load policy know of one stream: small, plain, and the same wherever it runs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

from ovstream.pipeline import FrameTrace, Latency

State = Literal["starting", "live", "waiting", "paused", "ended", "failed", "stopped"]
Origin = Literal["file", "api"]


@dataclass(frozen=True, slots=True)
class Seen:
    """The newest picture, without its planes.

    Attributes:
        codec: As in `AccessUnit`.
        size: (width, height) in samples.
        fallback: Its metadata needed a decoder.
        drift: As in `Embedding`.
        activity: By zone.
        novelty: By zone.
    """

    codec: str
    size: tuple[int, int]
    fallback: bool
    drift: float | None
    activity: dict[str, float]
    novelty: dict[str, float]

    @classmethod
    def of(cls, trace: FrameTrace) -> Self:
        """Of one picture."""
        frame, scores = trace.frame, trace.scores
        return cls(
            codec=frame.codec,
            size=(frame.width, frame.height),
            fallback=frame.origin != "bitstream",
            drift=None if trace.drift is None else float(trace.drift),
            activity={name: float(value) for name, value in scores.activity.items()},
            novelty={name: float(value) for name, value in scores.novelty.items()},
        )


@dataclass(frozen=True, slots=True)
class Facts:
    """How one stream is.

    Attributes:
        state: In one word.
        detail: Why, where there is something to say.
        opened: It has been opened once, or was tried at least.
        restarts: Times it was started again.
        abandoned: Threads that hang and were left behind.
        memory_bytes: As in `Stream`.
        active_rules: As in `Stream`.
        conditions: As in `Stream`.
        model: Name of its model; None while none is loaded.
        trained: Likewise.
        totals: Counters over all lives, as in `StreamStats`; they only grow.
        latency_counts: Of the latency histogram, over all lives.
        latency_seconds: Their sum.
        seen: The newest picture; None before the first.
    """

    state: State
    detail: str = ""
    opened: bool = False
    restarts: int = 0
    abandoned: int = 0
    memory_bytes: int = 0
    active_rules: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    model: str | None = None
    trained: bool | None = None
    totals: dict[str, Any] = field(default_factory=dict)
    latency_counts: list[int] = field(default_factory=lambda: list(Latency().counts))
    latency_seconds: float = 0.0
    seen: Seen | None = None

    def as_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `as_dict`."""
        seen = values.pop("seen")
        return cls(**values, seen=None if seen is None else Seen(**seen))


def added(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Sums two dictionaries of numbers, and of dictionaries of numbers."""
    result = dict(one)
    for name, value in other.items():
        old = result.get(name)
        result[name] = added(old or {}, value) if isinstance(value, dict) else value + (old or 0)
    return result
