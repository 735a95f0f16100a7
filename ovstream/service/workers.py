"""Processes that share the streams of a service between the cores, and others for streams that make them crash."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from ovstream.service.costs import Costs
from ovstream.service.events import EventLog
from ovstream.service.quarantine import CRASHES, WINDOW_SECONDS, Suspects
from ovstream.service.usage import available_cores
from ovstream.service.worker import Worker

_MOST_ALONE = 4  # processes; further suspects share these
_WORTH_A_MOVE = 0.9  # of the load of a worker, that another would have with the stream


class Workers:
    """All workers of a service.

    A stream that was computed for each time when a worker crashed or hung gets a process of its own, where it can harm
    nobody: see `Suspects`.

    Args:
        count: Most processes; fewer than 2: none.
        log: See `Worker`.
        silent_seconds: See `Worker`.
        clock: Monotonic seconds.
        costs: Of the streams.

    Attributes:
        costs: As given.
    """

    def __init__(
        self,
        count: int,
        log: EventLog,
        *,
        silent_seconds: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
        costs: Costs | None = None,
    ) -> None:
        self.costs = Costs() if costs is None else costs
        self._log = log
        self._silent_seconds = silent_seconds
        self._clock = clock
        self._suspects = Suspects()
        self._number = 0
        self._last = 1  # worker that was chosen
        self._ending: set[asyncio.Task[None]] = set()
        self._past_restarts = 0
        cores = max(available_cores() / max(count, 1), 1.0)
        self._shared = [self._make(cores=cores) for _ in range(count)] if count > 1 else []
        self._alone: list[Worker] = []

    def __bool__(self) -> bool:
        return bool(self._shared)

    @property
    def _all(self) -> list[Worker]:
        return self._shared + self._alone

    @property
    def pids(self) -> list[int]:
        """Of those that live."""
        return [worker.pid for worker in self._all if worker.pid is not None]

    def number(self, stream_id: str) -> int:
        """Of the worker that has a stream; 0: it is in the service's own process."""
        worker = self.of(stream_id)
        return 0 if worker is None else worker.number

    @property
    def numbers(self) -> dict[str, int]:
        """Of the worker, by stream."""
        return {name: worker.number for worker in self._all for name in worker.cameras}

    @property
    def restarts(self) -> int:
        """Of all."""
        return self._past_restarts + sum(worker.restarts for worker in self._all)

    @property
    def models(self) -> int:
        """That they hold, all together."""
        return sum(worker.models for worker in self._all)

    @property
    def quarantined(self) -> set[str]:
        """Streams that are kept apart because processes crashed while they were computed for."""
        return {name for worker in self._alone for name in worker.cameras}

    def crashes(self, stream_id: str) -> int:
        """How often a worker crashed or hung while it computed for a stream."""
        return self._suspects.totals.get(stream_id, 0)

    def choose(self, *, accelerated: bool = False) -> Worker:
        """The one whose streams cost least; always the same for those with an accelerator.

        Where that is the same, as with streams that nobody knows yet, workers get them to and fro (1 2 3 3 2 1): files
        often name busy and quiet ones in turns, say a main and a sub stream of each camera.
        """
        if accelerated:
            return self._shared[0]
        found = min(
            self._shared,
            key=lambda worker: (self._load(worker), len(worker.cameras), abs(worker.number - self._last)),
        )
        self._last = found.number
        return found

    def of(self, stream_id: str) -> Worker | None:
        """The one that has a stream."""
        return next((worker for worker in self._all if stream_id in worker.cameras), None)

    def forget(self, stream_id: str) -> None:
        """A stream was stopped and is gone."""
        if (worker := self.of(stream_id)) is not None:
            worker.remove(stream_id)
            self._end_if_empty(worker)
        self._suspects.forget(stream_id)
        self.costs.forget(stream_id)

    def settle(self, stream_id: str, *, accelerated: bool = False) -> None:
        """Chooses anew for a stopped stream that begins again: the moment when moving costs nothing.

        One that was kept apart gets another chance among the others.
        """
        self._suspects.acquit(stream_id)
        worker = self.of(stream_id)
        if worker is None:
            return
        best, cost = self.choose(accelerated=accelerated), self.costs.of(stream_id)
        if worker.alone or (
            best is not worker
            and (accelerated or self._load(best) + cost < _WORTH_A_MOVE * self._load(worker))
        ):
            self._move(stream_id, best)

    async def aclose(self) -> None:
        """Ends all."""
        await asyncio.gather(*(worker.aclose() for worker in self._all), *self._ending)

    def _load(self, worker: Worker) -> float:
        """Cores that its streams use."""
        return sum(map(self.costs.of, worker.cameras))

    def _make(self, *, cores: float, alone: bool = False) -> Worker:
        self._number += 1
        return Worker(
            self._number,
            self._log,
            cores=cores,
            silent_seconds=self._silent_seconds,
            suspect=self._crashed,
            alone=alone,
        )

    def _crashed(self, names: set[str]) -> None:
        """A worker crashed or hung while it computed for these streams, and has not started again."""
        name = self._suspects.crashed(names, now=self._clock())
        worker = None if name is None else self.of(name)
        if name is None or worker is None or worker.alone or len(worker.cameras) == 1:
            return  # it harms nobody
        if len(self._alone) < _MOST_ALONE:
            self._alone.append(self._make(cores=1.0, alone=True))
        ward = min(self._alone, key=lambda one: (len(one.cameras), one.number))
        self._move(name, ward)
        why = f"{CRASHES} processes ended within {WINDOW_SECONDS / 60:.0f} minutes while they computed for it"
        self._log.add(
            name, "quarantine", f"{why}: it is alone in worker {ward.number} until it is changed or restarted"
        )

    def _move(self, stream_id: str, to: Worker) -> None:
        worker = self.of(stream_id)
        assert worker is not None
        camera = worker.cameras[stream_id]
        worker.remove(stream_id)
        camera.move(to)
        to.add(camera)
        camera.attached()
        self._end_if_empty(worker)

    def _end_if_empty(self, worker: Worker) -> None:
        """Lets a process go that was for one stream."""
        if worker.alone and not worker.cameras:
            self._alone.remove(worker)
            self._past_restarts += worker.restarts
            task = asyncio.create_task(worker.aclose())
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
