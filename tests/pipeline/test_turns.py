"""Streams take turns: no more of them are at work at a time than the machine has use for."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any

import pytest

import ovstream
from ovstream.encode import Encoder
from ovstream.pipeline import StreamWorker
from ovstream.pipeline.turns import Turns, turns
from ovstream.sources import MemorySource
from ovstream.types import AccessUnit
from tests.pipeline.conftest import Units

CORES = len(os.sched_getaffinity(0))


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
    await consume(encoder, units(frames=6), CORES + 4)
    assert watched.most == CORES + 1


async def test_a_hanging_stream_gives_its_turn_back_when_it_is_cancelled() -> None:
    one, hangs = Turns(1), threading.Event()

    async def hang() -> None:
        async with one:
            await asyncio.to_thread(hangs.wait)

    task = asyncio.create_task(hang())
    await asyncio.sleep(0)
    task.cancel()
    try:
        async with asyncio.timeout(5), one:
            assert not hangs.is_set()
    finally:
        hangs.set()


async def test_first_come_first_served() -> None:
    one, order = Turns(1), []

    async def take(number: int) -> None:
        async with one:
            order.append(number)
            await asyncio.sleep(0)

    await asyncio.gather(*(take(number) for number in range(5)))
    assert order == [0, 1, 2, 3, 4]


async def test_streams_that_share_runs_may_all_be_at_work() -> None:
    shared = turns(at_least=CORES + 5)
    assert shared is turns()
    together = asyncio.Barrier(CORES + 5)

    async def meet() -> None:
        async with shared:
            await together.wait()

    async with asyncio.timeout(5):
        await asyncio.gather(*(meet() for _ in range(CORES + 5)))
