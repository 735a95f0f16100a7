"""What is published arrives, over real sockets on this machine."""

from __future__ import annotations

import asyncio

import numpy as np
import zmq

from ovstream.config import PublishConfig
from ovstream.publish import Publisher, subscribe
from tests.publish.conftest import Join, take, until
from tests.wire.samples import assert_same, embedding, example


async def test_every_number_arrives_in_order_and_the_end_is_known(endpoint: str, join: Join) -> None:
    with Publisher(endpoint) as publisher:
        publisher.announce("door")
        async with subscribe(publisher.endpoint, until_end=True) as events:
            await join(publisher, events)
            for seq in range(500):
                publisher.publish(embedding(seq))
            publisher.end("door")
            assert [one.seq async for one in events.embeddings()] == list(range(500))
            stats = events.stats
            assert (stats.received, stats.delivered, stats.lost, stats.invalid) == (500, 500, 0, 0)
            assert not events.gaps
            assert events.streams()["door"].ended
        assert publisher.stats.published == 500
        assert publisher.stats.events == 1


async def test_what_arrives_is_what_was_sent(endpoint: str, join: Join) -> None:
    with Publisher(endpoint, config=PublishConfig(vector_dtype="float32")) as publisher:
        publisher.announce("door", epoch=2, next_seq=74)
        tokens = example().vector.repeat(15).reshape(15, 4) / 3
        async with subscribe(publisher.endpoint) as events:
            await join(publisher, events)
            publisher.publish(example())
            publisher.publish(embedding(75, epoch=2, kind="tokens", vector=tokens))
            async with asyncio.timeout(60):
                received = events.embeddings()
                assert_same(await anext(received), example())
                np.testing.assert_array_equal((await anext(received)).vector, tokens)


async def test_a_subscriber_may_come_first(endpoint: str, join: Join) -> None:
    with Publisher(endpoint) as scout:
        address = scout.endpoint
    async with subscribe(address) as events:
        waiting = asyncio.create_task(take(events, 3))
        await asyncio.sleep(0.05)
        with Publisher(address) as publisher:
            publisher.announce("door")
            await join(publisher, events)
            for seq in range(3):
                publisher.publish(embedding(seq))
            assert await waiting == [0, 1, 2]
    assert events.stats.lost == 0


async def test_a_late_subscriber_starts_live(endpoint: str, join: Join) -> None:
    with Publisher(endpoint) as publisher:
        for seq in range(10):
            publisher.publish(embedding(seq))
        async with subscribe(publisher.endpoint) as events:
            await join(publisher, events)
            publisher.publish(embedding(10))
            assert await take(events, 1) == [10]
            assert events.stats.lost == 0


async def test_streams_are_told_apart_by_their_whole_name(endpoint: str, join: Join) -> None:
    with Publisher(endpoint) as publisher:
        for name in ("cam1", "cam10", "cam"):
            publisher.announce(name)
        async with subscribe(publisher.endpoint, streams=["cam1"], until_end=True) as events:
            await join(publisher, events)
            for seq in range(5):
                for name in ("cam10", "cam1", "cam"):
                    publisher.publish(embedding(seq, stream_id=name))
            publisher.end("cam10")
            publisher.end("cam1")
            assert [(one.stream_id, one.seq) async for one in events.embeddings()] == [
                ("cam1", seq) for seq in range(5)
            ]
            assert set(events.streams()) == {"cam1"}


async def test_several_publishers_feed_one_subscription(join: Join) -> None:
    with Publisher("tcp://127.0.0.1:*") as one, Publisher("tcp://127.0.0.1:*") as other:
        one.announce("a")
        other.announce("b")
        async with subscribe([one.endpoint, other.endpoint], streams=["a", "b"], until_end=True) as events:
            for publisher, count in ((one, 1), (other, 2)):
                await until(
                    lambda count=count: len(events.streams()) == count,
                    meanwhile=lambda publisher=publisher: publisher.heartbeat(0),
                )
            for seq in range(20):
                one.publish(embedding(seq, stream_id="a"))
                other.publish(embedding(seq, stream_id="b"))
            one.end("a")
            other.end("b")
            got = [(item.stream_id, item.seq) async for item in events.embeddings()]
    assert sorted(got) == [(name, seq) for name in "ab" for seq in range(20)]


async def test_inproc_within_one_context() -> None:
    with zmq.Context() as context, Publisher("inproc://events", context=context) as publisher:
        publisher.announce("door")
        async with subscribe("inproc://events", context=context) as events:
            publisher.publish(embedding(0))
            assert await take(events, 1) == [0]
