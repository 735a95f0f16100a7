"""What a person wants to know about one stream, kept small: the newest picture, scores, and the last ten minutes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ovstream.errors import DecodeError
from ovstream.pipeline import FrameTrace, Latency, StreamStats
from ovstream.service.preview import jpeg
from ovstream.service.timeline import STAGES, Second, Timeline
from ovstream.types import Action, BlockClass, BoolArray, FloatArray
from ovstream.watch import WHOLE

_LEAST_MOTION_PX = 0.5
_AGE_CAP_SECONDS = 3600.0
_FRESH_SECONDS = 1.0

Decode = Callable[[], Awaitable[tuple[Any, BoolArray]]]


class Monitor:
    """Watches one stream. `observe` runs in the stream's thread, everything else in the event loop.

    Args:
        clock: Monotonic seconds.
        wall_clock: Seconds (UTC, Unix).
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, wall_clock: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._wall_clock = wall_clock
        self.trace: FrameTrace | None = None
        self.pictures = 0
        self.picture: Any = None  # the newest decoded one
        self.picture_masked: BoolArray | None = None
        self.picture_at = float("-inf")
        self.timeline = Timeline()
        self._encoded_at: npt.NDArray[np.float64] | None = None
        self._actions = {"skip": 0, "sparse": 0, "dense": 0}
        self._activity = self._novelty = 0.0
        self._seen: tuple[dict[str, float], list[int], float, int] | None = None

    def observe(self, trace: FrameTrace) -> None:
        """Takes note of a picture."""
        now = self._clock()
        if self._encoded_at is None or self._encoded_at.shape != trace.encoded.shape:
            self._encoded_at = np.full(trace.encoded.shape, -np.inf)
        self._encoded_at[trace.encoded] = now
        action: Action = "skip" if not trace.encoded.any() else "dense" if trace.encoded.all() else "sparse"
        self._actions[action] += 1
        self._activity = max(self._activity, trace.scores.activity.get(WHOLE, 0.0))
        self._novelty = max(self._novelty, trace.scores.novelty.get(WHOLE, 0.0))
        if trace.picture is not None:
            self.picture, self.picture_masked, self.picture_at = trace.picture, trace.masked, now
        self.trace = trace
        self.pictures += 1

    async def jpeg(self, decode: Decode | None, *, width: int) -> bytes | None:
        """The newest picture as JPEG; None before the first.

        Args:
            decode: Gives a newer one, if the last is older than a second; None: the last is good enough.
            width: See `preview.jpeg`.
        """
        if decode is not None and self._clock() - self.picture_at > _FRESH_SECONDS:
            with contextlib.suppress(DecodeError):
                self.picture, self.picture_masked = await decode()
                self.picture_at = self._clock()
        if self.picture is None or self.picture_masked is None:
            return None
        return await asyncio.to_thread(jpeg, self.picture, self.picture_masked, width=width)

    def forget_picture(self) -> None:
        """Drops the newest picture: it may show what a new mask hides."""
        self.picture, self.picture_masked, self.picture_at = None, None, float("-inf")

    def forget_rates(self) -> None:
        """Starts anew: the counters of a new stream begin at zero."""
        self._seen = None

    def tick(self, stats: StreamStats, latency: Latency) -> None:
        """Closes a second."""
        now = dict(stats.cpu_seconds), list(latency.counts), latency.sum_seconds, stats.overrun
        (cpu, counts, late, dropped), (old_cpu, old_counts, old_late, old_dropped) = now, self._seen or now
        self._seen = now
        came = sum(counts) - sum(old_counts)
        actions, self._actions = self._actions, {"skip": 0, "sparse": 0, "dense": 0}
        second = Second(
            time=self._wall_clock(),
            activity=self._activity,
            novelty=self._novelty,
            actions=(actions["skip"], actions["sparse"], actions["dense"]),
            cpu=tuple(cpu.get(stage, 0.0) - old_cpu.get(stage, 0.0) for stage in STAGES),
            latencies=[new - old for new, old in zip(counts, old_counts, strict=True)],
            latency=(late - old_late) / came if came else None,
            dropped=dropped - old_dropped,
        )
        if self.trace is not None:  # a second without a picture shows what the last one did
            scores = self.trace.scores
            self._activity, self._novelty = scores.activity.get(WHOLE, 0.0), scores.novelty.get(WHOLE, 0.0)
        self.timeline.add(second)

    def overlay(self) -> dict[str, Any] | None:
        """What may be drawn over the picture, per patch; None before the first.

        `ages` are seconds since a patch was encoded, `vectors` are [patch, x, y] in luma samples: how far its
        content moved since the picture before.
        """
        trace, encoded_at = self.trace, self._encoded_at
        if trace is None or encoded_at is None:
            return None
        ages = np.minimum(self._clock() - encoded_at, _AGE_CAP_SECONDS).ravel()
        return {
            "size": [trace.frame.width, trace.frame.height],
            "grid": list(trace.encoded.shape),
            "changed": np.flatnonzero(trace.plan.changed).tolist(),
            "masked": np.flatnonzero(trace.masked).tolist(),
            "ages": [round(float(age), 1) for age in ages],
            "vectors": _vectors(trace),
            "reason": trace.plan.reason,
            "slice": trace.frame.slice_type,
        }


def _vectors(trace: FrameTrace) -> list[list[float]]:
    """Mean motion of the content of every patch that moves, from the first motion vector of its cells."""
    frame = trace.frame
    rows, cols = trace.encoded.shape
    blocks = frame.blocks
    cell_rows = (16 * np.arange(blocks.shape[0]) + 8).clip(max=frame.height - 1) * rows // frame.height
    cell_cols = (16 * np.arange(blocks.shape[1]) + 8).clip(max=frame.width - 1) * cols // frame.width
    patch = (cell_rows[:, None] * cols + cell_cols[None, :]).ravel()
    moved = (blocks["ref_idx"][:, :, 0] >= 0) & (blocks["block_class"] != BlockClass.SKIP)
    motion: FloatArray = -0.25 * blocks["mv"][:, :, 0].astype(np.float32)  # a vector points back
    motion[~moved] = 0
    cells = np.bincount(patch, minlength=rows * cols).clip(min=1)
    x = np.bincount(patch, motion[..., 0].ravel(), minlength=rows * cols) / cells
    y = np.bincount(patch, motion[..., 1].ravel(), minlength=rows * cols) / cells
    shown = np.flatnonzero((np.hypot(x, y) >= _LEAST_MOTION_PX) & ~trace.masked.ravel())
    return [[int(index), round(float(x[index]), 1), round(float(y[index]), 1)] for index in shown]
