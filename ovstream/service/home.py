"""What one stream asks of the service around it; in the service's own process, and, over a link, in a worker's."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ovstream.config import StreamConfig
from ovstream.pipeline import Outputs
from ovstream.service.checkpoints import Fence, StateFolder
from ovstream.service.encoders import EncoderPool
from ovstream.service.events import EventLog
from ovstream.service.publishers import Publishers
from ovstream.sinks import Sink
from ovstream.sources import OnEvent, Source
from ovstream.types import Checkpoint, EventKind


@dataclass(frozen=True, slots=True)
class Life:
    """What a stream begins with.

    Attributes:
        restore: Where an earlier process stopped, as far as the service knows.
        sinks: Where its results go.
    """

    restore: Checkpoint | None
    sinks: Sequence[Sink]


class Home(Protocol):
    """The service, seen from a stream."""

    @property
    def encoders(self) -> EncoderPool:
        """Models of this process."""

    async def begin(self, config: StreamConfig, stand: Callable[[], Checkpoint]) -> Life:
        """Opens what the stream of a configuration needs for its next life.

        Args:
            config: Of the stream.
            stand: Tells where the stream stands, once it runs.

        Raises:
            ConfigError: An output cannot be opened.
        """

    def save(self, checkpoint: Checkpoint) -> None:
        """Keeps where a stream stands."""

    def tell(self, stream_id: str, kind: str, detail: str) -> None:
        """Learns of an event."""

    def source(self, config: StreamConfig, on_event: OnEvent) -> Source | None:
        """What replaces the source that a configuration names, if anything does."""


@dataclass(slots=True)
class OwnHome:
    """The service, for streams of its own process.

    Attributes:
        encoders: Models.
        sinks: Publishers and sinks of all streams.
        log: Gets every event.
        state: Where checkpoints go; None: nowhere.
        open_source: Replaces the source that a configuration names (for tests and embedding); None: does not.
        publishers: Makes the sources of streams that are sent to us; None: there are none.
    """

    encoders: EncoderPool
    sinks: Outputs
    log: EventLog
    state: StateFolder | None = None
    open_source: Callable[[StreamConfig], Source | None] = field(default=lambda config: None)
    publishers: Publishers | None = None

    async def begin(self, config: StreamConfig, stand: Callable[[], Checkpoint]) -> Life:
        """See `Home`."""
        sinks: list[Sink] = self.sinks.of(config)
        if self.state is None:
            return Life(None, sinks)
        return Life(self.state.load(config.stream_id), [Fence(self.state, stand), *sinks])

    def save(self, checkpoint: Checkpoint) -> None:
        """Writes the checkpoint, where there is a place for it.

        Nobody waits for the disk: a power cut may lose the newest number, but never gives one away twice, for each
        epoch was written before its first result left.
        """
        if self.state is not None:
            with contextlib.suppress(OSError):  # a full disk is no reason to stop a stream
                self.state.save(checkpoint, durable=False)

    def tell(self, stream_id: str, kind: str, detail: str) -> None:
        """See `Home`."""
        self.log.add(stream_id, kind, detail)

    def source(self, config: StreamConfig, on_event: OnEvent) -> Source | None:
        """See `Home`."""
        source = self.open_source(config)
        if source is not None or self.publishers is None:
            return source

        def tell(kind: EventKind, detail: str) -> None:
            if kind != "ended":  # the stream says so itself
                on_event(kind, detail)

        return self.publishers.source(config, tell)
