"""Streams take turns: no more of them are at work at a time than the machine has use for."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import ovstream
from ovstream.encode import Encoder
from ovstream.pipeline import StreamWorker
from ovstream.pipeline import stream as stream_module
from ovstream.pipeline.turns import Turns
from ovstream.sources import MemorySource
from ovstream.types import AccessUnit
from tests.pipeline.conftest import Units

CORES = len(os.sched_getaffinity(0))
Start = Callable[[Callable[[], None]], threading.Thread]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts threads, and waits for their end."""
    threads = []

    def begin(work: Callable[[], None]) -> threading.Thread:
        threads.append(threading.Thread(target=work, daemon=True))
        threads[-1].start()
        return threads[-1]

    yield begin
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()


class Watched:
    """Counts the streams that are inside `StreamWorker.process`, and keeps each there until others could come."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.most = self._now = 0
        self._lock = threading.Lock()
        process = StreamWorker.process

        def counted(worker: StreamWorker, *args: Any) -> Any:
            with self._lock:
                self._now += 1
                self.most = max(self.most, self._now)
            threading.Event().wait(0.02)
            try:
                return process(worker, *args)
            finally:
                with self._lock:
                    self._now -= 1

        monkeypatch.setattr(StreamWorker, "process", counted)


async def consume(encoder: Encoder, units: list[AccessUnit], count: int) -> None:
    async def one() -> None:
        async with ovstream.open(MemorySource(units), encoder=encoder) as stream:
            await stream.run()
            assert stream.stats.frames_parsed == len(units)

    await asyncio.gather(*(one() for _ in range(count)))


async def test_no_more_streams_work_than_cores_and_one(
    encoder: Encoder, units: Units, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(monkeypatch)
    monkeypatch.setattr(stream_module, "TURNS", Turns(CORES + 1))  # others may have widened the real ones
    await consume(encoder, units(frames=6), CORES + 4)
    assert watched.most == CORES + 1


def test_who_hangs_costs_the_others_one_wait(start: Start) -> None:
    turns, hangs, inside = Turns(1, patience_seconds=0.05), threading.Event(), threading.Event()

    def hang() -> None:
        with turns:
            inside.set()
            hangs.wait()

    hanging = start(hang)
    assert inside.wait(5)
    with turns:  # waits, then goes on beside
        pass
    hangs.set()
    hanging.join(5)
    assert turns._free == 1  # all turns are back


def test_first_come_first_served(start: Start) -> None:
    turns, order, threads = Turns(1, patience_seconds=30), [], []
    with turns:
        for number in range(5):

            def take(number: int = number) -> None:
                with turns:
                    order.append(number)

            threads.append(start(take))
            while len(turns._waiting) <= number:
                threading.Event().wait(0.001)
    for thread in threads:
        thread.join(5)
    assert order == [0, 1, 2, 3, 4]


def test_streams_that_share_runs_may_all_be_at_work(
    start: Start,
) -> None:
    turns, together = Turns(2, patience_seconds=30), threading.Barrier(6)

    def meet() -> None:
        with turns:
            together.wait(5)

    threads = [start(meet) for _ in range(5)]
    turns.widen(6)
    turns.widen(3)
    with turns:
        together.wait(5)
    for thread in threads:
        thread.join(5)
    assert not together.broken
    assert turns._free == 6
