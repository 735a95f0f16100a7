"""The last ten minutes of one stream, second by second."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from ovstream.pipeline import Latency

TIMELINE_SECONDS = 600
WINDOW_SECONDS = 10
STAGES = ("parse", "plan", "decode", "crop", "encode", "health", "watch")
_MOVES = 0.02  # activity above which something moved


@dataclass(frozen=True, slots=True)
class Second:
    """One second of a stream.

    Attributes:
        time: Wall clock at its end.
        activity: Highest of the whole picture.
        novelty: Likewise.
        actions: Pictures by action: skip, sparse, dense.
        cpu: Cores, per stage of `STAGES`.
        latencies: New entries in the latency histogram.
        latency: Their mean; None without any.
        dropped: Units and results left out because somebody was too slow.
    """

    time: float
    activity: float
    novelty: float
    actions: tuple[int, int, int]
    cpu: tuple[float, ...]
    latencies: list[int]
    latency: float | None
    dropped: int

    def as_point(self) -> dict[str, Any]:
        """For the timelines of the page."""
        skip, sparse, dense = self.actions
        late = Latency(self.latencies).quantile(0.9)
        return {
            "t": round(self.time, 1),
            "activity": round(self.activity, 4),
            "novelty": round(self.novelty, 3),
            "skip": skip,
            "sparse": sparse,
            "dense": dense,
            "cpu": round(sum(self.cpu), 4),
            "latency": None if late is None else round(late, 4),
        }


class Timeline:
    """Keeps the seconds of a stream.

    Attributes:
        seconds: The newest last.
        last_motion: Wall clock, seconds, when something moved last; None: nothing did so far.
    """

    def __init__(self) -> None:
        self.seconds: deque[Second] = deque(maxlen=TIMELINE_SECONDS)
        self.last_motion: float | None = None

    def add(self, second: Second) -> None:
        """Appends one."""
        if second.activity > _MOVES:
            self.last_motion = second.time
        self.seconds.append(second)

    def window(self, seconds: int = WINDOW_SECONDS) -> list[Second]:
        """The newest seconds."""
        return list(self.seconds)[-seconds:]

    def rates(self) -> dict[str, Any]:
        """Averages over the window, for JSON."""
        window = self.window()
        length = max(len(window), 1)
        actions = np.sum([one.actions for one in window] or [(0, 0, 0)], axis=0)
        pictures = max(int(actions.sum()), 1)
        cpu = np.sum([one.cpu for one in window] or [(0.0,) * len(STAGES)], axis=0) / length
        return {
            "fps": round(int(actions.sum()) / length, 2),
            "shares": {
                name: round(int(count) / pictures, 4)
                for name, count in zip(("skip", "sparse", "dense"), actions, strict=True)
            },
            "cpu": {name: round(float(value), 4) for name, value in zip(STAGES, cpu, strict=True)},
            "latency": self.latency(60),
            "latency_now": _rounded(self.window(1)[0].latency) if self.seconds else None,
        }

    def latency(self, seconds: int) -> dict[str, float | None]:
        """Quantiles of the newest seconds."""
        window = self.window(seconds)
        if not window:
            return {"p50": None, "p99": None}
        total = Latency([sum(column) for column in zip(*(one.latencies for one in window), strict=True)])
        return {"p50": _rounded(total.quantile(0.5)), "p99": _rounded(total.quantile(0.99))}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
