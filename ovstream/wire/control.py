"""Heartbeats and status: they carry no vector, but say what should have arrived and that someone still sends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ovstream.errors import WireError
from ovstream.wire import limits
from ovstream.wire.fields import WIRE_MAJOR, WORD, Fields, check_topic, pack, stream_topic


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A sign of life, once a second per stream: a subscriber finds lost tails and dead publishers by it.

    Attributes:
        stream_id: Name of the stream.
        epoch: As in `Embedding`.
        first_seq: Where the numbering of this epoch began.
        next_seq: Number of the next embedding: all from `first_seq` up to here were sent before.
        time_ns: Wall clock of the publisher (UTC, Unix).
    """

    stream_id: str
    epoch: int
    first_seq: int
    next_seq: int
    time_ns: int

    @property
    def sent_before(self) -> int:
        """Numbers from `first_seq` up to, not including, this one were sent before this message."""
        return self.next_seq


@dataclass(frozen=True, slots=True)
class Status:
    """Something that happened to a stream; "ended" is the last message of an epoch.

    Attributes:
        stream_id: Name of the stream.
        epoch: As in `Embedding`.
        first_seq: As in `Heartbeat`.
        next_seq: As in `Heartbeat`.
        time_ns: Wall clock of the publisher (UTC, Unix).
        kind: What happened: an `EventKind`, or a word that only a later version knows.
        detail: One sentence for people; never contains credentials.
    """

    stream_id: str
    epoch: int
    first_seq: int
    next_seq: int
    time_ns: int
    kind: str
    detail: str = ""

    @property
    def sent_before(self) -> int:
        """Numbers from `first_seq` up to, not including, this one were sent before this message."""
        return self.next_seq


def encode_heartbeat(heartbeat: Heartbeat) -> list[bytes]:
    """Turns a heartbeat into two frames."""
    return [stream_topic("h", heartbeat.stream_id).encode(), pack(_common(heartbeat))]


def encode_status(status: Status) -> list[bytes]:
    """Turns a status into two frames; a detail that does not fit is cut, unprintable letters become '?'.

    Raises:
        WireError: The kind is no lower-case word.
    """
    if not WORD.fullmatch(status.kind):
        raise WireError(f"{status.kind!r} is no name of an event: lower-case letters, digits, '_', '-'")
    detail = "".join(letter if letter.isprintable() else "?" for letter in status.detail)
    while len(detail.encode(errors="replace")) > limits.MAX_TEXT:
        detail = detail[:-1]
    return [
        stream_topic("s", status.stream_id).encode(),
        pack({**_common(status), "st": status.kind, "d": detail}),
    ]


def parse_heartbeat(frames: Sequence[bytes], fields: Fields) -> Heartbeat:
    """Turns two frames, of which the header is already unpacked, into a heartbeat."""
    stream_id = fields.stream_id()
    check_topic(frames, "h", stream_id)
    next_seq = fields.integer("nq")
    return Heartbeat(
        stream_id=stream_id,
        epoch=fields.integer("ep"),
        first_seq=fields.integer("q0", high=next_seq),
        next_seq=next_seq,
        time_ns=fields.integer("t"),
    )


def parse_status(frames: Sequence[bytes], fields: Fields) -> Status:
    """Turns two frames, of which the header is already unpacked, into a status."""
    stream_id = fields.stream_id()
    check_topic(frames, "s", stream_id)
    next_seq = fields.integer("nq")
    return Status(
        stream_id=stream_id,
        epoch=fields.integer("ep"),
        first_seq=fields.integer("q0", high=next_seq),
        next_seq=next_seq,
        time_ns=fields.integer("t"),
        kind=fields.word("st"),
        detail=fields.text("d"),
    )


def _common(message: Heartbeat | Status) -> dict[str, int | str]:
    return {
        "v": WIRE_MAJOR,
        "id": message.stream_id,
        "ep": message.epoch,
        "q0": message.first_seq,
        "nq": message.next_seq,
        "t": message.time_ns,
    }
