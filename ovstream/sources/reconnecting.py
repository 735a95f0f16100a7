"""Sources that connect to somebody, and connect again for ever."""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod

from ovstream.config import SourceConfig
from ovstream.errors import ConfigError, SourceAuthError, SourceError, SourceProtocolError
from ovstream.sources.base import OnEvent
from ovstream.sources.live import LiveQueue, LiveSource
from ovstream.sources.pacing import Backoff
from ovstream.sources.rtp_intake import RtpIntake

_log = logging.getLogger("ovstream")


class ReconnectingSource(LiveSource):
    """Never gives a camera up: subclasses write `_connection`, which connects once.

    The first connection attempt raises its error unless `config.keep_trying`; after one success every failure
    leads to another attempt, with growing pauses.

    Args:
        name: See `Source`.
        config: How to connect.
        on_event: Called in the event loop.
        give_up: Errors of this kind are raised in any case, as long as no unit has arrived.
    """

    def __init__(
        self,
        name: str,
        *,
        config: SourceConfig,
        on_event: OnEvent,
        give_up: tuple[type[SourceError], ...] = (),
    ) -> None:
        super().__init__(name, queue_units=config.queue_units, on_event=on_event)
        self._config = config
        self._give_up = give_up
        self._intake = RtpIntake(name, stats=self.stats, max_pixels=config.max_pixels, on_event=on_event)

    @abstractmethod
    async def _connection(self) -> SourceError:
        """Connects once and receives into `_intake` until it breaks; returns why, and leaves nothing open."""

    async def _receive(self, queue: LiveQueue) -> None:
        self._intake.queue = queue
        backoff = Backoff(
            initial_seconds=self._config.reconnect_initial_seconds,
            max_seconds=self._config.reconnect_max_seconds,
        )
        while True:
            before = self._intake.last_arrival_ns
            failure = await self._attempt()
            if self._is_final(failure):
                raise failure
            if self._intake.last_arrival_ns != before:
                backoff.reset()
            pause_seconds = backoff.next_seconds(slow=isinstance(failure, SourceAuthError))
            self._on_event("reconnecting", f"{failure}; next attempt in {pause_seconds:.1f} s")
            await asyncio.sleep(pause_seconds)

    async def _attempt(self) -> SourceError:
        try:
            return await self._connection()
        except (SourceError, ConfigError):
            raise
        except Exception as error:  # a defect of ours, met by one camera, must not cost it for ever
            _log.exception("%s: the connection ended in an unexpected way", self.name)
            return SourceError(f"{self.name}: unexpected {type(error).__name__}")

    def _is_final(self, failure: SourceError) -> bool:
        if self._intake.last_arrival_ns is not None:
            return False
        unreadable = isinstance(failure, SourceProtocolError)
        first = not self._intake.connected_before or unreadable
        return isinstance(failure, self._give_up) or (first and not self._config.keep_trying)
