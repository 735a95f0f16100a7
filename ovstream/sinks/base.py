"""What a pipeline expects of anything that takes its results."""

from __future__ import annotations

from typing import Protocol

from ovstream.types import AccessUnit, Embedding, SinkCounts, StreamEvent


class Sink(Protocol):
    """Takes embeddings, in order, without making the pipeline wait.

    Derive from it and write `publish`; the other methods do nothing unless they are overridden. They are
    called from one thread at a time.
    """

    def publish(self, embedding: Embedding) -> None:
        """Takes one embedding."""

    @property
    def counts(self) -> SinkCounts | None:
        """What became of the embeddings; None: it does not count. May be asked from any thread."""
        return None

    def packet(self, stream_id: str, unit: AccessUnit) -> None:
        """Learns of a compressed picture, before its results."""
        return

    def resume(self, stream_id: str) -> tuple[int, int] | None:
        """Says where an earlier process stopped: lowest (epoch, number) to go on with; None: it does not know."""
        return None

    def announce(self, stream_id: str, *, epoch: int = 0, next_seq: int = 0) -> None:
        """Learns that an epoch starts, before its first embedding."""
        return

    def heartbeat(self, now_ns: int, *, stream_id: str | None = None) -> None:
        """Learns that a stream is alive (None: all of them), once a second; `now_ns` is UTC, Unix."""
        return

    def event(self, event: StreamEvent) -> None:
        """Learns what happened to a stream."""
        return

    def end(self, stream_id: str) -> None:
        """Learns that a stream is over."""
        return

    def close(self) -> None:
        """Finishes what is on its way; may be called twice."""
        return
