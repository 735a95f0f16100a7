"""Keeps embeddings in memory: for tests, including those of users."""

from __future__ import annotations

from ovstream.sinks.base import Sink
from ovstream.types import Embedding, StreamEvent


class MemorySink(Sink):
    """Collects what a pipeline publishes.

    Attributes:
        embeddings: In order of publishing.
        events: Likewise.
        heartbeats: Wall clocks (ns) of the heartbeats.
        ended: Streams that are over.
        closed: `close` was called.
    """

    def __init__(self) -> None:
        self.embeddings: list[Embedding] = []
        self.events: list[StreamEvent] = []
        self.heartbeats: list[int] = []
        self.ended: list[str] = []
        self.closed = False

    def publish(self, embedding: Embedding) -> None:
        """Keeps one embedding."""
        self.embeddings.append(embedding)

    def heartbeat(self, now_ns: int, *, stream_id: str | None = None) -> None:
        """Keeps the time."""
        self.heartbeats.append(now_ns)

    def event(self, event: StreamEvent) -> None:
        """Keeps an event."""
        self.events.append(event)

    def end(self, stream_id: str) -> None:
        """Keeps the name of a stream that is over."""
        self.ended.append(stream_id)

    def close(self) -> None:
        """Remembers that it was closed."""
        self.closed = True
