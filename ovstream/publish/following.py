"""Follows all channels of all streams of a subscription; pure, without socket or clock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from ovstream.publish.events import Gap, Reset
from ovstream.publish.follower import Follower, Numbered, Rules, Verdict
from ovstream.wire import Channel, Heartbeat, Message, Published, Reply, Request, Status

SILENT_SECONDS = 3.5  # publishers speak of every stream once a second


@dataclass(slots=True)
class Known:
    """What is known of a stream beside its numbers.

    Attributes:
        embeddings: Follows its embeddings.
        events: Follows its status messages.
        heard_seconds: Receiver's monotonic clock at the last message of any kind.
        ended: The publisher said that the stream is over.
        silent: The silence was told.
    """

    embeddings: Follower
    events: Follower
    heard_seconds: float
    ended: bool = False
    silent: bool = False


@dataclass(slots=True)
class _Asked:
    """A request on its way to one or more publishers.

    Attributes:
        follower: Who asked.
        request: What.
        waiting: Publishers that have not answered.
        last: Lowest coverage among those that know the stream; None: none of them does.
        oldest: Of them.
        found: Lowest number found.
    """

    follower: Follower
    request: Request
    waiting: set[int]
    last: int | None = None
    oldest: int | None = None
    found: int | None = None


class Following:
    """Sorts messages and answers to the followers, and collects what they deliver.

    Args:
        rules: For embeddings; status messages begin live, or at a time.
        starts: Numbers to begin at, by stream; others begin as `rules` say.
        publishers: How many can be asked.
        max_streams: Streams that are followed; a bound against senders that invent names.
    """

    def __init__(
        self,
        rules: Rules,
        *,
        starts: dict[str, int] | None = None,
        publishers: int = 1,
        max_streams: int = 4096,
    ) -> None:
        self.streams: dict[str, Known] = {}
        self._rules = rules
        self._starts = starts or {}
        self._publishers = publishers
        self._max_streams = max_streams
        self._asked: dict[int, _Asked] = {}
        self._touched: list[Follower] = []  # may have something to deliver
        self._behind: set[Follower] = set()  # may have something to ask
        self._tag = 0

    @property
    def missing(self) -> bool:
        """Whether anything is still to be asked for or to be given up."""
        return any(one.embeddings.missing or one.events.missing for one in self.streams.values())

    @property
    def asking(self) -> bool:
        """Whether somebody was asked who has not answered."""
        return bool(self._asked)

    @property
    def recovered(self) -> int:
        """Messages that came by asking."""
        return sum(one.embeddings.recovered + one.events.recovered for one in self.streams.values())

    def step(self, message: Message, *, now_seconds: float) -> bool:
        """Takes an embedding that is the next one of a known stream, as nearly all are; else does nothing.

        It is to be delivered by the caller, before anything that comes later.
        """
        if type(message) is not Published or self._touched:
            return False
        known = self.streams.get(message.embedding.stream_id)
        if known is None or not known.embeddings.step(message):
            return False
        known.heard_seconds = now_seconds
        known.silent = known.ended = False
        return True

    def take(self, message: Message, *, now_seconds: float) -> Verdict | Literal["unknown"]:
        """Takes the next message, in the order of arrival; "unknown" is one stream too many."""
        known = self._known(message.stream_id, now_seconds)
        if known is None:
            return "unknown"
        verdict = self._take(known, message)
        self._touch(known.events, known.embeddings)
        if verdict == "fenced":
            return verdict
        known.heard_seconds = now_seconds
        known.silent = False
        if isinstance(message, Status) or message.epoch >= known.embeddings.top_epoch:
            known.ended = isinstance(message, Status) and message.kind == "ended"
        return verdict

    def answer(self, reply: Reply, messages: Iterable[Numbered], *, publisher: int) -> None:
        """Takes an answer to a request, and the messages in it."""
        asked = self._asked.get(reply.tag)
        follower = asked.follower if asked else self._follower(reply.stream_id, reply.channel)
        if follower is None:
            return
        for message in messages:
            if message.stream_id == follower.stream_id:
                follower.replayed(message)
        self._touch(follower)
        if asked is None or publisher not in asked.waiting:
            return
        asked.waiting.discard(publisher)
        if reply.stream_id:
            _collect(asked, reply)
        if not asked.waiting:
            self._finish(reply.tag)

    def poll(self, now_seconds: float) -> list[Request]:
        """What to ask all publishers now; also gives up what nobody answered in time."""
        requests = []
        for follower in list(self._behind):
            if not follower.missing:
                self._behind.discard(follower)
                continue
            request = follower.poll(now_seconds, self._tag + 1)
            if follower.out:
                self._touched.append(follower)
            if request is None:
                continue
            self._tag += 1
            for tag in [tag for tag, one in self._asked.items() if one.follower is follower]:
                self._finish(tag)  # with what the others said: this one will not answer any more
            self._asked[self._tag] = _Asked(follower, request, set(range(self._publishers)))
            requests.append(request)
        return requests

    def silent(self, now_seconds: float) -> Iterator[tuple[str, float]]:
        """Streams that nobody speaks of since some seconds; each silence is told once."""
        for name, known in self.streams.items():
            quiet = now_seconds - known.heard_seconds
            if quiet > SILENT_SECONDS and not known.silent and not known.ended:
                known.silent = True
                yield name, quiet

    def drain(self) -> Iterator[Numbered | Gap | Reset]:
        """What is to be delivered."""
        touched, self._touched = self._touched, []
        for follower in touched:
            if follower.out:
                out, follower.out = follower.out, []
                yield from out

    def _touch(self, *followers: Follower) -> None:
        for follower in followers:
            self._touched.append(follower)
            if follower.missing:
                self._behind.add(follower)

    def _known(self, stream_id: str, now_seconds: float) -> Known | None:
        known = self.streams.get(stream_id)
        if known is None and len(self.streams) < self._max_streams:
            rules = self._rules
            if stream_id in self._starts:
                rules = replace(rules, start="seq", start_at=self._starts[stream_id])
            late = rules if rules.start == "time" else replace(rules, start="live")
            known = Known(Follower(stream_id, "e", rules), Follower(stream_id, "s", late), now_seconds)
            self.streams[stream_id] = known
        return known

    @staticmethod
    def _take(known: Known, message: Message) -> Verdict:
        if isinstance(message, Published):
            return known.embeddings.take(message)
        if isinstance(message, Status):
            verdict = known.events.take(message)
            if not known.embeddings.hear(message.epoch, message.first_seq, message.next_seq):
                return "fenced"
            return verdict
        return "fresh" if _hear(known, message) else "fenced"

    def _follower(self, stream_id: str, channel: Channel) -> Follower | None:
        known = self.streams.get(stream_id)
        if known is None:
            return None
        return known.embeddings if channel == "e" else known.events

    def _finish(self, tag: int) -> None:
        asked = self._asked.pop(tag)
        self._touched.append(asked.follower)
        if asked.request.kind == "find":
            if asked.last is not None or not asked.waiting:
                asked.follower.found(tag, asked.found)
        else:
            asked.follower.cover(tag, -1 if asked.last is None else asked.last, asked.oldest)


def _hear(known: Known, beat: Heartbeat) -> bool:
    keeps = beat.oldest_seq is not None
    known.events.hear(beat.epoch, beat.first_event, beat.next_event, oldest=beat.oldest_event, keeps=keeps)
    return known.embeddings.hear(
        beat.epoch, beat.first_seq, beat.next_seq, oldest=beat.oldest_seq, keeps=keeps
    )


def _collect(asked: _Asked, reply: Reply) -> None:
    """Puts the answers of several publishers together: what one does not have, another may."""
    if reply.last >= asked.request.first or asked.last is None:
        known = asked.last is not None and asked.last >= asked.request.first
        asked.last = min(reply.last, asked.last) if known and asked.last is not None else reply.last
    if reply.oldest is not None:
        asked.oldest = reply.oldest if asked.oldest is None else min(asked.oldest, reply.oldest)
    if reply.found is not None:
        asked.found = reply.found if asked.found is None else min(asked.found, reply.found)
