"""How much a stream does when the box is full."""

from __future__ import annotations

from ovstream.pipeline import Effort

LEVELS = (
    Effort(),
    Effort(every=2, budget=0.5),
    Effort(every=4, budget=0.25, read=2),
    # all that can be saved: then pictures give way, not delay
    Effort(every=0, budget=0.125, read=4),
)
LAST = len(LEVELS) - 1


def describe(level: int) -> str:
    """What a level means, for people."""
    if not level:
        return "full effort again"
    effort = LEVELS[level]
    looks = f"1 of {effort.every} pictures" if effort.every else "keyframes only"
    return f"looks at {looks}, with 1/{round(1 / effort.budget)} of its budget"
