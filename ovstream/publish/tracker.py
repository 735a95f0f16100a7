"""Follows the numbering of many streams and finds what is missing; pure, without socket or clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ovstream.wire import Message, Published, Status

Verdict = Literal["fresh", "duplicate", "fenced", "unknown"]


@dataclass(frozen=True, slots=True)
class Gap:
    """Embeddings that were sent but never arrived.

    Attributes:
        stream_id: Name of the stream.
        epoch: Of the lost embeddings.
        first: Number of the first one.
        last: Number of the last one.
    """

    stream_id: str
    epoch: int
    first: int
    last: int

    @property
    def count(self) -> int:
        """How many are missing."""
        return self.last - self.first + 1


@dataclass(slots=True)
class StreamState:
    """What a subscriber knows about one stream.

    Attributes:
        stream_id: Name of the stream.
        epoch: The latest one seen; messages of earlier ones are refused.
        next_seq: The number expected next.
        heard_seconds: Receiver's monotonic clock at the last message of any kind.
        ended: The publisher said that the stream is over.
    """

    stream_id: str
    epoch: int
    next_seq: int
    heard_seconds: float
    ended: bool = False


class Tracker:
    """Tells fresh messages from repeated and outdated ones, and names the gaps between them.

    A stream is joined where its first message stands: what was sent earlier is not missing. From there on
    every message says which numbers went before it, so a gap shows at the next message of any kind.

    Args:
        max_streams: Streams that are followed; a bound against senders that invent names.
    """

    def __init__(self, *, max_streams: int = 4096) -> None:
        self.streams: dict[str, StreamState] = {}
        self._max_streams = max_streams

    def accept(self, message: Message, *, now_seconds: float) -> tuple[Verdict, list[Gap]]:
        """Takes the next message, in the order of arrival.

        Returns:
            "fresh", "duplicate" (a number already seen), "fenced" (of an earlier epoch: its sender was
            replaced), or "unknown" (one stream too many); and the gaps that it uncovers.
        """
        state = self._join(message, now_seconds)
        if state is None:
            return "unknown", []
        if message.epoch < state.epoch:
            return "fenced", []
        gaps = [*self._enter_epoch(state, message), *self._find_gap(state, message.sent_before)]
        state.heard_seconds = now_seconds
        state.ended = isinstance(message, Status) and message.kind == "ended"
        if isinstance(message, Published):
            if message.embedding.seq < state.next_seq:
                return "duplicate", gaps
            state.next_seq = message.embedding.seq + 1
        return "fresh", gaps

    def _join(self, message: Message, now_seconds: float) -> StreamState | None:
        state = self.streams.get(message.stream_id)
        if state is None and len(self.streams) < self._max_streams:
            state = StreamState(message.stream_id, message.epoch, message.sent_before, now_seconds)
            self.streams[message.stream_id] = state
        return state

    @staticmethod
    def _enter_epoch(state: StreamState, message: Message) -> list[Gap]:
        """Moves to a new epoch; numbers that it skips belonged to the old one and never arrived."""
        if message.epoch == state.epoch:
            return []
        gaps = Tracker._find_gap(state, message.first_seq)
        state.epoch = message.epoch
        state.next_seq = message.first_seq
        return gaps

    @staticmethod
    def _find_gap(state: StreamState, sent_before: int) -> list[Gap]:
        if sent_before <= state.next_seq:
            return []
        gap = Gap(state.stream_id, state.epoch, state.next_seq, sent_before - 1)
        state.next_seq = sent_before
        return [gap]
