"""Brings the watches of one stream together and puts their findings in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ovstream.health.bits import BitWatch
from ovstream.health.features import Features
from ovstream.health.latch import Latch
from ovstream.health.motion import MotionWatch
from ovstream.health.stillness import FreezeWatch
from ovstream.health.texture import TextureWatch
from ovstream.types import FrameMetadata

Condition = Literal["frozen", "dark", "starved", "shaking", "infrared", "moved", "cut"]

MOMENTARY: tuple[Condition, ...] = ("moved", "cut")
"""Conditions that happen, and do not last."""

USUAL_STEP_SECONDS = 0.04  # between pictures without presentation times
CUT_PAUSE_SECONDS = 1.0  # one change of scene is told once

_BEGINS = {
    "frozen": "the same picture comes again and again",
    "dark": "the picture has lost its texture: lens covered, light out, or no signal",
    "starved": "the encoder has far fewer bits than before",
    "shaking": "the camera shakes",
    "infrared": "pictures have turned grey: night mode",
    "moved": "the camera was moved",
    "cut": "the whole picture changed at once",
}


@dataclass(frozen=True, slots=True)
class HealthChange:
    """A condition that began, ended, or (moved, cut) happened.

    Attributes:
        condition: Which.
        active: It began or happened; False: it ended.
        detail: One sentence for people.
    """

    condition: Condition
    active: bool
    detail: str


class HealthMonitor:
    """Watches one camera, picture by picture, by its metadata alone.

    Only what a parser read whole counts: pictures that were decoded, damaged or left unread are passed over.

    Args:
        size: (width, height) of the pictures in luma samples.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self._texture, self._freeze, self._bits = TextureWatch(), FreezeWatch(), BitWatch()
        self._motion = MotionWatch(size)
        self._latches: dict[Condition, Latch] = {
            "frozen": self._freeze.frozen,
            "dark": self._texture.dark,
            "starved": self._bits.starved,
            "shaking": self._motion.shaking,
            "infrared": self._texture.infrared,
        }
        self._seconds = 0.0
        self._set_back_seconds = 0.0  # by all jumps of the stream's clock together
        self._cut_seconds: float | None = None

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Those that hold now."""
        return tuple(name for name, latch in self._latches.items() if latch.active)

    def observe(self, frame: FrameMetadata, *, camera_motion_px: tuple[float, float]) -> list[HealthChange]:
        """Takes the next picture in presentation order.

        Args:
            frame: Of the size given.
            camera_motion_px: (x, y) motion of the whole picture, as in `PatchPlan`.
        """
        self._seconds = self._time_of(frame.pts_seconds)
        if frame.origin != "bitstream" or frame.unread or frame.coverage < 1:
            return []
        picture = Features.of(frame, self._seconds)
        changed = self._freeze.update(picture) + self._texture.update(picture) + self._bits.update(picture)
        if not picture.fresh:
            changed += self._motion.update(camera_motion_px, self._seconds)
        return [change for name in changed if (change := self._change(name)) is not None]

    def _time_of(self, known: float | None) -> float:
        """Seconds of a clock that never goes back, so that what is waited for comes."""
        if known is None:
            return self._seconds + USUAL_STEP_SECONDS
        self._set_back_seconds += max(self._seconds - known - self._set_back_seconds, 0.0)
        return known + self._set_back_seconds

    def _change(self, name: str) -> HealthChange | None:
        if name == "cut":
            return self._cut()
        if name == "moved":
            x, y = self._motion.way_px
            self._motion.forget_way()
            return HealthChange("moved", True, f"{_BEGINS['moved']}: the picture by {x:+.0f}, {y:+.0f} px")
        condition = next(one for one in self._latches if one == name)
        latch = self._latches[condition]
        if latch.active:
            more = ""
            if condition == "starved":
                bits = self._bits
                more = f": {bits.rate / 1000:.0f} kbit/s instead of {bits.usual_rate / 1000:.0f}, QP {bits.qp:.0f}"
            return HealthChange(condition, True, _BEGINS[condition] + more)
        return HealthChange(condition, False, f"{condition}: over")

    def _cut(self) -> HealthChange | None:
        """None for the pictures of one change of scene after its first."""
        before, self._cut_seconds = self._cut_seconds, self._seconds
        if before is not None and 0 <= self._seconds - before < CUT_PAUSE_SECONDS:
            return None
        return HealthChange("cut", True, _BEGINS["cut"])
