"""The public fake."""

from __future__ import annotations

import pytest

from ovstream.errors import SourceTimeout
from ovstream.sources import MemorySource, Notice, Pause, Source
from tests.sources.support import FakeClock, collect, make_unit


async def test_the_script_is_played_in_order() -> None:
    clock, events = FakeClock(), []
    script = [make_unit(0), Pause(2.5), Notice("lost", "a packet"), make_unit(1)]
    source: Source = MemorySource(
        script, sleep=clock.sleep, on_event=lambda kind, detail: events.append((kind, detail))
    )
    assert [unit.pts for unit in await collect(source)] == [0, 1]
    assert clock.sleeps == [2.5]
    assert events == [("lost", "a packet"), ("ended", "memory")]
    assert (source.stats.units, source.stats.bytes) == (2, 12)


async def test_exceptions_are_raised_where_they_stand() -> None:
    source = MemorySource([make_unit(0), SourceTimeout("silent"), make_unit(1)])
    units = source.units()
    assert (await anext(units)).pts == 0
    with pytest.raises(SourceTimeout, match="silent"):
        await anext(units)


async def test_close_ends_the_iteration() -> None:
    source = MemorySource([make_unit(index) for index in range(5)], live=True)
    units = source.units()
    await anext(units)
    await source.aclose()
    assert [unit async for unit in units] == []
    assert source.live
