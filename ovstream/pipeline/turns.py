"""Lets streams take turns, so that their threads do not fight for the interpreter.

Every stream computes in a thread of its own. Most of that happens outside the interpreter, but each way back into it
waits for whoever holds its lock; with many more threads than cores they spend their time in handing it around, and a
box with idle cores falls behind its cameras. So no more pictures are worked on at a time than there are cores, and
one more that makes up for waits; among the streams of an event loop, first come is first served. A stream that is cancelled
gives its turn back at once, even where its thread hangs.
"""

from __future__ import annotations

import asyncio
import os
from weakref import WeakKeyDictionary

_SPARE = 1


class Turns:
    """A semaphore that can be widened: `async with turns:`.

    Args:
        count: How many may work at a time.
    """

    def __init__(self, count: int) -> None:
        self._semaphore = asyncio.Semaphore(count)
        self._count = count

    async def __aenter__(self) -> None:
        await self._semaphore.acquire()

    async def __aexit__(self, *_: object) -> None:
        self._semaphore.release()

    def widen(self, count: int) -> None:
        """Lets at least so many work at a time, from now on."""
        while self._count < count:
            self._count += 1
            self._semaphore.release()


_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, Turns] = WeakKeyDictionary()


def turns(*, at_least: int = 1) -> Turns:
    """The turns that the streams of the running event loop share.

    Args:
        at_least: Streams that wait for each other, to share a run of the model, must be at work together.
    """
    loop = asyncio.get_running_loop()
    if loop not in _turns:
        _turns[loop] = Turns(len(os.sched_getaffinity(0)) + _SPARE)
    _turns[loop].widen(at_least)
    return _turns[loop]
