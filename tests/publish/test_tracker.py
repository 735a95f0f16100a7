"""The tracker against an oracle that sees every message, also those that never arrive."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovstream.publish.tracker import Gap, Tracker
from ovstream.wire import Heartbeat, Message, Published, Status
from tests.wire.samples import embedding


@dataclass
class World:
    """A publisher that sometimes restarts and skips numbers, and a line that loses some messages."""

    epoch: int = 0
    first_seq: int = 0
    next_seq: int = 0
    previous_seq: int | None = None
    sent: set[tuple[int, int]] = field(default_factory=set)

    def publish(self) -> Message:
        seq = self.next_seq
        message = Published(embedding(seq, epoch=self.epoch), self.first_seq, self.previous_seq)
        self.sent.add((self.epoch, seq))
        self.previous_seq = seq
        self.next_seq = seq + 1
        return message

    def beat(self) -> Message:
        sent_up_to = self.first_seq if self.previous_seq is None else self.previous_seq + 1
        return Heartbeat("door", self.epoch, self.first_seq, sent_up_to, 0)

    def restart(self, seq: int) -> None:
        self.epoch += 1
        self.first_seq = self.next_seq = seq
        self.previous_seq = None


steps = st.lists(
    st.tuples(st.sampled_from(["publish", "publish", "publish", "beat", "skip"]), st.booleans()), max_size=60
)


@given(steps)
def test_lost_and_received_add_up_to_sent(script: list[tuple[str, bool]]) -> None:
    world, tracker = World(), Tracker()
    tracker.accept(world.beat(), now_seconds=0)
    received: set[tuple[int, int]] = set()
    lost: list[tuple[int, int]] = []

    def arrive(message: Message) -> None:
        verdict, gaps = tracker.accept(message, now_seconds=0)
        assert verdict == "fresh"
        lost.extend((gap.epoch, seq) for gap in gaps for seq in range(gap.first, gap.last + 1))
        if isinstance(message, Published):
            received.add((message.epoch, message.embedding.seq))

    for step, arrives in script:
        if step == "skip":
            world.next_seq += 3  # numbers that are never sent
            continue
        message = world.publish() if step == "publish" else world.beat()
        if arrives:
            arrive(message)
    arrive(world.beat())
    assert len(lost) == len(set(lost)), "a loss is told once"
    assert not received & set(lost)
    assert world.sent <= received | set(lost), "every loss is told"
    # A number skipped inside a gap cannot be told from a lost one; without skips the gaps are exact.
    if not any(step == "skip" for step, _ in script):
        assert received | set(lost) == world.sent


@given(steps, st.integers(1, 30))
def test_after_a_restart_that_goes_on_counting_the_old_tail_is_a_gap_too(
    script: list[tuple[str, bool]], cut: int
) -> None:
    world, tracker = World(), Tracker()
    tracker.accept(world.beat(), now_seconds=0)
    received, lost = set(), set()
    for number, (step, arrives) in enumerate([*script, ("beat", True)]):
        if number == cut:
            world.restart(world.next_seq)
        message = world.beat() if step == "beat" else world.publish()
        if arrives:
            _, gaps = tracker.accept(message, now_seconds=0)
            lost |= {(gap.epoch, seq) for gap in gaps for seq in range(gap.first, gap.last + 1)}
            if isinstance(message, Published):
                received.add((message.epoch, message.embedding.seq))
    assert received | lost == world.sent
    assert not received & lost


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=40))
def test_any_order_of_messages_delivers_a_number_once_and_epochs_upwards(
    order: list[tuple[int, int]],
) -> None:
    tracker = Tracker()
    delivered = []
    for epoch, seq in order:
        verdict, _ = tracker.accept(Published(embedding(seq, epoch=epoch), 0, None), now_seconds=0)
        if verdict == "fresh":
            delivered.append((epoch, seq))
    assert delivered == sorted(set(delivered))


def test_what_was_sent_before_joining_is_not_missing() -> None:
    tracker = Tracker()
    assert tracker.accept(Published(embedding(70), 0, 69), now_seconds=0) == ("fresh", [])
    assert tracker.accept(Published(embedding(73), 0, 72), now_seconds=0) == (
        "fresh",
        [Gap("door", 0, 71, 72)],
    )


def test_a_restart_from_zero_is_no_gap_and_fences_the_old_sender() -> None:
    tracker = Tracker()
    tracker.accept(Published(embedding(70), 0, 69), now_seconds=0)
    assert tracker.accept(Published(embedding(0, epoch=1), 0, None), now_seconds=0) == ("fresh", [])
    assert tracker.accept(Published(embedding(71), 0, 70), now_seconds=0) == ("fenced", [])
    assert tracker.accept(Published(embedding(0, epoch=1), 0, None), now_seconds=0) == ("duplicate", [])
    assert tracker.accept(Published(embedding(2, epoch=1), 0, 1), now_seconds=0)[1] == [Gap("door", 1, 1, 1)]


def test_a_lost_head_of_an_epoch_is_a_gap() -> None:
    tracker = Tracker()
    tracker.accept(Published(embedding(70), 0, 69), now_seconds=0)
    _, gaps = tracker.accept(Published(embedding(75, epoch=1), 73, 74), now_seconds=0)
    assert gaps == [Gap("door", 0, 71, 72), Gap("door", 1, 73, 74)]
    assert sum(gap.count for gap in gaps) == 4


def test_ended_streams_may_come_back() -> None:
    tracker = Tracker()
    tracker.accept(Status("door", 0, 0, 0, 0, "ended"), now_seconds=0)
    assert tracker.streams["door"].ended
    tracker.accept(Heartbeat("door", 1, 0, 0, 0), now_seconds=7)
    assert not tracker.streams["door"].ended
    assert tracker.streams["door"].heard_seconds == 7


def test_invented_streams_do_not_grow_the_tracker() -> None:
    tracker = Tracker(max_streams=3)
    verdicts = [tracker.accept(Heartbeat(f"s{n}", 0, 0, 0, 0), now_seconds=0)[0] for n in range(5)]
    assert verdicts == ["fresh"] * 3 + ["unknown"] * 2
    assert len(tracker.streams) == 3


@pytest.mark.parametrize("kind", ["connected", "fallback"])
def test_a_status_uncovers_a_lost_tail(kind: str) -> None:
    tracker = Tracker()
    tracker.accept(Heartbeat("door", 0, 0, 3, 0), now_seconds=0)
    _, gaps = tracker.accept(Status("door", 0, 0, 5, 0, kind), now_seconds=0)  # type: ignore[arg-type]
    assert gaps == [Gap("door", 0, 3, 4)]
