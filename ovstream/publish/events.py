"""What a subscription tells beside embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ovstream.types import Embedding, StreamEvent
from ovstream.wire import Channel

GapReason = Literal["expired", "unkept", "unanswered", "restarted", "live"]


@dataclass(frozen=True, slots=True)
class Gap:
    """Messages that were sent but can no longer be had.

    Attributes:
        stream_id: Name of the stream.
        epoch: Of the lost messages, or the last one known before them.
        first: Number of the first one.
        last: Number of the last one.
        reason: "expired": they left the publisher's window. "unkept": its journal does not have them, for its disk
            was full or is damaged, or they were never sent. "unanswered": nobody answered in time. "restarted":
            the numbering began anew. "live": nobody was asked, by policy or since the publisher keeps nothing.
        channel: "e": embeddings. "s": status messages.
    """

    stream_id: str
    epoch: int
    first: int
    last: int
    reason: GapReason = "live"
    channel: Channel = "e"

    @property
    def count(self) -> int:
        """How many are missing."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class Reset:
    """A stream goes on in a new epoch: another process, a reconnected camera.

    Attributes:
        stream_id: Name of the stream.
        old_epoch: Before.
        epoch: From here on.
        seq: Number of the next embedding.
        continues: The numbering goes on; otherwise it began anew, and `seq` may be lower than before.
    """

    stream_id: str
    old_epoch: int
    epoch: int
    seq: int
    continues: bool


@dataclass(frozen=True, slots=True)
class Stale:
    """What is known of a stream is older than `max_age`, or nobody speaks of it any more.

    Attributes:
        stream_id: Name of the stream.
        reason: "old": embeddings arrived too late and are left out, this is the first of them. "silent": nothing
            was heard for some seconds; the publisher or the network is gone.
        age_seconds: Of that embedding, or since the last message.
        seq: Of that embedding; None where there is none.
    """

    stream_id: str
    reason: Literal["old", "silent"]
    age_seconds: float
    seq: int | None = None


Event = Embedding | Gap | Reset | Stale | StreamEvent
