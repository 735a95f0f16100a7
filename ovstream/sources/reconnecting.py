"""Sources that connect to somebody, and connect again for ever."""

from __future__ import annotations

import asyncio
from abc import abstractmethod

from ovstream.config import SourceConfig
from ovstream.errors import ConfigError, SourceError
from ovstream.sources.base import OnEvent
from ovstream.sources.live import LiveQueue, LiveSource
from ovstream.sources.retry import Retry, unexpected
from ovstream.sources.rtp_intake import RtpIntake


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
        self._retry = Retry(config, give_up=give_up)
        self._intake = RtpIntake(name, stats=self.stats, max_pixels=config.max_pixels, on_event=on_event)

    @abstractmethod
    async def _connection(self) -> SourceError:
        """Connects once and receives into `_intake` until it breaks; returns why, and leaves nothing open."""

    async def _receive(self, queue: LiveQueue) -> None:
        self._intake.queue = queue
        while True:
            failure = await self._attempt()
            pause_seconds = self._retry.pause_seconds(
                failure,
                connected=self._intake.connected_before,
                last_arrival_ns=self._intake.last_arrival_ns,
            )
            self._on_event("reconnecting", f"{failure}; next attempt in {pause_seconds:.1f} s")
            await asyncio.sleep(pause_seconds)

    async def _attempt(self) -> SourceError:
        try:
            return await self._connection()
        except (SourceError, ConfigError):
            raise
        except Exception as error:
            return unexpected(self.name, error)
