"""Patches that changed and wait for their turn."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ovstream.types import BoolArray, FloatArray

_PAID = np.iinfo(np.int64).max


class Debt:
    """A queue of changed patches, oldest first; of the same age, the strongest change first.

    Whatever enters leaves only by being taken or cancelled, so after the last change the queue is empty within
    ceil(size / budget) calls of `take`.

    Args:
        patches: In the grid.
    """

    def __init__(self, patches: int) -> None:
        self._since = np.full(patches, _PAID, np.int64)
        self._taken_since = np.full(patches, _PAID, np.int64)
        self._strength = np.zeros(patches, np.float32)
        self._now = 0

    def __len__(self) -> int:
        return int(np.count_nonzero(self._since != _PAID))

    def add(self, changed: BoolArray, strength: FloatArray) -> None:
        """Enters the patches of one picture; those that wait already keep their age.

        Args:
            changed: (patches,) bool.
            strength: (patches,) float32.
        """
        self._now += 1
        self._strength[changed & (self._since == _PAID)] = 0.0
        self._since[changed] = np.minimum(self._since[changed], self._now)
        self._strength[changed] = np.maximum(self._strength[changed], strength[changed])

    def take(self, budget: int) -> npt.NDArray[np.int32]:
        """Removes up to `budget` patches; returns their flat numbers, sorted."""
        waiting = np.flatnonzero(self._since != _PAID)
        if waiting.size > budget:
            order = np.lexsort((-self._strength[waiting], self._since[waiting]))
            waiting = np.sort(waiting[order[:budget]])
        self._taken_since[:] = _PAID  # only what was taken last can come back
        self._taken_since[waiting] = self._since[waiting]
        self.cancel(waiting)
        return waiting.astype(np.int32)

    def give_back(self, indices: npt.NDArray[np.integer]) -> None:
        """Enters patches again: those that `take` gave last at the age they had, others as of now."""
        new = indices[(self._taken_since[indices] == _PAID) & (self._since[indices] == _PAID)]
        self._strength[new] = 0.0
        since = np.minimum(self._taken_since[indices], self._now)
        self._since[indices] = np.minimum(self._since[indices], since)

    def cancel(self, indices: npt.NDArray[np.integer]) -> None:
        """Removes patches that need nothing any more."""
        self._since[indices] = _PAID
