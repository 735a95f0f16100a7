"""Lets streams wait a little for each other, so that one run of the model serves several of them.

It is a backend like any other: an `Encoder` that computes through it is used from the threads of all streams as if it
were theirs alone, and every call blocks until its own result is there. No thread is added: whichever caller finds that
it need not wait any longer takes what has come together and runs it for everybody, while the others sleep.

It stands here, and not beside the encoder, because it holds what a stage must not: a clock and a lock. What may share
a run is decided in `ovstream.encode.batcher`, which has neither.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

from ovstream.encode import Backend, Encoder, EncoderState, Job
from ovstream.encode.batcher import SHARED_TOKENS, batches
from ovstream.errors import ConfigError, ModelError


@dataclass(slots=True, eq=False)
class _Ticket:
    """One caller's job and what became of it."""

    job: Job
    deadline: float
    done: bool = False
    error: BaseException | None = None


class Gather:
    """A backend whose calls wait for company, at most `max_delay_seconds` and the run that is under way.

    A call does not wait at all where nobody else could come: when all streams that are bound have called, when as many
    have as fit in a run, or when it is large enough to be worth a run of its own. While one run is under way the calls
    that arrive gather for the next, so a busy machine shares runs even with a delay of 0.

    Args:
        backend: What computes, opened for several streams.
        max_delay_seconds: Longest wait for company.
        parallel_runs: Runs that may be under way at a time; more than one where cores are plenty.
        condition: Lock and wake-up call.
        clock: Seconds, never going back.

    Attributes:
        runs: Runs that were made.
        calls: Calls that they served.

    Raises:
        ConfigError: A number makes no sense, or the backend serves one stream at a time.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        max_delay_seconds: float,
        parallel_runs: int = 1,
        condition: threading.Condition | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not 0 <= max_delay_seconds < 10:
            raise ConfigError(f"max_delay_seconds is {max_delay_seconds}: must be 0 to 10")
        if parallel_runs < 1:
            raise ConfigError(f"parallel_runs is {parallel_runs}: must be at least 1")
        if backend.lanes < 2:
            raise ConfigError("this encoder serves one stream at a time: load it with streams=4, say")
        self.runs = 0
        self.calls = 0
        self._backend = backend
        self._max_delay_seconds = max_delay_seconds
        self._parallel_runs = parallel_runs
        self._condition = condition or threading.Condition()
        self._clock = clock
        self._bound: WeakSet[Any] = WeakSet()
        self._waiting: list[_Ticket] = []
        self._running = 0

    @property
    def lanes(self) -> int:
        """Most jobs that one run takes."""
        return self._backend.lanes

    def bind(self, state: EncoderState) -> Any:
        """See `Backend`."""
        binding = self._backend.bind(state)
        with self._condition:
            self._bound.add(binding)
        return binding

    def run(self, jobs: Sequence[Job]) -> None:
        """See `Backend`; blocks until these jobs are done, with others or alone."""
        with self._condition:
            deadline = self._clock() + self._max_delay_seconds
            tickets = [_Ticket(job, deadline) for job in jobs]
            self._waiting += tickets
            self._condition.notify_all()
        while (batch := self._next_batch(tickets)) is not None:
            self._serve(batch)
        for ticket in tickets:
            if ticket.error is not None:
                raise ticket.error

    def _next_batch(self, own: list[_Ticket]) -> list[_Ticket] | None:
        """Waits until a batch is to be run by this caller, or until its own jobs are done (None)."""
        with self._condition:
            while not all(ticket.done for ticket in own):
                seconds: float | None = None  # until woken
                if self._running < self._parallel_runs and self._waiting:
                    seconds = self._waiting[0].deadline - self._clock()
                    if seconds <= 0 or self._complete():
                        return self._take()
                self._condition.wait(seconds)
            return None

    def _complete(self) -> bool:
        """Whether waiting cannot make the next run any better."""
        tokens = sum(len(ticket.job) for ticket in self._waiting)
        return len(self._waiting) >= min(self.lanes, len(self._bound)) or tokens >= SHARED_TOKENS

    def _take(self) -> list[_Ticket]:
        first = next(batches([ticket.job for ticket in self._waiting], lanes=self.lanes))
        batch, self._waiting = self._waiting[: len(first)], self._waiting[len(first) :]
        self._running += 1
        self.runs += 1
        self.calls += len(batch)
        return batch

    def _serve(self, batch: list[_Ticket]) -> None:
        try:
            self._run_shared(batch)
        except BaseException:
            for ticket in batch:
                ticket.error = ticket.error or ModelError("the run that this picture shared was interrupted")
            raise
        finally:
            with self._condition:
                for ticket in batch:
                    ticket.done = True
                self._running -= 1
                self._condition.notify_all()

    def _run_shared(self, batch: list[_Ticket]) -> None:
        """Runs all together; when that fails each by itself, so that an error finds its owner."""
        try:
            self._backend.run([ticket.job for ticket in batch])
            return
        except ModelError as error:
            if len(batch) == 1:
                batch[0].error = error
                return
        for ticket in batch:
            try:
                self._backend.run([ticket.job])
            except ModelError as error:
                ticket.error = error


def share(encoder: Encoder, *, max_batch_delay_ms: float = 2.0, parallel_runs: int = 1) -> Encoder:
    """Makes an encoder for many streams whose calls come together.

    Args:
        encoder: Loaded with `streams` above 1.
        max_batch_delay_ms: Longest wait of a call for others.
        parallel_runs: As in `Gather`.

    Returns:
        An encoder to be given to all streams, one state for each; its `backend` is the `Gather`.

    Raises:
        ConfigError: As `Gather`.
    """
    gather = Gather(encoder.backend, max_delay_seconds=max_batch_delay_ms / 1e3, parallel_runs=parallel_runs)
    return encoder.through(gather)
