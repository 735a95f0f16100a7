"""Slots of a state that remembers several pictures: the codec input of the OneVision-Encoder, patch by patch.

```
t      0  0  0  0  0  0  1  1  2  3  3  .  .        a window: the first picture whole, then what changed
slot  [a  b  c  d  e  f |b' e'|e"|a' c'|     ]      each patch in a slot of its own, alive with its own time
                    full:  e' and b die first: oldest of those that a newer patch of their place has followed
```

A window begins with a whole picture at t = 0. What changes later joins it at t = 1, 2, ... 63, and what was there
before stays: attention sees both, each at its time. Keys are turned by their time and cannot be moved on the time axis
(`ovstream.model.rope`), so the picture after t = 63 begins the next window.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ovstream.errors import ConfigError
from ovstream.model.config import TEMPORAL_POSITIONS
from ovstream.types import BoolArray

Slots = npt.NDArray[np.int64]


class Window:
    """Deals out the slots of a state; its arrays are views of the state's memory.

    Attributes:
        newest: (rows * cols,) int64, slot of the newest patch of every place; -1 where there is none.
    """

    def __init__(self, newest: Slots, clock: Slots) -> None:
        self.newest = newest
        self._clock = clock  # (1,) int64, time of the newest patches; -1 before the first
        self._clear()

    @property
    def next_time(self) -> int:
        """Where the next picture belongs; 0: it begins a window."""
        return (int(self._clock[0]) + 1) % TEMPORAL_POSITIONS

    def begins(self, times: Slots) -> bool:
        """Whether patches at these times begin a new window.

        Raises:
            ConfigError: They neither do nor come after those that are there.
        """
        earliest = int(times.min())
        if earliest and earliest <= self._clock[0]:
            raise ConfigError(
                f"patches at t = {earliest} after some at t = {self._clock[0]}: times of a window grow, or begin at 0"
            )
        return not earliest

    def assign(self, positions: Slots, places: Slots, alive: BoolArray, *, new: Slots, at: Slots) -> Slots:
        """Finds slots for new patches, and takes note of them.

        Args:
            positions: (slots, 3), (t, h, w) of what is there.
            places: (slots,) flat patch numbers of what is there.
            alive: (slots,) bool; the slots of patches that die are cleared.
            new: (n,) flat patch numbers of what comes.
            at: (n,) their times.

        Returns:
            (n,) slots.

        Raises:
            ConfigError: They do not fit; nothing has changed then.
        """
        begins = self.begins(at)
        free = np.flatnonzero(np.ones_like(alive) if begins else ~alive)
        missing = len(new) - free.size
        if missing > 0:
            followed = self._followed(positions, places, alive, new) if not begins else free[:0]
            if followed.size < missing:
                raise ConfigError(
                    f"{len(new)} patches do not fit in what a window of {alive.size} slots has free"
                )
            free = np.concatenate([free, followed[:missing]])
        if begins:
            alive[:] = False
            self._clear()
        alive[free] = False
        slots = np.empty(len(new), np.int64)
        order = np.argsort(at, kind="stable")  # of two at a place the later one is the newest
        slots[order] = np.sort(free)[: len(new)]
        self.newest[new[order]] = slots[order]
        self._clock[0] = at.max()
        return slots

    def _followed(self, positions: Slots, places: Slots, alive: BoolArray, new: Slots) -> Slots:
        """Living slots with a newer patch at their place, coming ones among them; the oldest first."""
        living = np.flatnonzero(alive)
        old: Slots = living[(self.newest[places[living]] != living) | np.isin(places[living], new)]
        return old[np.argsort(positions[old, 0], kind="stable")]

    def _clear(self) -> None:
        self.newest[:] = -1
        self._clock[0] = -1
