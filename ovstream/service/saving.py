"""Writes down where streams stand, now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from ovstream.service.checkpoints import StateFolder
from ovstream.service.costs import Costs
from ovstream.service.watched import Watched
from ovstream.types import Checkpoint

_COSTS_SECONDS = 60.0


class Saving:
    """Saves all checkpoints in a thread: a slow disk must not stop the loop.

    Args:
        state: Where; None: nowhere.
        seconds: From one time to the next.
        costs: Of the streams; saved now and then, too.

    Attributes:
        task: The one that saves, or did last.
    """

    def __init__(self, state: StateFolder | None, *, seconds: float, costs: Costs) -> None:
        self.task: asyncio.Task[None] | None = None
        self._state = state
        self._seconds = seconds
        self._costs = costs
        self._saved_at = self._costs_saved_at = float("-inf")

    def step(self, cameras: Iterable[Watched], *, now: float) -> None:
        """Begins to save, when it is time and the last time is over.

        Args:
            cameras: All streams.
            now: Monotonic seconds.
        """
        if self._state is None or now - self._saved_at < self._seconds:
            return
        if self.task is not None and not self.task.done():
            return
        self._saved_at = now
        costs = None
        if now - self._costs_saved_at >= _COSTS_SECONDS:
            self._costs_saved_at, costs = now, self._costs.known
        self.task = asyncio.create_task(asyncio.to_thread(self._state.save_all, _stands(cameras), costs))

    def now(self, cameras: Iterable[Watched]) -> None:
        """Saves at once; for the very last moment."""
        if self._state is not None:
            self._state.save_all(_stands(cameras), self._costs.known)


def _stands(cameras: Iterable[Watched]) -> list[Checkpoint]:
    return [stand for camera in cameras if (stand := camera.checkpoint()) is not None]
