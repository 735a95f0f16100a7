"""Shaking and moved: the motion of the whole picture over some seconds."""

from __future__ import annotations

import math
from collections import deque
from itertools import pairwise
from typing import NamedTuple

from ovstream.health.latch import Latch

WINDOW_SECONDS = 2.0
FEWEST = 8  # pictures in a window that is judged
MOST = 512  # and most of them, should the stream's clock stand still
SHAKE_PX = 0.75
SHAKE_SHARE = 0.5  # of the pictures in motion
REVERSAL_SHARE = 0.25  # of the steps from one picture to the next
NET_SHARE = 0.4  # of the way, at most, leads anywhere
SHAKE_SECONDS = 1.0
MOVED_SHARE = 0.1  # of the picture's shorter side
STILL_PX = 0.3
STILL_SECONDS = 1.0


class _Step(NamedTuple):
    seconds: float
    x: float
    y: float

    @property
    def is_swift(self) -> bool:
        """In motion that counts."""
        return math.hypot(self.x, self.y) >= SHAKE_PX


class MotionWatch:
    """Follows the camera's motion.

    Args:
        size: (width, height) of the pictures in luma samples.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.shaking = Latch(on_seconds=SHAKE_SECONDS, off_seconds=WINDOW_SECONDS)
        self.way_px = (0.0, 0.0)
        self._moved_px = MOVED_SHARE * min(size)
        self._steps: deque[_Step] = deque()
        self._swift = 0  # of them
        self._still_since: float | None = None

    def update(self, motion_px: tuple[float, float], now_seconds: float) -> list[str]:
        """Takes the motion since the picture before; returns the conditions that changed."""
        steps = self._steps
        while steps and not (0 <= now_seconds - steps[0].seconds <= WINDOW_SECONDS and len(steps) < MOST):
            self._swift -= self._steps.popleft().is_swift
        self._steps.append(_Step(now_seconds, *motion_px))
        self._swift += self._steps[-1].is_swift
        changed = ["shaking"] if self.shaking.update(self._shakes(), now_seconds) else []
        if self._has_moved(motion_px, now_seconds) and not self.shaking.active:
            changed.append("moved")
        return changed

    def _shakes(self) -> bool | None:
        steps = self._steps
        if len(steps) < FEWEST:
            return None
        if self._swift < SHAKE_SHARE * len(steps):
            return False
        way = sum(math.hypot(step.x, step.y) for step in steps)
        net = math.hypot(sum(step.x for step in steps), sum(step.y for step in steps))
        turns = sum(a.x * b.x + a.y * b.y < -(SHAKE_PX**2) / 2 for a, b in pairwise(steps))
        return turns >= REVERSAL_SHARE * len(steps) and net <= NET_SHARE * way

    def _has_moved(self, motion_px: tuple[float, float], now_seconds: float) -> bool:
        """Adds up the way since the camera stood, and looks at it when it stands again."""
        if math.hypot(*motion_px) > STILL_PX:
            self.way_px = self.way_px[0] + motion_px[0], self.way_px[1] + motion_px[1]
            self._still_since = None
            return False
        if self._still_since is None or now_seconds < self._still_since:
            self._still_since = now_seconds
        if now_seconds - self._still_since < STILL_SECONDS:
            return False
        arrived = math.hypot(*self.way_px) >= self._moved_px
        if not arrived:
            self.way_px = 0.0, 0.0
        return arrived

    def forget_way(self) -> None:
        """The way was told."""
        self.way_px = 0.0, 0.0
