"""Follows the numbering of one channel of a stream: puts messages into order, asks for what is missing.

Pure: no socket, no clock. Messages come in by `take`, promises by `hear`, answers by `replayed` and `cover`; out come
messages, gaps and resets in the order of their numbers (`out`), and requests (`poll`).
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Literal

from ovstream.publish.events import Gap, GapReason, Reset
from ovstream.wire import Channel, Published, Request, Status

Numbered = Published | Status
Verdict = Literal["fresh", "duplicate", "fenced", "postponed"]
Start = Literal["live", "last", "oldest", "seq", "time"]


@dataclass(frozen=True, slots=True)
class Rules:
    """How a channel is followed.

    Attributes:
        start: Where to begin.
        start_at: Number ("seq") or wall clock in ns ("time").
        recover: Ask for what is missing.
        ask_again_seconds: After an unanswered request.
        give_up_seconds: After this without progress, what is missing is a gap.
        max_held: Messages kept while an earlier one is missing; what comes then is asked for later.
        batch: Most numbers asked for at once.
    """

    start: Start = "live"
    start_at: int = 0
    recover: bool = True
    ask_again_seconds: float = 0.5
    give_up_seconds: float = 10.0
    max_held: int = 4096
    batch: int = 256


class Follower:
    """One channel of one stream.

    Attributes:
        next_seq: The number to deliver next.
        end: Numbers below were sent, as far as anybody said.
        epoch: Of what was delivered last; -1: of nothing yet.
        top_epoch: The latest one heard of; messages of earlier ones count only up to its beginning.
        out: What is to be delivered; the owner empties it.
        recovered: Messages that came by asking.
        joined: It is known where to begin.
    """

    def __init__(self, stream_id: str, channel: Channel, rules: Rules) -> None:
        self.stream_id = stream_id
        self.channel: Channel = channel
        self.next_seq = 0
        self.end = 0
        self.epoch = -1
        self.top_epoch = -1
        self.out: list[Numbered | Gap | Reset] = []
        self.recovered = 0
        self.joined = False
        self._rules = rules
        self._top_first = 0
        self._reached = 0  # the number after the last one delivered; a numbering that begins below began anew
        self._reached_epoch = -1
        self._held: dict[int, Numbered] = {}
        self._order: list[int] = []  # a heap of the numbers in _held
        self._keeps = True  # the publisher can be asked, as far as is known
        self._quiet_below = 0
        self._asked: float | None = None
        self._tag = 0
        self._stuck_since: float | None = None

    @property
    def missing(self) -> bool:
        """Whether something that was sent has neither arrived nor been given up."""
        return self.next_seq < self.end or not self.joined

    def step(self, message: Published) -> bool:
        """Takes an embedding that is the next one and changes nothing else, as nearly all are; else does nothing.

        It is to be delivered by the caller, before anything that comes later.
        """
        seq, previous = message.embedding.seq, message.previous_seq
        if (
            not self.joined
            or self._held
            or self.out
            or message.embedding.epoch != self.epoch
            or self.epoch != self.top_epoch
            or previous is None
            or not previous < self.next_seq <= seq
        ):
            return False
        self.next_seq = self._reached = seq + 1
        if seq >= self.end:
            self.end = seq + 1
        return True

    def take(self, message: Numbered) -> Verdict:
        """Takes a message as it arrives."""
        epoch, first, before, seq = place_of(message)
        if epoch < self.top_epoch and seq >= self._top_first:
            return "fenced"
        self._rise(epoch, first)
        if not self.joined and self._rules.start == "live":
            self._join(epoch, before)
        self._enter(epoch, first, before)
        if self.joined and not self._held and before <= self.next_seq <= seq:  # the usual case
            self._deliver(message, epoch, seq)
            return "fresh"
        if (self.joined and seq < self.next_seq) or self._holds(seq, epoch):
            return "duplicate"
        self.end = max(self.end, before, seq + 1)
        if len(self._held) >= self._rules.max_held and seq != self.next_seq:
            return "postponed"
        self._hold(message, seq)
        self._advance()
        return "fresh"

    def hear(
        self, epoch: int, first: int, end: int, *, oldest: int | None = None, keeps: bool | None = None
    ) -> bool:
        """Hears from the publisher what was sent; False: from one that was replaced.

        Args:
            epoch: Of the publisher.
            first: Where its numbering began.
            end: Numbers below were sent.
            oldest: The lowest number that it keeps.
            keeps: It can be asked at all; None: this message says nothing about what is kept.
        """
        if epoch < self.top_epoch:
            return False
        self._keeps = self._keeps if keeps is None else keeps
        self._rise(epoch, first)
        if not self.joined and (keeps is not None or self._rules.start not in ("oldest", "time")):
            self._begin(epoch, first, end, oldest)
        self._enter(epoch, first, end)
        self.end = max(self.end, end)
        self._advance()
        return True

    def replayed(self, message: Numbered) -> None:
        """Takes a message out of an answer."""
        epoch, first, before, seq = place_of(message)
        if epoch < self.top_epoch and seq >= self._top_first:
            return
        self._rise(epoch, first)
        self._enter(epoch, first, before)
        if seq < self.next_seq or self._holds(seq, epoch):
            return
        self.recovered += 1
        self.end = max(self.end, seq + 1)
        self._hold(message, seq)

    def cover(self, tag: int, last: int, oldest: int | None) -> None:
        """Learns that whatever is still missing up to `last` cannot be had."""
        before = self.next_seq
        self._advance(gone_up_to=last + 1 if tag == self._tag else 0, oldest=oldest)
        if self.next_seq > before:  # else nobody has it yet: ask again, but not at once
            self._asked = self._stuck_since = None

    def found(self, tag: int, seq: int | None) -> None:
        """Learns where a time begins."""
        if tag == self._tag and not self.joined:
            self._asked = None
            self._join(-1, self.end if seq is None else seq)
            self._advance()

    def poll(self, now_seconds: float, tag: int) -> Request | None:
        """Gives up what takes too long, and says what to ask.

        Args:
            now_seconds: Any clock that only goes forward.
            tag: For the request, if there is one.
        """
        if not self.missing or (not self.joined and self.top_epoch < 0):
            self._stuck_since = None
            return None
        if self._stuck_since is None:
            self._stuck_since = now_seconds
        elif now_seconds - self._stuck_since >= self._rules.give_up_seconds:
            self._give_up()
            return None
        if self._asked is not None and now_seconds - self._asked < self._rules.ask_again_seconds:
            return None
        self._asked, self._tag = now_seconds, tag
        if not self.joined:
            return Request("find", tag, self.stream_id, self.channel, time_ns=self._rules.start_at)
        last = min(self._missing_up_to(), self.next_seq + self._rules.batch) - 1
        return Request("get", tag, self.stream_id, self.channel, self.next_seq, last)

    def _begin(self, epoch: int, first: int, end: int, oldest: int | None) -> None:
        """Finds the place to begin at; by time, it has to be asked for."""
        start, at = self._rules.start, self._rules.start_at
        if start == "seq" and at > end:  # of a numbering that is no more
            self.out.append(Reset(self.stream_id, -1, epoch, first, continues=False))
            self._join(epoch, first)
        elif start == "seq":
            self._join(-1, at)
        elif start == "oldest" and oldest is not None:
            self._join(-1, oldest)
        elif start == "last" and end > 0:
            self._quiet_below = end
            self._join(-1, end - 1)
        elif start != "time" or not self._rules.recover:
            self._join(epoch, end)
        else:
            self.end = max(self.end, end)

    def _join(self, epoch: int, seq: int) -> None:
        self.joined = True
        self.epoch, self.next_seq = epoch, seq
        self._reached, self._reached_epoch = seq, max(epoch, self.top_epoch)
        self.end = max(self.end, seq)
        for number in [number for number in self._held if number < seq]:
            del self._held[number]

    def _rise(self, epoch: int, first: int) -> None:
        if epoch > self.top_epoch:
            self.top_epoch, self._top_first = epoch, first

    def _enter(self, epoch: int, first: int, before: int) -> None:
        """Notices a numbering that begins anew."""
        if self.joined and epoch > max(self.epoch, self._reached_epoch) and first < self._reached:
            self._restart(epoch, first, before)

    def _restart(self, epoch: int, first: int, before: int) -> None:
        later = {seq: held for seq, held in self._held.items() if held.epoch >= epoch}
        self._held = {seq: held for seq, held in self._held.items() if held.epoch < epoch}
        self._advance(gone_up_to=self.end, reason="restarted")
        self._reset(epoch, first, continues=False)
        self._held = later
        self._order = sorted(later)
        self._reached = first
        self.next_seq, self.end = first, max([before, *(seq + 1 for seq in later)])
        self._asked = self._stuck_since = None
        self._tag = 0

    def _advance(
        self, *, gone_up_to: int = 0, oldest: int | None = None, reason: GapReason | None = None
    ) -> None:
        """Delivers what is in order; beyond, either something is missing or nothing is there."""
        if not self.joined:
            return
        while True:
            head = self._head()
            if head is not None and place_of(head)[2] <= self.next_seq:
                epoch, _, _, seq = place_of(head)
                del self._held[seq]
                self._deliver(head, epoch, seq)
                continue
            up_to = self._missing_up_to()
            if self.next_seq >= up_to:
                return
            if not (self._rules.recover and self._keeps):
                self._lose(up_to, "live")
            elif self.next_seq < gone_up_to:
                self._lose(min(up_to, gone_up_to), reason, oldest)
            else:
                return

    def _deliver(self, message: Numbered, epoch: int, seq: int) -> None:
        if epoch != self.epoch:
            self._reset(epoch, seq, continues=True)
        self.next_seq = self._reached = seq + 1
        if seq >= self.end:
            self.end = seq + 1
        self.out.append(message)

    def _reset(self, epoch: int, seq: int, *, continues: bool) -> None:
        if self.epoch >= 0 and self.channel == "e":
            self.out.append(Reset(self.stream_id, self.epoch, epoch, seq, continues))
        self.epoch = epoch

    def _lose(self, up_to: int, reason: GapReason | None, oldest: int | None = None) -> None:
        """Gives up the numbers before `up_to`; those that the publisher let go are told apart."""
        if reason is None:
            reason = "expired" if oldest is None or self.next_seq < oldest else "unkept"
            if reason == "expired" and oldest is not None:
                up_to = min(up_to, oldest)
        if up_to > self._quiet_below:
            first = max(self.next_seq, self._quiet_below)
            epoch = max(self.epoch, 0)
            self.out.append(Gap(self.stream_id, epoch, first, up_to - 1, reason, self.channel))
        self.next_seq = up_to

    def _give_up(self) -> None:
        self._stuck_since = self._asked = None
        if not self.joined:
            self._join(self.top_epoch, self.end)
        self._advance(gone_up_to=self._missing_up_to(), reason="unanswered")

    def _missing_up_to(self) -> int:
        head = self._head()
        return self.end if head is None else min(self.end, place_of(head)[2])

    def _holds(self, seq: int, epoch: int) -> bool:
        held = self._held.get(seq)
        return held is not None and held.epoch >= epoch

    def _hold(self, message: Numbered, seq: int) -> None:
        if seq not in self._held:
            heapq.heappush(self._order, seq)
        self._held[seq] = message

    def _head(self) -> Numbered | None:
        """The held message with the lowest number."""
        order = self._order
        while order and (order[0] < self.next_seq or order[0] not in self._held):
            self._held.pop(heapq.heappop(order), None)
        return self._held[order[0]] if order else None


def place_of(message: Numbered) -> tuple[int, int, int, int]:
    """(epoch, first of the numbering, numbers below were sent before, own number)."""
    if isinstance(message, Published):
        return message.epoch, message.first_seq, message.sent_before, message.embedding.seq
    return message.epoch, message.first_event, message.event_seq, message.event_seq
