"""Runs coroutines for callers that have no event loop, or one that they cannot use."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable
from types import TracebackType
from typing import Self, TypeVar

_T = TypeVar("_T")


class LoopThread:
    """An event loop in a thread of its own, as a context manager."""

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ovstream-loop", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.run(self._loop.shutdown_asyncgens())
        self.run(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work: Awaitable[_T]) -> _T:
        """Runs to the end in the loop's thread and returns the result, or raises its error.

        When the caller is interrupted meanwhile (Ctrl-C), the work is cancelled and waited for.
        """
        started, done, unwanted = threading.Event(), threading.Event(), threading.Event()
        begun: list[asyncio.Task[_T] | None] = []

        async def to_the_end() -> _T:
            begun.append(asyncio.current_task())
            started.set()
            try:
                if unwanted.is_set():
                    raise asyncio.CancelledError
                return await work
            finally:
                done.set()

        def cancel() -> None:
            for task in begun:
                if task is not None:
                    task.cancel()

        try:  # handing over is inside: the loop works already while this thread comes back from it
            return asyncio.run_coroutine_threadsafe(to_the_end(), self._loop).result()
        except BaseException:
            unwanted.set()
            self._loop.call_soon_threadsafe(cancel)
            self._settle()
            if started.is_set():
                done.wait()
            raise

    def _settle(self) -> None:
        """Waits until whatever was handed to the loop before has begun, or will never begin."""
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self._loop).result()
