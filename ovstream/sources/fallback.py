"""A source that another one stands in for."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import astuple

from ovstream.errors import SourceProtocolError
from ovstream.sources.base import OnEvent, Source, SourceStats
from ovstream.types import AccessUnit


class FallbackSource:
    """Tries one way to read a camera, and another one when the camera does not speak as the first expects.

    Only a `SourceProtocolError` changes the way: a wrong password stays wrong.

    Args:
        first: Raises `SourceProtocolError` before its first unit, or never.
        make_second: Makes the other source.
        second_name: What it is, for the event.
        on_event: Told once, in the event loop.
    """

    live = True

    def __init__(
        self, first: Source, make_second: Callable[[], Source], *, second_name: str, on_event: OnEvent
    ) -> None:
        self.name = first.name
        self._source = first
        self._make_second: Callable[[], Source] | None = make_second
        self._second_name = second_name
        self._on_event = on_event
        self._closed = False
        self._before: SourceStats | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._source!r})"

    @property
    def stats(self) -> SourceStats:
        """Counters of the source in use, and of the one before it."""
        if self._before is None:
            return self._source.stats
        both = zip(astuple(self._before), astuple(self._source.stats), strict=True)
        return SourceStats(*(one + other for one, other in both))

    async def units(self) -> AsyncGenerator[AccessUnit, None]:
        """Yields access units in coded order; see `Source`."""
        try:
            async with aclosing(self._source.units()) as units:
                async for unit in units:
                    yield unit
            return
        except SourceProtocolError as error:
            if self._make_second is None or self._closed:
                raise
            reason = str(error)
        self._on_event("fallback", f"{reason}; going on with {self._second_name}")
        self._before = self._source.stats
        self._source, self._make_second = self._make_second(), None
        async with aclosing(self._source.units()) as units:
            async for unit in units:
                yield unit

    async def aclose(self) -> None:
        """Ends a running iteration and frees everything; may be called again."""
        self._closed = True
        await self._source.aclose()
