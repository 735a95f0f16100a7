"""What a live source hands on when data is lost or the consumer is slow."""

from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from ovstream.sources import SourceStats
from ovstream.sources.gate import KEYFRAME_PATIENCE_UNITS, KeyframeGate
from ovstream.types import AccessUnit
from tests.sources.support import make_unit


class Queue:
    def __init__(self, size: int) -> None:
        self.size = size
        self.items: deque[AccessUnit] = deque()

    def offer(self, unit: AccessUnit) -> bool:
        if len(self.items) >= self.size:
            return False
        self.items.append(unit)
        return True

    def take_all(self) -> list[AccessUnit]:
        taken = list(self.items)
        self.items.clear()
        return taken

    def numbers(self) -> list[int | None]:
        return [unit.pts for unit in self.items]


def test_nothing_before_the_first_keyframe() -> None:
    stats, queue = SourceStats(), Queue(10)
    gate = KeyframeGate(stats)
    for index in range(6):
        gate.deliver(make_unit(index, keyframe=index == 3), queue)
    assert queue.numbers() == [3, 4, 5]
    assert stats.dropped == stats.unusable == 3
    assert not any(unit.discontinuity for unit in queue.items)


def test_after_loss_it_waits_for_a_keyframe_and_flags_it() -> None:
    stats, queue = SourceStats(), Queue(20)
    gate = KeyframeGate(stats)
    for index in range(9):
        if index == 2:
            gate.lost()
        gate.deliver(make_unit(index, keyframe=index in (0, 5), params_changed=index == 3), queue)
    assert queue.numbers() == [0, 1, 5, 6, 7, 8]
    assert [unit.pts for unit in queue.items if unit.discontinuity] == [5]
    assert [unit.pts for unit in queue.items if unit.params_changed] == [5]


def test_a_full_queue_drops_to_the_next_keyframe() -> None:
    stats, queue = SourceStats(), Queue(3)
    gate = KeyframeGate(stats)
    for index in range(8):
        gate.deliver(make_unit(index, keyframe=index in (0, 6), params_changed=index == 1), queue)
    assert queue.numbers() == [6, 7]
    assert (stats.dropped, stats.unusable) == (6, 0), (
        "what waits for a keyframe after that came too late, too"
    )
    assert (queue.items[0].discontinuity, queue.items[0].params_changed) == (True, True)
    assert not queue.items[1].discontinuity


def test_a_stream_without_keyframes_is_taken_at_last() -> None:
    stats, queue = SourceStats(), Queue(10)
    gate = KeyframeGate(stats)
    for index in range(KEYFRAME_PATIENCE_UNITS + 2):
        gate.deliver(make_unit(index), queue)
    assert queue.numbers() == [KEYFRAME_PATIENCE_UNITS, KEYFRAME_PATIENCE_UNITS + 1]


@given(
    st.lists(st.tuples(st.sampled_from(["unit", "key", "lost", "take"]), st.booleans()), max_size=120),
    st.integers(2, 5),
)
def test_gaps_are_always_flagged_and_start_at_keyframes(steps: list[tuple[str, bool]], size: int) -> None:
    stats, queue = SourceStats(), Queue(size)
    gate, delivered, sent = KeyframeGate(stats), [], 0
    lost_before: set[int] = set()
    for kind, changed in steps:
        if kind == "lost":
            lost_before.add(sent)
            gate.lost()
        elif kind == "take" and queue.items:
            delivered.append(queue.items.popleft())
        elif kind in ("unit", "key"):
            gate.deliver(make_unit(sent, keyframe=kind == "key", params_changed=changed), queue)
            sent += 1
    delivered += queue.items
    assert len(delivered) + stats.dropped == sent
    before = None
    for unit in delivered:
        assert unit.pts is not None
        gap = before is not None and (unit.pts != before + 1 or unit.pts in lost_before)
        assert unit.keyframe or not (gap or before is None)
        assert unit.discontinuity >= gap
        before = unit.pts
