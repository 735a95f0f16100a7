"""What a publisher says of its streams beside embeddings: heartbeats, and what happened to them."""

from __future__ import annotations

from ovstream.publish.journal import Journal
from ovstream.publish.numbering import Numbering, Sequence
from ovstream.types import EventKind
from ovstream.wire import Heartbeat, Status, encode_heartbeat, encode_status


class Standing:
    """Makes messages out of numbering and journal; called by the publisher and by the thread beside it.

    Attributes:
        time_ns: The last time (UTC, Unix) that the publisher heard of.
    """

    def __init__(self, numbering: Numbering, journal: Journal) -> None:
        self.time_ns = 0
        self._numbering = numbering
        self._journal = journal

    def beat(self, name: str, sequence: Sequence) -> list[bytes]:
        """A heartbeat of a stream; of one that ended, its last status message once more."""
        return self._end(name, sequence) if sequence.ended else encode_heartbeat(self._beat(name, sequence))

    def status(
        self, name: str, sequence: Sequence, kind: EventKind, detail: str, *, number: int
    ) -> list[bytes]:
        """A status message."""
        place = (name, sequence.epoch, sequence.first_seq, sequence.next_seq, self.time_ns)
        status = Status(*place, kind, detail, event_seq=number, first_event=sequence.first_event)
        return encode_status(status)

    def catalogue(self) -> list[list[bytes]]:
        """A heartbeat of every stream, and the end of those that ended."""
        known = list(self._numbering.items())
        beats = [encode_heartbeat(self._beat(name, one)) for name, one in known]
        return beats + [self._end(name, one) for name, one in known if one.ended]

    def _end(self, name: str, sequence: Sequence) -> list[bytes]:
        last = max(sequence.next_event - 1, sequence.first_event)
        return self.status(name, sequence, "ended", "", number=last)

    def _beat(self, name: str, sequence: Sequence) -> Heartbeat:
        next_seq, next_event = (
            sequence.next_seq,
            sequence.next_event,
        )  # before asking the journal, which may go on
        return Heartbeat(
            name,
            sequence.epoch,
            sequence.first_seq,
            next_seq,
            self.time_ns,
            oldest_seq=_oldest(self._journal.oldest(name, "e"), next_seq),
            first_event=sequence.first_event,
            next_event=next_event,
            oldest_event=_oldest(self._journal.oldest(name, "s"), next_event),
        )


def _oldest(kept: int | None, end: int) -> int:
    return end if kept is None else min(kept, end)
