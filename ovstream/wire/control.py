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
        oldest_seq: Lowest number that can be asked for again; `next_seq`: none can. None: nobody can be asked.
        first_event: Where the numbering of the status messages began.
        next_event: Number of the next status message.
        oldest_event: As `oldest_seq`, of the status messages.
    """

    stream_id: str
    epoch: int
    first_seq: int
    next_seq: int
    time_ns: int
    oldest_seq: int | None = None
    first_event: int = 0
    next_event: int = 0
    oldest_event: int | None = None

    @property
    def sent_before(self) -> int:
        """Numbers from `first_seq` up to, not including, this one were sent before this message."""
        return self.next_seq


@dataclass(frozen=True, slots=True)
class Status:
    """Something that happened to a stream; "ended" is its last message, and may come more than once.

    Attributes:
        stream_id: Name of the stream.
        epoch: As in `Embedding`.
        first_seq: As in `Heartbeat`.
        next_seq: As in `Heartbeat`.
        time_ns: Wall clock of the publisher (UTC, Unix).
        kind: What happened: an `EventKind`, or a word that only a later version knows.
        detail: One sentence for people; never contains credentials.
        event_seq: Its number; status messages are counted apart from the embeddings.
        first_event: Where that numbering began.
    """

    stream_id: str
    epoch: int
    first_seq: int
    next_seq: int
    time_ns: int
    kind: str
    detail: str = ""
    event_seq: int = 0
    first_event: int = 0

    @property
    def sent_before(self) -> int:
        """Numbers from `first_seq` up to, not including, this one were sent before this message."""
        return self.next_seq


def encode_heartbeat(heartbeat: Heartbeat) -> list[bytes]:
    """Turns a heartbeat into two frames."""
    fields = {
        **_common(heartbeat),
        "ok": heartbeat.oldest_seq,
        "e0": heartbeat.first_event,
        "ne": heartbeat.next_event,
        "oe": heartbeat.oldest_event,
    }
    return [stream_topic("h", heartbeat.stream_id).encode(), pack(fields)]


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
        pack(
            {
                **_common(status),
                "st": status.kind,
                "d": detail,
                "eq": status.event_seq,
                "e0": status.first_event,
            }
        ),
    ]


def parse_heartbeat(frames: Sequence[bytes], fields: Fields) -> Heartbeat:
    """Turns two frames, of which the header is already unpacked, into a heartbeat."""
    stream_id = fields.stream_id()
    check_topic(frames, "h", stream_id)
    next_seq = fields.integer("nq")
    next_event = fields.optional_integer("ne") or 0
    return Heartbeat(
        stream_id=stream_id,
        epoch=fields.integer("ep"),
        first_seq=fields.integer("q0", high=next_seq),
        next_seq=next_seq,
        time_ns=fields.integer("t"),
        oldest_seq=fields.optional_integer("ok", high=next_seq),
        first_event=fields.optional_integer("e0", high=next_event) or 0,
        next_event=next_event,
        oldest_event=fields.optional_integer("oe", high=next_event),
    )


def parse_status(frames: Sequence[bytes], fields: Fields) -> Status:
    """Turns two frames, of which the header is already unpacked, into a status."""
    stream_id = fields.stream_id()
    check_topic(frames, "s", stream_id)
    next_seq = fields.integer("nq")
    event_seq = fields.optional_integer("eq") or 0
    return Status(
        stream_id=stream_id,
        epoch=fields.integer("ep"),
        first_seq=fields.integer("q0", high=next_seq),
        next_seq=next_seq,
        time_ns=fields.integer("t"),
        kind=fields.word("st"),
        detail=fields.text("d"),
        event_seq=event_seq,
        first_event=fields.optional_integer("e0", high=event_seq) or 0,
    )


def _common(message: Heartbeat | Status) -> dict[str, int | str | None]:
    return {
        "v": WIRE_MAJOR,
        "id": message.stream_id,
        "ep": message.epoch,
        "q0": message.first_seq,
        "nq": message.next_seq,
        "t": message.time_ns,
    }
