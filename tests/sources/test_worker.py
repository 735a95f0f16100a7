"""The thread and its queue: order, bounds, errors, and an end without remains."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from ovstream.errors import SourceProtocolError
from ovstream.sources import worker as worker_module
from ovstream.sources.worker import ReadingStopped, Worker


async def test_items_come_in_order_and_the_queue_is_bounded() -> None:
    longest = 0

    def read(worker: Worker[int]) -> None:
        nonlocal longest
        for item in range(500):
            worker.put(item)
            longest = max(longest, len(worker._items))

    assert [item async for item in Worker(read, size=3, name="ovstream-test")] == list(range(500))
    assert longest <= 3


async def test_errors_come_after_the_items_before_them() -> None:
    def read(worker: Worker[int]) -> None:
        worker.put(1)
        raise SourceProtocolError("broken")

    worker = Worker(read, size=3, name="ovstream-test")
    assert await anext(worker) == 1
    with pytest.raises(SourceProtocolError, match="broken"):
        await anext(worker)
    await worker.aclose()


async def test_offer_refuses_and_take_all_empties() -> None:
    answers: list[object] = []
    filled = threading.Event()

    def read(worker: Worker[int]) -> None:
        answers.extend(worker.offer(item) for item in range(3))
        answers.append(worker.take_all())
        answers.append(worker.offer(7))
        filled.set()

    worker = Worker(read, size=2, name="ovstream-test")
    filled.wait(5)
    assert answers == [True, True, False, [0, 1], True]
    assert [item async for item in worker] == [7]


@pytest.mark.parametrize("blocked_in", ["put", "wait"])
async def test_close_wakes_a_thread_that_waits(blocked_in: str) -> None:
    ended: list[str] = []

    def read(worker: Worker[int]) -> None:
        try:
            for item in range(10):
                worker.put(item)
                if blocked_in == "wait":
                    worker.wait(60)
        except ReadingStopped:
            ended.append("stopped")
            raise

    worker = Worker(read, size=2, name="ovstream-test")
    assert await anext(worker) == 0
    await worker.aclose()
    assert ended == ["stopped"]
    assert "ovstream-test" not in {thread.name for thread in threading.enumerate()}


async def test_close_wakes_a_consumer_that_waits() -> None:
    worker: Worker[int] = Worker(lambda worker: worker.wait(60), size=2, name="ovstream-test")
    consumer = asyncio.create_task(anext(worker, None))
    await asyncio.sleep(0)
    await worker.aclose()
    assert await consumer is None


async def test_close_does_not_wait_for_a_thread_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "CLOSE_PATIENCE_SECONDS", 0.05)
    release = threading.Event()
    worker: Worker[int] = Worker(
        lambda _worker: bool(release.wait(10)) and None, size=2, name="ovstream-hang"
    )
    started = time.monotonic()
    await worker.aclose()
    assert time.monotonic() - started < 1.0
    release.set()
    worker._thread.join(5)
    assert not worker._thread.is_alive()


async def test_the_queue_is_bounded_in_bytes_too() -> None:
    answers: list[bool] = []
    filled = threading.Event()

    def read(worker: Worker[bytes]) -> None:
        answers.extend(worker.offer(bytes(size)) for size in (50, 8, 8, 2, 1))
        worker.take_all()
        answers.append(worker.offer(bytes(20)))
        filled.set()

    worker = Worker(read, size=100, name="ovstream-test", weigh=len, max_bytes=60)
    await asyncio.to_thread(filled.wait)
    assert answers == [True, True, False, True, False, True]
    await worker.aclose()
