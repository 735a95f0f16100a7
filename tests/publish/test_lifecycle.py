"""Beginning, end, and mistakes of publishers and subscriptions."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime

import numpy as np
import pytest

from ovstream.config import PublishConfig
from ovstream.errors import ConfigError, WireError
from ovstream.publish import Publisher, subscribe
from ovstream.types import StreamEvent
from tests.publish.conftest import Join, take, until
from tests.wire.samples import embedding


async def test_what_happens_to_a_stream_is_an_event(join: Join) -> None:
    with Publisher("tcp://127.0.0.1:*") as publisher:
        publisher.announce("door", epoch=3, next_seq=9)
        async with subscribe(publisher.endpoint) as events:
            await join(publisher, events)
            publisher.heartbeat(1234)
            publisher.event(StreamEvent("reconnecting", "door", 0, "no data for 5 s\n"))
            async with asyncio.timeout(60):
                assert await anext(events) == StreamEvent("reconnecting", "door", 1234, "no data for 5 s?")


async def test_ready_waits_for_the_first_sign_of_life(endpoint: str) -> None:
    with Publisher(endpoint) as publisher:
        async with subscribe(publisher.endpoint) as events:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await events.ready()
            publisher.announce("door")

            async def beat() -> None:
                while True:
                    publisher.heartbeat(0)
                    await asyncio.sleep(0.01)

            beats = asyncio.create_task(beat())
            async with asyncio.timeout(60):
                await events.ready()
            beats.cancel()


async def test_closing_ends_the_iteration_and_may_be_repeated() -> None:
    with Publisher("tcp://127.0.0.1:*") as publisher:
        async with subscribe(publisher.endpoint) as events:
            waiting = asyncio.create_task(take(events, 1))
            await asyncio.sleep(0.05)
            await events.aclose()
            assert await waiting == []
        await events.aclose()
        with pytest.raises(ConfigError, match="used once"):
            await events.__aenter__()
        publisher.close()
        with pytest.raises(ConfigError, match="closed"):
            publisher.publish(embedding())


async def test_a_cancelled_reader_leaves_nothing_behind() -> None:
    async def read(address: str) -> None:
        async with subscribe(address) as events:
            async for _ in events:
                pass

    with Publisher("tcp://127.0.0.1:*") as publisher:
        task = asyncio.create_task(read(publisher.endpoint))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_last_messages_are_flushed_by_close(endpoint: str, join: Join) -> None:
    publisher = Publisher(endpoint)
    publisher.announce("door")
    async with subscribe(publisher.endpoint, until_end=True) as events:
        await join(publisher, events)
        for seq in range(900):
            publisher.publish(embedding(seq))
        publisher.end("door")
        publisher.close()
        assert len([one async for one in events.embeddings()]) == 900


async def test_close_waits_no_longer_than_it_may(join: Join) -> None:
    config = PublishConfig(linger_seconds=0.2)
    publisher = Publisher("tcp://127.0.0.1:*", config=config)
    publisher.announce("door")
    big = np.zeros(16_384, np.float32)
    async with subscribe(publisher.endpoint, policy="lossless", capacity=1, recover=False) as events:
        await join(publisher, events)
        for seq in range(1000):
            publisher.publish(embedding(seq, vector=big))
        started = time.perf_counter()
        publisher.close()
        assert time.perf_counter() - started < 2


def test_numbers_and_epochs_only_grow() -> None:
    with Publisher("tcp://127.0.0.1:*") as publisher:
        publisher.publish(embedding(5, epoch=1))
        with pytest.raises(WireError, match="number 5 after 5"):
            publisher.publish(embedding(5, epoch=1))
        with pytest.raises(WireError, match="epoch 0 after epoch 1"):
            publisher.publish(embedding(6, epoch=0))
        with pytest.raises(WireError, match="epoch"):
            publisher.announce("door", epoch=1)
        publisher.publish(embedding(9, epoch=1))
        publisher.publish(embedding(0, epoch=2))
        assert publisher.stats.published == 3


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"start": "first"}, "'live', 'last', 'oldest'"),
        ({"start": -1}, "not negative"),
        ({"start": {"door": -1}}, "not negative"),
        ({"start": True}, "choose"),
        ({"start": datetime(2026, 1, 1)}, "time zone"),
        ({"keys": "no-such.key"}, "ovstream keys new"),
        ({"policy": "newest"}, "'latest', 'bounded'"),
        ({"policy": "bounded(0)"}, "capacity=0"),
        ({"replay": "nowhere"}, "no endpoint"),
        ({"endpoint": "tcp://127.0.0.1:65535"}, "no next port"),
        ({"capacity": 0}, "capacity=0"),
        ({"streams": "door"}, r"\['door'\]"),
        ({"streams": ["a/b"]}, "stream id"),
        ({"endpoint": []}, "no endpoint"),
        ({"endpoint": "127.0.0.1:5555"}, "no endpoint: tcp://"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, object], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        subscribe(**{"endpoint": "tcp://127.0.0.1:5555", **arguments})  # type: ignore[arg-type]


async def test_a_subscription_must_be_entered() -> None:
    with pytest.raises(ConfigError, match="async with"):
        await anext(subscribe("tcp://127.0.0.1:5555"))


async def test_an_endpoint_that_zeromq_refuses_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="cannot connect"):
        async with subscribe(f"ipc:///{'long' * 100}"):
            pass


async def test_a_stream_that_ended_may_go_on(join: Join) -> None:
    with Publisher("tcp://127.0.0.1:*") as publisher:
        publisher.announce("door")
        async with subscribe(publisher.endpoint) as events:
            await join(publisher, events)
            publisher.end("door")
            publisher.heartbeat(0)
            await until(lambda: events.streams()["door"].ended)
            publisher.publish(embedding(0))
            assert await take(events, 1) == [0]
            assert not events.streams()["door"].ended
