"""What gets lost between publisher and subscriber, and what the subscriber knows of it."""

from __future__ import annotations

import asyncio
import time

import msgpack
import numpy as np
import pytest
import zmq

from ovstream.config import PublishConfig
from ovstream.publish import Gap, Publisher, Stale, Subscription, subscribe
from ovstream.types import StreamEvent
from ovstream.wire import WIRE_MAJOR, Heartbeat, encode, encode_heartbeat
from tests.publish.conftest import Join, take, until
from tests.wire.samples import embedding


async def test_a_message_lost_on_the_way_is_a_gap(endpoint: str) -> None:
    context = zmq.Context()
    with context, context.socket(zmq.PUB) as socket:
        socket.bind(endpoint)
        address = socket.getsockopt_string(zmq.LAST_ENDPOINT)
        async with subscribe(address, recover_seconds=0.2) as events:
            first = encode(embedding(0), first_seq=0)
            await until(lambda: bool(events.streams()), meanwhile=lambda: socket.send_multipart(first))
            for seq in (1, 2, 5, 6, 9):
                socket.send_multipart(encode(embedding(seq), first_seq=0, previous_seq=seq - 1))
            assert (await take(events, 6)) == [0, 1, 2, 5, 6, 9]
            lost = [Gap("door", 0, 3, 4, "unanswered"), Gap("door", 0, 7, 8, "unanswered")]
            assert list(events.gaps) == lost
            assert events.stats.lost == 4


async def test_a_lost_tail_shows_at_the_next_heartbeat(endpoint: str, join: Join) -> None:
    with Publisher(endpoint) as publisher:
        publisher.announce("door")
        async with subscribe(publisher.endpoint, streams=["door"], policy="latest") as events:
            await join(publisher, events)
            publisher._numbering["door"].next_seq = 3  # as if three messages had been sent and lost
            publisher.heartbeat(0)
            await until(lambda: bool(events.gaps))
    assert list(events.gaps) == [Gap("door", 0, 0, 2, "live")]


async def test_what_the_high_water_mark_drops_is_counted_to_the_last_one(endpoint: str, join: Join) -> None:
    """A lossless reader that sleeps and does not ask makes the publisher drop, and knows afterwards what."""
    sent = 6000
    vector = np.zeros(1024, np.float32)
    with Publisher(endpoint, config=PublishConfig(high_water_mark=5)) as publisher:
        publisher.announce("door")
        async with subscribe(
            publisher.endpoint, policy="lossless", capacity=10, until_end=True, recover=False
        ) as events:
            await join(publisher, events)
            started = time.thread_time()
            for seq in range(sent):
                publisher.publish(embedding(seq, vector=vector))
            assert time.thread_time() - started < 5, "a reader that sleeps must not slow the publisher"
            numbers = await take(events, 10)
            reader = asyncio.create_task(_collect(events, numbers))
            publisher.end("door")  # lost, very likely: the heartbeats repeat it
            await until(lambda: events.streams()["door"].ended, meanwhile=lambda: publisher.heartbeat(0))
            await reader
            stats = events.stats
    assert numbers == sorted(set(numbers))
    assert stats.delivered == len(numbers)
    assert stats.dropped == 0
    assert stats.lost > 0
    assert stats.delivered + stats.lost == sent
    missing = {seq for gap in events.gaps for seq in range(gap.first, gap.last + 1)}
    assert missing == set(range(sent)) - set(numbers)


async def _collect(events: Subscription, numbers: list[int]) -> None:
    async for one in events.embeddings():
        numbers.append(one.seq)


@pytest.mark.parametrize(("policy", "expected"), [("latest", [299]), ("bounded", list(range(280, 300)))])
async def test_a_slow_reader_gets_the_newest(
    endpoint: str, join: Join, policy: str, expected: list[int]
) -> None:
    with Publisher(endpoint) as publisher:
        publisher.announce("door")
        async with subscribe(publisher.endpoint, policy=policy, capacity=20, until_end=True) as events:  # type: ignore[arg-type]
            await join(publisher, events)
            for seq in range(300):
                publisher.publish(embedding(seq))
            publisher.end("door")
            await until(lambda: events.streams()["door"].ended)  # the reader is busy, the task drains
            assert [one.seq async for one in events.embeddings()] == expected
            stats = events.stats
            assert (stats.received, stats.dropped, stats.lost) == (300, 300 - len(expected), 0)


async def test_a_reader_that_blocks_the_loop_still_gets_the_newest(join: Join) -> None:
    with Publisher("tcp://127.0.0.1:*") as publisher:
        publisher.announce("door")
        async with subscribe(publisher.endpoint, policy="latest") as events:
            await join(publisher, events)
            numbers = []
            for turn in range(3):
                for seq in range(turn * 10, turn * 10 + 10):
                    publisher.publish(embedding(seq))
                time.sleep(0.2)  # noqa: ASYNC251 - a model at work on this thread
                numbers += await take(events, 1)
    assert numbers == [9, 19, 29]


async def test_lossless_waits_without_using_the_processor(join: Join) -> None:
    with Publisher("tcp://127.0.0.1:*") as publisher:
        publisher.announce("door")
        async with subscribe(publisher.endpoint, policy="lossless", capacity=5) as events:
            await join(publisher, events)
            for seq in range(100):
                publisher.publish(embedding(seq))
            await asyncio.sleep(0.1)
            before = time.process_time()
            await asyncio.sleep(0.5)
            assert time.process_time() - before < 0.2
            assert await take(events, 100) == list(range(100))


async def test_a_restarted_publisher_goes_on_in_a_new_epoch(endpoint: str, join: Join) -> None:
    with Publisher(endpoint) as publisher:
        address = publisher.endpoint
        publisher.announce("door")
        events = subscribe(address)
        await events.__aenter__()
        await join(publisher, events)
        for seq in range(3):
            publisher.publish(embedding(seq))
        assert await take(events, 3) == [0, 1, 2]
    with Publisher(address) as publisher:
        publisher.announce("door", epoch=1)
        await until(lambda: events.streams()["door"].epoch == 1, meanwhile=lambda: publisher.heartbeat(0))
        for seq in range(3):
            publisher.publish(embedding(seq, epoch=1))
        assert await take(events, 3) == [0, 1, 2]
    await events.aclose()
    assert (events.stats.lost, events.stats.duplicates, events.stats.fenced) == (0, 0, 0)


async def test_a_replaced_publisher_is_fenced(join: Join) -> None:
    with Publisher("tcp://127.0.0.1:*") as old, Publisher("tcp://127.0.0.1:*") as new:
        old.announce("door", epoch=0)
        new.announce("door", epoch=1)
        async with subscribe([old.endpoint, new.endpoint]) as events:
            await join(old, events)
            await until(lambda: events.streams()["door"].epoch == 1, meanwhile=lambda: new.heartbeat(0))
            old.publish(embedding(0))
            new.publish(embedding(0, epoch=1))
            assert (await anext(events.embeddings())).epoch == 1
            await until(lambda: events.stats.fenced == 1)
            assert events.stats.received == 1


async def test_hostile_messages_are_counted_and_skipped(endpoint: str) -> None:
    good = encode(embedding(1))
    bad = [
        [b""],
        [b"e/"],
        [b"e/door/", b"\xdd\xff\xff\xff\xff", b"", b""],
        [b"e/door/", b"\x81" * 4096, b"", b""],
        [good[0], good[1], b"x" * 100_000, good[3]],
        [b"e/other/", *good[1:]],
        [*good, *[b"x"] * 100],
        [b"h/door/", b"\xc1"],
        [good[0], msgpack.packb({**msgpack.unpackb(good[1]), "v": WIRE_MAJOR + 1}), *good[2:]],
    ]
    context = zmq.Context()
    with context, context.socket(zmq.PUB) as socket:
        socket.bind(endpoint)
        async with subscribe(socket.getsockopt_string(zmq.LAST_ENDPOINT)) as events:
            beat = encode_heartbeat(Heartbeat("door", 0, 0, 1, 0))
            await until(lambda: bool(events.streams()), meanwhile=lambda: socket.send_multipart(beat))
            for message in bad:
                socket.send_multipart(message)
            socket.send_multipart(good)
            assert await take(events, 1) == [1]
            assert events.stats.invalid == len(bad) - 1  # the first one matches no subscription
            assert events.stats.received == 1


async def test_old_messages_are_skipped_on_request(join: Join) -> None:
    now_ns = embedding().publish_time_ns + 5_000_000_000
    with Publisher("tcp://127.0.0.1:*") as publisher:
        publisher.announce("door")
        async with subscribe(publisher.endpoint, max_age=1, clock_ns=lambda: now_ns) as events:
            await join(publisher, events)
            publisher.publish(embedding(0))
            publisher.publish(embedding(1, publish_time_ns=now_ns - 250_000_000))
            async with asyncio.timeout(60):
                stale = await anext(events)
            assert stale == Stale("door", "old", pytest.approx(5), 0)
            assert await take(events, 1) == [1]
            assert events.stats.stale == 1
            assert events.stats.age_ms == pytest.approx(250)


async def test_a_frame_that_is_too_large_costs_a_connection_and_not_the_subscription(endpoint: str) -> None:
    """libzmq gives such a connection up for good and tells nobody but its monitor."""
    good = encode(embedding(1))
    context = zmq.Context()
    with context, context.socket(zmq.PUB) as socket:
        socket.linger = 0
        socket.bind(endpoint)
        address = socket.getsockopt_string(zmq.LAST_ENDPOINT)
        async with subscribe(address, recover=False) as events:
            beat = encode_heartbeat(Heartbeat("door", 0, 0, 1, 0))
            await until(lambda: bool(events.streams()), meanwhile=lambda: socket.send_multipart(beat))
            socket.send_multipart([good[0], good[1], bytes((16 << 20) + 1), good[3]])
            await until(lambda: events.stats.received > 0, meanwhile=lambda: socket.send_multipart(good))
            assert events.stats.reconnects == 1
            async with asyncio.timeout(60):
                told = await anext(events)
        assert isinstance(told, StreamEvent)
        assert (told.kind, told.stream_id) == ("error", "")
        assert told.detail.startswith(f"{address}: ")
        assert "connected again" in told.detail
