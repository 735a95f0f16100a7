"""What a stream may cost when the machine is short of time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Effort:
    """How much of its usual work a stream does.

    Metadata of every picture is read and every change is noted at any effort; only the looking waits.

    Attributes:
        every: Pixels are looked at in one of so many pictures; 0: in keyframes only, which need no other decoded
            (and once in a while where none come).
        budget: Share of the patches and operations that the configuration allows.
        max_age_seconds: Pictures of a camera that waited longer give way, where the configuration would still wait.
    """

    every: int = 1
    budget: float = 1.0
    max_age_seconds: float = float("inf")


FULL_EFFORT = Effort()
