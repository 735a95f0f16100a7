"""Everything between the sockets of a subscription and its reader, without waiting: no task, no thread."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ovstream.errors import WireError
from ovstream.publish.events import Event, Gap, Reset, Stale
from ovstream.publish.follower import Numbered
from ovstream.publish.following import Following, Known
from ovstream.publish.receiving import ReceivingSockets
from ovstream.publish.ring import Ring
from ovstream.types import Embedding, StreamEvent
from ovstream.wire import Heartbeat, Published, Reply, Request, Status, parse, parse_reply

BATCH = 64  # messages read before others get a turn
_GAPS_KEPT = 1000
_POLL_SECONDS = 0.05  # between looks at what takes too long
_LIST_AGAIN_SECONDS = 0.5
_LIST_TRIES = 20
_BROKEN = (
    "a message that breaks the protocol, perhaps larger than 16 MiB, ended the connection; connected again"
)


@dataclass(slots=True)
class SubscriptionStats:
    """What happened on the way; counters only grow.

    Attributes:
        received: Messages that arrived and were new; some of them are held until earlier ones have come.
        recovered: Messages that came by asking for them.
        delivered: Embeddings given to the reader.
        dropped: Embeddings pushed out of the ring by newer ones before they were read.
        dropped_events: Gaps and other events pushed out likewise, where no embedding was left to give way.
        stale: Embeddings older than `max_age` when their turn came.
        lost: Embeddings that were sent and cannot be had, over all gaps.
        lost_events: Status messages likewise.
        duplicates: Messages with a number already seen.
        fenced: Messages of an earlier epoch.
        invalid: Messages that are none, or one stream too many.
        heartbeats: Signs of life and status messages.
        requests: For what was missed.
        reconnects: Connections made anew after a publisher broke the protocol.
        age_ms: Of the last delivery: now minus publish time, by the wall clocks of both machines.
    """

    received: int = 0
    recovered: int = 0
    delivered: int = 0
    dropped: int = 0
    dropped_events: int = 0
    stale: int = 0
    lost: int = 0
    lost_events: int = 0
    duplicates: int = 0
    fenced: int = 0
    invalid: int = 0
    heartbeats: int = 0
    requests: int = 0
    reconnects: int = 0
    age_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class StreamHealth:
    """How a stream stands, seen from a subscriber.

    Attributes:
        stream_id: Name of the stream.
        epoch: The latest one seen.
        next_seq: The number expected next.
        heard_ago_seconds: Time since its last message; publishers send a heartbeat every second.
        ended: The publisher said that it is over.
    """

    stream_id: str
    epoch: int
    next_seq: int
    heard_ago_seconds: float
    ended: bool


class Reception:
    """Reads sockets, orders messages, asks for what is missing, and keeps events for the reader.

    Args:
        sockets: Connected.
        following: Fresh.
        ring: Empty.
        streams: Wanted; None: all.
        early: Ask at once what there is, instead of waiting for heartbeats.
        max_age_seconds: Leaves out embeddings older than this.
        until_end: Is over once all streams wanted (or heard) have ended.
        clock_ns: Wall clock (UTC, Unix).
    """

    def __init__(
        self,
        sockets: ReceivingSockets,
        following: Following,
        ring: Ring,
        *,
        streams: Sequence[str] | None,
        early: bool,
        max_age_seconds: float | None,
        until_end: bool,
        clock_ns: Callable[[], int],
    ) -> None:
        self.sockets = sockets
        self.gaps: deque[Gap] = deque(maxlen=_GAPS_KEPT)
        self.finished = False
        self._following = following
        self._ring = ring
        self._streams = streams
        self._max_age_seconds = max_age_seconds
        self._until_end = until_end
        self._clock_ns = clock_ns
        self._stats = SubscriptionStats()
        self._old: set[str] = set()  # streams of which a stale embedding was told
        self._polled = 0.0
        self._expecting = True  # answers, as far as is known; otherwise it is enough to look now and then
        self._lists = _LIST_TRIES if early else 0
        self._listed = 0.0

    @property
    def stats(self) -> SubscriptionStats:
        """A copy of the counters."""
        return replace(
            self._stats, recovered=self._following.recovered, dropped_events=self._ring.dropped_events
        )

    @property
    def full(self) -> bool:
        """Whether the reader must take something before more is read."""
        return self._ring.full

    @property
    def waiting(self) -> bool:
        """Whether there is something to read whose place nothing newer may take."""
        return not self._ring.latest and bool(self._ring)

    @property
    def heard(self) -> bool:
        """Whether anything was ever heard."""
        return bool(self._following.streams)

    def health(self) -> dict[str, StreamHealth]:
        """Every stream heard so far, by name."""
        now = time.monotonic()
        return {name: _health(name, one, now) for name, one in self._following.streams.items()}

    def read(self) -> int:
        """Reads what has arrived, up to a batch or a full ring; returns how many messages."""
        now = time.monotonic()
        messages = self.sockets.receive(min(BATCH, self._ring.room))
        for frames in messages:
            self._take(frames, now)
        count = len(messages)
        look = now - self._polled >= _POLL_SECONDS
        if look or self._expecting or not messages:
            answered = self._read_answers(now)
            count += answered
            if look:
                self._expecting = answered > 0 or self._lists > 0 or self._following.asking
                self._look(now)
        self._until_end_reached()
        return count

    def pop(self) -> Event | None:
        """The next event for the reader; None: there is none now."""
        while self._ring:
            event = self._ring.pop()
            if not isinstance(event, Embedding):
                return event
            age_seconds = (self._clock_ns() - event.publish_time_ns) * 1e-9
            if self._max_age_seconds is not None and age_seconds > self._max_age_seconds:
                self._stats.stale += 1
                if event.stream_id not in self._old:
                    self._old.add(event.stream_id)
                    return Stale(event.stream_id, "old", age_seconds, event.seq)
                continue
            if self._old:
                self._old.discard(event.stream_id)
            self._stats.delivered += 1
            self._stats.age_ms = age_seconds * 1e3
            return event
        return None

    def close(self) -> None:
        """Closes the sockets; what waits in the ring is given up."""
        self.finished = True
        self.sockets.close()
        while self._ring:
            self._ring.pop()

    def _read_answers(self, now: float) -> int:
        count = 0
        for publisher in range(self.sockets.publishers):
            while not self._ring.full and (answers := self.sockets.answer(publisher)):
                count += 1
                self._take_answer(answers[0], publisher, now)
        return count

    def _take(self, frames: list[bytes], now: float) -> None:
        try:
            message = parse(frames)
        except WireError:
            self._stats.invalid += 1
            return
        if self._following.step(message, now_seconds=now):
            self._stats.received += 1
            self._push(message.embedding)  # type: ignore[union-attr]
            return
        verdict = self._following.take(message, now_seconds=now)
        if verdict == "unknown":
            self._stats.invalid += 1
        elif verdict == "fenced":
            self._stats.fenced += 1
        elif not isinstance(message, Published):
            self._stats.heartbeats += 1
        elif verdict == "fresh":
            self._stats.received += 1
        elif verdict == "duplicate":
            self._stats.duplicates += 1
        self._deliver(now)

    def _take_answer(self, frames: list[bytes], publisher: int, now: float) -> None:
        try:
            reply = parse_reply(frames)
            messages = [parse(message) for message in reply.messages]
        except WireError:
            self._stats.invalid += 1
            return
        if reply.kind == "list":
            self._take_list(reply, messages, now)
        else:
            numbered = [one for one in messages if isinstance(one, (Published, Status))]
            self._following.answer(reply, numbered, publisher=publisher)
        self._deliver(now)

    def _take_list(self, reply: Reply, messages: Sequence[object], now: float) -> None:
        self._lists = 0
        for message in messages:
            if isinstance(message, (Heartbeat, Status)) and self._wanted(message.stream_id):
                self._following.take(message, now_seconds=now)

    def _deliver(self, now: float) -> None:
        """Puts what is in order into the ring, and asks for what is not."""
        for item in self._following.drain():
            if isinstance(item, Gap):
                self._count(item)
            self._push(item if isinstance(item, (Gap, Reset)) else _event_of(item))
        self._ask(now)

    def _ask(self, now: float) -> None:
        if not self._ring.roomy:
            return
        for request in self._following.poll(now):
            self._stats.requests += 1
            self._expecting = True
            self.sockets.ask(request)

    def _look(self, now: float) -> None:
        """What has to be done although nothing arrived."""
        self._polled = now
        self._deliver(now)
        for endpoint in self.sockets.mend(now):
            self._stats.reconnects += 1
            self._push(StreamEvent("error", "", self._clock_ns(), f"{endpoint}: {_BROKEN}"))
        for name, seconds in self._following.silent(now):
            self._push(Stale(name, "silent", seconds))
        if self._lists and now - self._listed >= _LIST_AGAIN_SECONDS:
            self._listed = now
            self._lists -= 1
            self._expecting = True
            self.sockets.ask(Request("list"))

    def _push(self, event: Event) -> None:
        self._stats.dropped += self._ring.push(event)

    def _count(self, gap: Gap) -> None:
        self.gaps.append(gap)
        if gap.channel == "e":
            self._stats.lost += gap.count
        else:
            self._stats.lost_events += gap.count

    def _wanted(self, stream_id: str) -> bool:
        return self._streams is None or stream_id in self._streams

    def _until_end_reached(self) -> None:
        if not self._until_end or self.finished:
            return
        known = self._following.streams
        wanted = known.keys() if self._streams is None else self._streams
        self.finished = bool(known) and all(
            name in known and known[name].ended and not known[name].embeddings.missing for name in wanted
        )


def _event_of(item: Numbered) -> Event:
    if isinstance(item, Published):
        return item.embedding
    return StreamEvent(item.kind, item.stream_id, item.time_ns, item.detail)  # type: ignore[arg-type]


def _health(name: str, known: Known, now: float) -> StreamHealth:
    return StreamHealth(
        stream_id=name,
        epoch=max(known.embeddings.top_epoch, known.embeddings.epoch),
        next_seq=known.embeddings.next_seq,
        heard_ago_seconds=now - known.heard_seconds,
        ended=known.ended,
    )
