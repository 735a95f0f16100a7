"""The client's memory against an oracle that sees every message, also those that never arrive."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ovstream.publish.events import Gap, Reset
from ovstream.publish.follower import Follower, Rules
from ovstream.publish.following import Following
from ovstream.wire import Heartbeat, Message, Published, Reply, Request, Status
from tests.wire.samples import embedding

WINDOW = 12
RULES = Rules(max_held=6, batch=5, give_up_seconds=3)


class World(RuleBasedStateMachine):
    """A publisher that dies, restarts and forgets; a line that loses; a subscriber that asks.

    Every number sent must in the end have been delivered once, in order, and as it was sent, or be in exactly one
    gap; and a gap may only be what the publisher did not have any more, or could not be asked for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.client = Following(RULES)
        self.now = 0.0
        self.epoch = 5
        self.first = self.next = 40
        self.previous: int | None = None
        self.log: dict[int, Published] = {}  # all that was ever sent
        self.kept: dict[int, Published] = {}
        self.requests: list[Request] = []
        self.joined_at: int | None = None
        self.delivered: list[int] = []
        self.gaps: list[int] = []

    def arrive(self, message: Message) -> None:
        if self.joined_at is None:
            self.joined_at = message.sent_before
        self.client.take(message, now_seconds=self.now)
        self.collect()

    def collect(self) -> None:
        for item in self.client.drain():
            if isinstance(item, Gap):
                self.gaps += range(item.first, item.last + 1)
            elif isinstance(item, Published):
                assert item == self.log[item.embedding.seq]
                self.delivered.append(item.embedding.seq)
            elif isinstance(item, Reset):
                assert item.continues
                assert item.old_epoch < item.epoch

    def beat(self) -> Heartbeat:
        oldest = min(self.kept, default=self.next)
        return Heartbeat("door", self.epoch, self.first, self.next, 0, oldest_seq=oldest)

    @rule(arrives=st.booleans(), kept=st.sampled_from([True, True, True, False]))
    def publish(self, arrives: bool, kept: bool) -> None:
        message = Published(embedding(self.next, epoch=self.epoch), self.first, self.previous)
        self.log[self.next] = message
        if kept:
            self.kept[self.next] = message
        self.previous = self.next
        self.next += 1
        while len(self.kept) > WINDOW:
            del self.kept[min(self.kept)]
        if arrives:
            self.arrive(message)

    @rule(arrives=st.booleans())
    def heartbeat(self, arrives: bool) -> None:
        if arrives:
            self.arrive(self.beat())

    @rule(skipped=st.sampled_from([0, 0, 3]))
    def die_and_come_back(self, skipped: int) -> None:
        """A successor goes on counting; after a power cut it leaves out what may have been used."""
        self.epoch += 1
        self.next += skipped
        self.first, self.previous = self.next, None
        self.requests.clear()

    @rule(choice=st.randoms(use_true_random=False))
    @precondition(lambda self: bool(self.log))
    def an_old_message_arrives_again(self, choice: object) -> None:
        if self.joined_at is not None:
            self.arrive(self.log[choice.choice(sorted(self.log))])  # type: ignore[attr-defined]

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.6, 3.5]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.requests += self.client.poll(self.now)
        self.collect()

    @rule(lost=st.booleans(), order=st.integers(0, 3))
    @precondition(lambda self: bool(self.requests))
    def answer(self, lost: bool, order: int) -> None:
        request = self.requests.pop(order % len(self.requests))
        if not lost:
            self.reply(request)

    def reply(self, request: Request) -> None:
        kept = self.kept if request.channel == "e" else {}
        last = min(request.last, self.next - 1)
        found = [kept[seq] for seq in sorted(kept) if request.first <= seq <= last]
        reply = Reply("get", request.tag, "door", request.channel, last, min(kept, default=None))
        self.client.answer(reply, found, publisher=0)
        self.collect()

    @invariant()
    def order_holds_and_nothing_comes_twice(self) -> None:
        assert self.delivered == sorted(set(self.delivered))
        assert not set(self.delivered) & set(self.gaps)
        assert len(self.gaps) == len(set(self.gaps))

    def teardown(self) -> None:
        if self.joined_at is None:
            return
        self.arrive(self.beat())
        for _ in range(200):
            self.now += 0.6
            for request in self.requests + self.client.poll(self.now):
                self.reply(request)
            self.requests.clear()
            self.collect()
        self.order_holds_and_nothing_comes_twice()
        sent = {seq for seq in self.log if seq >= self.joined_at}
        assert sent <= set(self.delivered) | set(self.gaps), "every loss is told"
        assert set(self.delivered) <= sent
        never_sent = set(range(self.joined_at, self.next)) - sent
        assert set(self.gaps) <= sent | never_sent
        assert not self.client.missing


World.TestCase.settings = settings(
    max_examples=int(os.environ.get("OVSTREAM_EXAMPLES", "40")), stateful_step_count=40, deadline=None
)
TestWorld = World.TestCase


def published(seq: int, *, epoch: int = 0, first: int = 0, previous: int | None = None) -> Published:
    return Published(embedding(seq, epoch=epoch), first, previous)


def follower(**rules: object) -> Follower:
    one = Follower("door", "e", replace(Rules(), **rules))  # type: ignore[arg-type]
    return one


def test_what_was_sent_before_joining_is_not_missing() -> None:
    one = follower()
    one.take(published(70, previous=69))
    assert not one.missing
    one.take(published(73, previous=72))
    assert one.poll(0, 1) == Request("get", 1, "door", "e", 71, 72)
    one.replayed(published(71, previous=70))
    one.replayed(published(72, previous=71))
    one.cover(1, 72, 0)
    assert [item.embedding.seq for item in one.out if isinstance(item, Published)] == [70, 71, 72, 73]


def test_a_number_left_out_on_purpose_is_no_gap() -> None:
    one = follower()
    one.take(published(1, previous=0))
    one.take(published(9, previous=1))
    assert not one.missing
    assert not [item for item in one.out if isinstance(item, Gap)]


def test_without_asking_every_hole_is_a_gap_at_once() -> None:
    one = follower(recover=False)
    one.take(published(1, previous=0))
    one.take(published(5, previous=4))
    assert Gap("door", 0, 2, 4, "live") in one.out


def test_a_publisher_that_keeps_nothing_is_not_asked() -> None:
    one = follower()
    one.hear(0, 0, 0, keeps=False)
    one.take(published(5, previous=4))
    assert Gap("door", 0, 0, 4, "live") in one.out


def test_reasons_are_told_apart() -> None:
    one = follower()
    one.take(published(0))
    one.take(published(10, previous=9))
    request = one.poll(0, 7)
    assert request is not None
    one.replayed(published(6, previous=5))
    one.cover(7, 9, 4)
    gaps = [(item.first, item.last, item.reason) for item in one.out if isinstance(item, Gap)]
    assert gaps == [(1, 3, "expired"), (4, 5, "unkept"), (7, 9, "unkept")]


def test_what_nobody_answers_is_given_up_and_the_rest_goes_on() -> None:
    one = follower(give_up_seconds=2, ask_again_seconds=0.5)
    one.take(published(0))
    one.take(published(4, previous=3))
    asked = [now / 10 for now in range(30) if one.poll(now / 10, now) is not None]
    assert asked == [0.0, 0.5, 1.0, 1.5]
    assert Gap("door", 0, 1, 3, "unanswered") in one.out
    assert one.next_seq == 5


def test_a_numbering_that_begins_anew_is_a_reset_and_fences_the_old_sender() -> None:
    one = follower()
    one.take(published(70, previous=69))
    one.take(published(73, previous=72))  # 71 and 72 can never be asked for
    assert one.take(published(0, epoch=1)) == "fresh"
    told = [item for item in one.out if not isinstance(item, Published)]
    assert told == [Gap("door", 0, 71, 72, "restarted"), Reset("door", 0, 1, 0, continues=False)]
    assert one.take(published(74, previous=73)) == "fenced"
    assert one.take(published(0, epoch=1)) == "duplicate"


def test_giving_up_across_the_beginning_of_an_epoch_is_no_new_numbering() -> None:
    one = follower(give_up_seconds=1)
    one.take(published(50, epoch=10, previous=49))
    one.hear(13, 62, 63, oldest=61, keeps=True)
    one.poll(0, 1)
    one.replayed(published(61, epoch=12, first=59, previous=60))
    one.cover(1, 62, 61)
    told = [item for item in one.out if not isinstance(item, Published)]
    assert told == [
        Gap("door", 10, 51, 60, "expired"),
        Reset("door", 10, 12, 61, continues=True),
        Gap("door", 12, 62, 62, "unkept"),
    ]
    assert one.take(published(60, epoch=12, first=59, previous=59)) == "duplicate"


def test_a_numbering_that_began_anew_while_nobody_listened_is_noticed_by_the_answer() -> None:
    one = follower()
    one.take(published(99, epoch=5, previous=98))
    one.take(published(150, epoch=7, first=150))  # looks as if numbers went on
    assert one.poll(0, 1) == Request("get", 1, "door", "e", 100, 149)
    one.replayed(published(100, epoch=6, first=0, previous=99))
    assert one.out[-1] == Reset("door", 5, 6, 0, continues=False)
    assert one.poll(1, 2) == Request("get", 2, "door", "e", 0, 99)


def test_a_successor_that_goes_on_counting_is_no_loss() -> None:
    one = follower()
    one.take(published(70, previous=69))
    one.take(published(75, epoch=3, first=73, previous=74))
    assert one.poll(0, 1) == Request("get", 1, "door", "e", 71, 74)
    for seq, epoch, first, previous in (
        (71, 0, 0, 70),
        (72, 1, 72, None),
        (73, 3, 73, None),
        (74, 3, 73, 73),
    ):
        one.replayed(published(seq, epoch=epoch, first=first, previous=previous))
    one.cover(1, 74, 0)
    told = [(one.seq, one.epoch) for one in one.out if isinstance(one, Reset)]
    assert told == [(72, 1), (73, 3)]
    assert one.next_seq == 76
    assert one.take(published(73, epoch=1, first=72, previous=72)) == "fenced"


@pytest.mark.parametrize(
    ("start", "at", "expected"),
    [("live", 0, 20), ("last", 0, 19), ("oldest", 0, 8), ("seq", 12, 12), ("seq", 3, 3), ("seq", 99, 0)],
)
def test_where_to_begin(start: str, at: int, expected: int) -> None:
    one = follower(start=start, start_at=at)
    one.hear(0, 0, 20, oldest=8, keeps=True)
    assert one.next_seq == expected
    assert bool([item for item in one.out if isinstance(item, Reset)]) is (at == 99)


def test_beginning_by_time_is_asked_for_and_meanwhile_nothing_is_lost() -> None:
    one = follower(start="time", start_at=1234)
    one.hear(0, 0, 20, oldest=8, keeps=True)
    assert one.poll(0, 1) == Request("find", 1, "door", "e", time_ns=1234)
    one.take(published(20, previous=19))
    assert not one.out
    one.found(1, 18)
    assert one.poll(0, 2) == Request("get", 2, "door", "e", 18, 19)


def test_a_range_is_covered_only_when_every_publisher_has_answered() -> None:
    both = Following(Rules(), publishers=2)
    both.take(published(0), now_seconds=0)
    both.take(published(3, previous=2), now_seconds=0)
    (request,) = both.poll(0)
    both.answer(Reply("get", request.tag, "door", "e", 2, 2), [], publisher=0)
    assert not [item for item in both.drain() if isinstance(item, Gap)]
    found = [published(1, previous=0), published(2, previous=1)]
    both.answer(Reply("get", request.tag, "door", "e", 2, 0), found, publisher=1)
    told = list(both.drain())
    assert [item.embedding.seq for item in told if isinstance(item, Published)] == [1, 2, 3]


def test_ended_streams_may_come_back_and_silence_is_told_once() -> None:
    all_of_them = Following(Rules())
    all_of_them.take(Status("door", 0, 0, 0, 0, "ended"), now_seconds=0)
    assert all_of_them.streams["door"].ended
    assert not list(all_of_them.silent(100))
    all_of_them.take(Heartbeat("door", 1, 0, 0, 0), now_seconds=7)
    assert not all_of_them.streams["door"].ended
    assert list(all_of_them.silent(8)) == []
    assert list(all_of_them.silent(11)) == [("door", 4)]
    assert list(all_of_them.silent(12)) == []


def test_invented_streams_do_not_grow_the_memory() -> None:
    some = Following(Rules(), max_streams=3)
    verdicts = [some.take(Heartbeat(f"s{n}", 0, 0, 0, 0), now_seconds=0) for n in range(5)]
    assert verdicts == ["fresh"] * 3 + ["unknown"] * 2
    assert len(some.streams) == 3


def test_what_is_held_is_bounded_and_asked_for_later() -> None:
    one = follower(max_held=3)
    one.take(published(0))
    verdicts = [one.take(published(seq, previous=seq - 1)) for seq in range(2, 9)]
    assert verdicts == ["fresh"] * 3 + ["postponed"] * 4
    assert one.end == 9
