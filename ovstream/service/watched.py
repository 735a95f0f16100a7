"""A stream as the service sees it, wherever it runs."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from ovstream.config import StreamConfig
from ovstream.service.facts import Facts, Origin, State
from ovstream.service.timeline import Timeline
from ovstream.types import Checkpoint


class Watched(Protocol):
    """What `Camera` and `RemoteCamera` have in common.

    Attributes:
        config: Of the stream.
        origin: Who named it.
        opened: It has been opened once, or was tried at least.
    """

    config: StreamConfig
    origin: Origin
    opened: asyncio.Event

    @property
    def stream_id(self) -> str:
        """Its name."""

    @property
    def timeline(self) -> Timeline:
        """Its last ten minutes."""

    @property
    def state(self) -> State:
        """How it is, in one word."""

    def facts(self) -> Facts:
        """How it is, in full."""

    def start(self) -> None:
        """Begins, unless it runs already or is paused."""

    async def stop(self, state: State = "stopped") -> None:
        """Ends the stream and remembers where it stood; may be called twice."""

    def begin_stop(self) -> None:
        """Begins the end without waiting for it; `stop` waits."""

    async def reconfigure(self, config: StreamConfig) -> None:
        """Goes on under another configuration of the same name, with the next number."""

    def ease(self, level: int, reason: str) -> None:
        """Does as much as a level of `LEVELS` says, from now on."""

    def checkpoint(self) -> Checkpoint | None:
        """Where it stands; None before its first life."""

    def tick(self) -> None:
        """Once a second: looks after itself."""

    async def picture(self, *, width: int, fresh: bool) -> bytes | None:
        """The newest picture as JPEG; None before the first.

        Args:
            width: See `preview.jpeg`.
            fresh: Decode, if the last decoded one is older than a second.
        """

    async def overlay(self, *, after: int = 0) -> tuple[int, dict[str, Any]] | None:
        """What may be drawn over the picture, and the number of that picture; None where none came after `after`."""
