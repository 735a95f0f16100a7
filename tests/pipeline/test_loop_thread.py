"""Work that its caller gives up is over when the caller goes on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine
from concurrent.futures import Future
from typing import Any

import pytest

from ovstream.pipeline.loop_thread import LoopThread


async def numbers() -> AsyncGenerator[int, None]:
    while True:
        await asyncio.sleep(0)
        yield 1


@pytest.mark.parametrize("attempt", range(20))
def test_an_interrupted_wait_leaves_nothing_running(attempt: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C may come before the loop has begun with the work: closing its generator must be possible even then."""
    with LoopThread() as loop:
        generator = numbers()
        assert loop.run(anext(generator)) == 1
        held = threading.Event()
        loop._loop.call_soon_threadsafe(held.wait)  # the loop is busy elsewhere, as on a loaded machine

        def interrupted(self: Future[object], timeout: float | None = None) -> object:
            monkeypatch.undo()
            threading.Timer(0.001 * attempt, held.set).start()
            raise KeyboardInterrupt

        monkeypatch.setattr(Future, "result", interrupted)
        with pytest.raises(KeyboardInterrupt):
            loop.run(anext(generator))
        loop.run(generator.aclose())


def test_an_interrupted_handing_over_leaves_nothing_running(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C may also come while the loop works already and the caller is not back from waking it."""

    async def silent() -> AsyncGenerator[int, None]:
        await asyncio.Event().wait()
        yield 1

    hand_over = asyncio.run_coroutine_threadsafe

    def interrupted(work: Coroutine[Any, Any, int], loop: asyncio.AbstractEventLoop) -> Future[int]:
        hand_over(work, loop)
        monkeypatch.undo()
        raise KeyboardInterrupt

    with LoopThread() as loop:
        generator = silent()
        monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", interrupted)
        with pytest.raises(KeyboardInterrupt):
            loop.run(anext(generator))
        loop.run(generator.aclose())
