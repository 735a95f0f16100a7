"""What a stream may cost when the machine is short of time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Effort:
    """How much of its usual work a stream does.

    What is read is noted at any effort, and owed; only the looking waits.

    Attributes:
        every: Pixels are looked at in one of so many pictures; 0: in keyframes only, which need no other decoded
            (and once in a while where none come).
        budget: Share of the patches and operations that the configuration allows.
        whole: A whole pass that can wait may run; else it is put off until one of the next pictures says so.
        read: Metadata of H.264 and VP8 is read in one of so many P or B pictures; the others tell nothing, and cost next
            to nothing. Those of H.265 depend on each other and are all read.
    """

    every: int = 1
    budget: float = 1.0
    read: int = 1
    whole: bool = True


FULL_EFFORT = Effort()
