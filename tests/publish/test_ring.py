"""What waits for a slow reader, by policy."""

from __future__ import annotations

from collections import deque
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from ovstream.publish.events import Event, Gap
from ovstream.publish.ring import Ring
from ovstream.types import Embedding
from tests.wire.samples import embedding

operations = st.lists(st.one_of(st.none(), st.sampled_from("abc")), max_size=80)


def drain(ring: Ring) -> list[int]:
    return [seq_of(ring.pop()) for _ in range(len(ring))]


def seq_of(event: Event) -> int:
    assert isinstance(event, Embedding)
    return event.seq


@given(operations, st.integers(1, 5))
def test_bounded_keeps_the_newest(script: list[str | None], capacity: int) -> None:
    ring, oracle = Ring("bounded", capacity=capacity), deque[int](maxlen=capacity)
    dropped = 0
    pushed = popped = 0
    for seq, stream_id in enumerate(script):
        if stream_id is not None:
            dropped += ring.push(embedding(seq, stream_id=stream_id))
            oracle.append(seq)
            pushed += 1
        elif oracle:
            assert seq_of(ring.pop()) == oracle.popleft()
            popped += 1
    assert pushed == popped + dropped + len(ring)
    assert drain(ring) == list(oracle)


@given(st.lists(st.sampled_from("abc"), max_size=40))
def test_latest_keeps_one_per_stream_and_kind(stream_ids: list[str]) -> None:
    ring = Ring("latest", capacity=100)
    dropped = sum(ring.push(embedding(seq, stream_id=name)) for seq, name in enumerate(stream_ids))
    newest = {name: seq for seq, name in enumerate(stream_ids)}
    assert dropped == len(stream_ids) - len(newest)
    assert drain(ring) == list(newest.values()), "in the order of first arrival"


def test_latest_tells_kinds_apart_and_is_bounded() -> None:
    ring = Ring("latest", capacity=2)
    kinds: tuple[Literal["scene", "event"], ...] = ("scene", "event")
    assert [ring.push(embedding(n, kind=kind)) for n, kind in enumerate(kinds)] == [0, 0]
    assert ring.push(embedding(2, stream_id="other")) == 1
    assert drain(ring) == [1, 2]


def test_lossless_is_full_instead_of_dropping() -> None:
    ring = Ring("lossless", capacity=2)
    assert [ring.push(embedding(n)) for n in range(2)] == [0, 0]
    assert ring.full
    assert seq_of(ring.pop()) == 0
    assert not ring.full


def test_what_else_there_is_to_tell_is_not_dropped() -> None:
    ring = Ring("bounded", capacity=2)
    ring.push(Gap("door", 0, 1, 2))
    assert [ring.push(embedding(n)) for n in range(5)] == [0, 0, 1, 1, 1]
    assert ring.pop() == Gap("door", 0, 1, 2)
    assert drain(ring) == [3, 4]


def test_a_flood_of_events_is_bounded() -> None:
    ring = Ring("bounded", capacity=10)
    for n in range(1000):
        ring.push(Gap("door", 0, n, n))
    assert (len(ring), ring.dropped_events) == (20, 980)
    assert ring.pop() == Gap("door", 0, 980, 980)
