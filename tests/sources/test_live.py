"""Sources in the event loop: queue, end, error, closing; one source that stands in for another."""

from __future__ import annotations

import asyncio

import pytest

from ovstream.errors import SourceAuthError, SourceError, SourceProtocolError
from ovstream.sources import MemorySource
from ovstream.sources.fallback import FallbackSource
from ovstream.sources.live import LiveQueue, LiveSource
from tests.sources.support import collect, make_unit


class Scripted(LiveSource):
    """Puts `count` units, then does what `end` says."""

    def __init__(
        self, count: int, *, end: SourceError | None = None, hang: bool = False, **more: object
    ) -> None:
        super().__init__("scripted", queue_units=8, **more)  # type: ignore[arg-type]
        self.count, self.end, self.hang = count, end, hang
        self.cleaned = False

    async def _receive(self, queue: LiveQueue) -> None:
        try:
            for index in range(self.count):
                queue.offer(make_unit(index, keyframe=True))
            if self.hang:
                await asyncio.Event().wait()
            if self.end is not None:
                raise self.end
        finally:
            self.cleaned = True


async def test_units_come_before_the_end() -> None:
    events: list[str] = []
    source = Scripted(3, on_event=lambda kind, _detail: events.append(kind))
    assert [unit.pts for unit in await collect(source)] == [0, 1, 2]
    assert (events, source.stats.units, source.stats.bytes) == (["ended"], 3, 18)


async def test_units_come_before_the_error() -> None:
    source = Scripted(2, end=SourceError("broken"))
    stream = source.units()
    assert [(await anext(stream)).pts for _ in range(2)] == [0, 1]
    with pytest.raises(SourceError, match="broken"):
        await anext(stream)


async def test_closing_cleans_up() -> None:
    source = Scripted(1, hang=True)
    stream = source.units()
    await anext(stream)
    await source.aclose()
    assert source.cleaned
    assert [unit async for unit in stream] == []


async def test_the_queue_is_bounded() -> None:
    queue = LiveQueue(2)
    assert [queue.offer(make_unit(index)) for index in range(3)] == [True, True, False]
    assert [unit.pts for unit in queue.take_all()] == [0, 1]
    queue.offer(make_unit(7))
    queue.end()
    first = await queue.get()
    assert first is not None
    assert first.pts == 7
    assert await queue.get() is None


async def test_another_source_stands_in_after_a_protocol_error() -> None:
    events: list[tuple[str, str]] = []
    first, second = (
        Scripted(0, end=SourceProtocolError("cam is odd")),
        MemorySource([make_unit(5, keyframe=True)]),
    )
    first.stats.dropped = 2
    source = FallbackSource(
        first,
        lambda: second,
        second_name="FFmpeg",
        on_event=lambda kind, detail: events.append((kind, detail)),
    )
    assert [unit.pts for unit in await collect(source)] == [5]
    assert events == [("fallback", "cam is odd; going on with FFmpeg")]
    assert (source.stats.units, source.stats.dropped) == (1, 2)  # counters only grow
    await source.aclose()


async def test_nothing_stands_in_after_other_errors() -> None:
    def never() -> MemorySource:
        raise AssertionError

    source = FallbackSource(
        Scripted(0, end=SourceAuthError("no")), never, second_name="x", on_event=lambda kind, detail: None
    )
    with pytest.raises(SourceAuthError):
        await collect(source)
    assert repr(source) == "FallbackSource(Scripted('scripted'))"


async def test_the_queue_is_bounded_in_bytes_too() -> None:
    queue = LiveQueue(100, max_bytes=20)
    assert [queue.offer(make_unit(index)) for index in range(4)] == [True, True, True, False]
    await queue.get()
    assert queue.offer(make_unit(4))
    assert len(queue.take_all()) == 3
    small = LiveQueue(100, max_bytes=1)
    assert small.offer(make_unit(5)), "a single unit passes, whatever its size"
    assert not small.offer(make_unit(6))
