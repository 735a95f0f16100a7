"""What a stream may cost when the machine is short of time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Effort:
    """How much of its usual work a stream does.

    Metadata of every picture is read and every change is noted at any effort; only the looking waits.

    Attributes:
        every: Pixels are looked at in one of so many pictures.
        budget: Share of the patches and operations that the configuration allows.
    """

    every: int = 1
    budget: float = 1.0


FULL_EFFORT = Effort()
