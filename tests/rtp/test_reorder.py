"""Order, gaps and bounds, whatever the network does."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from ovstream.rtp import IN_ORDER, Ordered, ReorderBuffer, ReorderLimits, RtpPacket

MS = 1_000_000


def packet(number: int, *, ssrc: int = 1) -> RtpPacket:
    return RtpPacket(number & 0xFFFF, 0, False, 96, ssrc, number.to_bytes(8, "big", signed=True))


def number_of(ordered: Ordered) -> int:
    return int.from_bytes(ordered.packet.payload, "big", signed=True)


def run(
    numbers: list[int], limits: ReorderLimits, *, step_ns: int = MS
) -> tuple[list[Ordered], ReorderBuffer]:
    buffer = ReorderBuffer(limits)
    out: list[Ordered] = []
    for index, number in enumerate(numbers):
        out += buffer.push(packet(number), now_ns=index * step_ns)
    return out + list(buffer.flush()), buffer


@given(
    st.integers(-5, 70_000),
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3)), min_size=1, max_size=60),
    st.integers(0, 20),
)
def test_gaps_are_exactly_what_is_missing(
    start: int, pattern: list[tuple[int, int]], most_packets: int
) -> None:
    """Each packet is delayed by some places and sent 0 to 3 times."""
    times = [(index + delay, index) for index, (delay, copies) in enumerate(pattern) for _ in range(copies)]
    numbers = [start + index for _, index in sorted(times)]
    out, buffer = run(numbers, ReorderLimits(packets=most_packets, wait_ns=10 * MS))
    given_out = [number_of(ordered) for ordered in out]
    assert given_out == sorted(set(given_out))
    for before, after in itertools.pairwise(out):
        assert after.gap == (number_of(after) != number_of(before) + 1)
    if out:
        assert len(numbers) == len(out) + buffer.late
        assert buffer.lost == given_out[-1] - given_out[0] + 1 - len(out)
        assert [ordered.restart for ordered in out] == [True] + [False] * (len(out) - 1)


@given(st.integers(0, 70_000), st.permutations(range(12)))
def test_any_order_is_repaired_within_the_bounds(start: int, order: list[int]) -> None:
    numbers = [start, *(start + 1 + number for number in order)]
    out, buffer = run(numbers, ReorderLimits(packets=12, wait_ns=1000 * MS))
    assert [number_of(ordered) for ordered in out] == sorted(numbers)
    assert (buffer.lost, buffer.late) == (0, 0)


def test_the_clock_gives_up_what_is_missing() -> None:
    buffer = ReorderBuffer(ReorderLimits(packets=100, wait_ns=50 * MS))
    list(buffer.push(packet(1), now_ns=0))
    assert list(buffer.push(packet(3), now_ns=10 * MS)) == []
    assert list(buffer.push(packet(6), now_ns=40 * MS)) == []
    assert buffer.deadline_ns == 60 * MS
    assert list(buffer.poll(now_ns=59 * MS)) == []
    assert [(number_of(o), o.gap, o.arrival_ns) for o in buffer.poll(now_ns=60 * MS)] == [(3, True, 10 * MS)]
    assert buffer.deadline_ns == 90 * MS
    assert [number_of(o) for o in buffer.push(packet(5), now_ns=90 * MS)] == [5, 6]
    assert buffer.deadline_ns is None
    assert buffer.lost == 2


def test_over_tcp_a_gap_is_a_gap_at_once() -> None:
    buffer = ReorderBuffer(IN_ORDER)
    out = [o for number in (1, 2, 5, 4, 6) for o in buffer.push(packet(number), now_ns=0)]
    assert [(number_of(o), o.gap) for o in out] == [(1, True), (2, False), (5, True), (6, False)]
    assert (buffer.lost, buffer.late) == (2, 1)


def test_a_sender_that_starts_again_is_believed_the_second_time() -> None:
    for limits in (IN_ORDER, ReorderLimits()):
        out, buffer = run([10, 11, 30_000, 12, 5000, 5001, 5002], limits)
        assert [number_of(o) for o in out] == [10, 11, 12, 5000, 5001, 5002]
        assert [number_of(o) for o in out if o.restart] == [10, 5000]
        assert [number_of(o) for o in out if o.gap] == [10, 5000]
        assert buffer.lost == 5000 - 13


def test_another_ssrc_is_believed_the_second_time() -> None:
    buffer = ReorderBuffer(IN_ORDER)
    sent = [packet(1), packet(2), packet(900, ssrc=7), packet(3), packet(50, ssrc=9), packet(51, ssrc=9)]
    out = [o for one in sent for o in buffer.push(one, now_ns=0)]
    assert [(number_of(o), o.restart) for o in out] == [
        (1, True),
        (2, False),
        (3, False),
        (50, True),
        (51, False),
    ]


@given(st.lists(st.tuples(st.integers(0, 65_535), st.integers(0, 2)), max_size=200), st.integers(0, 8))
def test_any_numbers_stay_within_the_bounds(sent: list[tuple[int, int]], most_packets: int) -> None:
    buffer = ReorderBuffer(ReorderLimits(packets=most_packets, wait_ns=5 * MS))
    out = 0
    for index, (number, ssrc) in enumerate(sent):
        out += len(list(buffer.push(packet(number, ssrc=ssrc), now_ns=index * MS)))
        assert len(buffer._waiting) <= most_packets
        assert (buffer.deadline_ns is not None) == bool(buffer._waiting)
    assert out + buffer.late <= len(sent)
