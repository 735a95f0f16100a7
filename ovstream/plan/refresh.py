"""When everything is encoded again, and for what reason."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ovstream.config import PlanConfig
from ovstream.types import FrameMetadata

ROUNDING_SECONDS = 1e-6
ASSUMED_FPS = 25.0  # for streams without time stamps
EARLY_REFRESH = 0.8  # of the schedule: a keyframe this late is taken, since it is the cheapest to decode
PROBE_SECONDS = 1.0
MAX_KEYFRAME_GROWTH = 1.5  # in bits, either way, of a keyframe whose cells were not parsed


@dataclass(frozen=True, slots=True)
class Causes:
    """What speaks for a dense pass at one picture.

    Attributes:
        cut: Another scene.
        camera: The view shifted since the last dense pass.
        lost: Most patches are unknown, or were and are whole again.
        change: Most patches changed or wait.
    """

    cut: bool
    camera: bool
    lost: bool
    change: bool


class Refresh:
    """Clock of a stream and schedule of its dense passes.

    Args:
        config: `refresh_seconds` and `dense_interval_seconds` are read.
        keyframes_refresh: Each keyframe is a cause.
        stagger: Share of the first wait, 0..1, that is left out, so that streams which start together do not refresh
            together for ever.
    """

    def __init__(self, config: PlanConfig, *, keyframes_refresh: bool, stagger: float = 0.0) -> None:
        self._config = config
        self._head_start_seconds = stagger * config.refresh_seconds
        self._keyframes_refresh = keyframes_refresh
        self._owed: str | None = "keyframe"
        self._last_reason = "keyframe"
        self._frames = 0
        self._now_seconds = -math.inf
        self._dense_seconds = -math.inf
        self._refresh_seconds = -math.inf  # where the wait for the next refresh began
        self._probed_seconds = -math.inf
        self._keyframe_bits: int | None = None

    def tick(self, frame: FrameMetadata) -> bool:
        """Reads the clock; returns whether the picture presents before one that was planned."""
        self._frames += 1
        if frame.slice_type == "B" and not frame.reference:
            return True
        seconds = frame.pts_seconds
        if seconds is None:
            seconds = self._frames / ASSUMED_FPS
        if seconds < self._now_seconds:
            if frame.slice_type == "B":
                return True
            self._restart_clock(seconds - self._now_seconds)
        self._now_seconds = seconds
        return False

    def owe(self, reason: str) -> None:
        """Asks for a dense pass as soon as the interval allows."""
        self._owed = self._owed or reason

    def failed(self) -> None:
        """The last dense pass could not be carried out: it is owed again."""
        self._owed = self._last_reason

    def probe_due(self, frame: FrameMetadata) -> bool:
        """Whether this is a keyframe at which to look at unchanged patches again; asking starts the next wait."""
        if not frame.keyframe or self._now_seconds - self._probed_seconds < PROBE_SECONDS:
            return False
        self._probed_seconds = self._now_seconds
        return True

    def unread_keyframe(self, frame: FrameMetadata) -> None:
        """Judges a keyframe whose cells were not parsed by the one thing known: its size."""
        before, self._keyframe_bits = self._keyframe_bits, frame.bits
        if before and abs(math.log(max(frame.bits, 1) / before)) > math.log(MAX_KEYFRAME_GROWTH):
            self.owe("keyframe")

    def decide(self, frame: FrameMetadata, causes: Causes, *, eager: bool) -> str | None:
        """Gives the reason for a dense pass at this picture, or None; the reason counts as carried out.

        Args:
            frame: The picture.
            causes: What speaks for it.
            eager: Do not wait for `dense_interval_seconds`.
        """
        reason = self._reason(frame, causes, eager)
        if reason is not None:
            self._owed, self._last_reason = None, reason
            self._dense_seconds = self._now_seconds
            self._refresh_seconds = self._now_seconds - self._head_start_seconds
            self._head_start_seconds = 0.0
        return reason

    def _reason(self, frame: FrameMetadata, causes: Causes, eager: bool) -> str | None:
        elapsed_seconds = self._now_seconds - self._dense_seconds + ROUNDING_SECONDS
        if self._owed == "keyframe" or (self._keyframes_refresh and frame.keyframe):
            return "keyframe"
        if causes.cut:
            return "cut"
        waited_seconds = self._now_seconds - self._refresh_seconds + ROUNDING_SECONDS
        if waited_seconds >= self._config.refresh_seconds * (EARLY_REFRESH if frame.keyframe else 1.0):
            return "refresh"
        if elapsed_seconds < self._config.dense_interval_seconds and not eager:
            return None
        if self._owed is not None:
            return self._owed
        by_reason = {"lost": causes.lost, "camera": causes.camera, "change": causes.change}
        return next((reason for reason, holds in by_reason.items() if holds), None)

    def _restart_clock(self, jump_seconds: float) -> None:
        """Keeps the waits when the stream's clock jumped back."""
        self._dense_seconds += jump_seconds
        self._refresh_seconds += jump_seconds
        self._probed_seconds += jump_seconds
