"""Endpoints of its own for every test, and a watch for what stays behind."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from ovstream.publish import Publisher, Subscription

Join = Callable[[Publisher, Subscription], Awaitable[None]]


async def until(
    condition: Callable[[], bool], *, meanwhile: Callable[[], object] | None = None, seconds: float = 60
) -> None:
    """Gives other tasks their turn until a condition holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            if meanwhile is not None:
                meanwhile()
            await asyncio.sleep(0.01)


async def take(events: Subscription, count: int) -> list[int]:
    """Reads so many embeddings and returns their numbers."""
    numbers = []
    async with asyncio.timeout(60):
        async for one in events.embeddings():
            numbers.append(one.seq)
            if len(numbers) == count:
                break
    return numbers


@pytest.fixture(params=["tcp", "ipc"])
def endpoint(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """To bind; ask the publisher for the port."""
    return "tcp://127.0.0.1:*" if request.param == "tcp" else f"ipc://{tmp_path}/e.sock"


@pytest.fixture
def join() -> Join:
    """Waits until a subscription stands: a publisher's heartbeats start to arrive."""

    async def wait(publisher: Publisher, events: Subscription) -> None:
        await until(lambda: bool(events.streams()), meanwhile=lambda: publisher.heartbeat(0))

    return wait


@pytest.fixture(autouse=True)
async def _nothing_stays_behind() -> AsyncIterator[None]:
    """No thread, task, socket or other descriptor is left after a test."""
    threads, descriptors = native_threads(), open_descriptors()
    yield
    assert not [task for task in asyncio.all_tasks() if "subscription" in task.get_name()]
    # the system takes a moment to bury a joined thread, and those of the test before may go meanwhile
    await until(lambda: native_threads() <= threads and open_descriptors() <= descriptors)


def native_threads() -> int:
    """Threads of the process, those of ZeroMQ too, which `threading` does not know."""
    return len(os.listdir("/proc/self/task"))


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
