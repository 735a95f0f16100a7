"""What gets lost on the way is had again, over real sockets; what cannot be had is told."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgpack
import numpy as np
import pytest
import zmq

from ovstream.config import PublishConfig
from ovstream.publish import Gap, Publisher, Reset, Stale, subscribe
from ovstream.types import Embedding, StreamEvent
from ovstream.wire import WIRE_MAJOR, Request, encode_request, parse_reply
from tests.publish.conftest import Join, take, until
from tests.wire.samples import embedding


async def test_what_the_high_water_mark_drops_is_asked_for(endpoint: str, join: Join) -> None:
    """A lossless reader far slower than the stream gets everything, in order."""
    vector = np.zeros(512, np.float32)
    with Publisher(endpoint, config=PublishConfig(high_water_mark=5)) as publisher:
        publisher.announce("door")
        async with subscribe(publisher.endpoint, policy="lossless", capacity=10, until_end=True) as events:
            await join(publisher, events)
            for seq in range(3000):
                publisher.publish(embedding(seq, vector=vector))
            publisher.end("door")
            reader = asyncio.create_task(take(events, 3000))
            await until(reader.done, meanwhile=lambda: publisher.heartbeat(0), seconds=60)
            assert reader.result() == list(range(3000))
            assert events.stats.lost == 0
            assert events.stats.recovered > 1000
        assert publisher.stats.replayed >= events.stats.recovered


@pytest.mark.parametrize("start", ["oldest", 0, {"door": 0}, timedelta(days=1000)], ids=repr)
async def test_a_late_subscriber_gets_what_was_sent_before(endpoint: str, start: object) -> None:
    now_ns = embedding(0).publish_time_ns
    with Publisher(endpoint) as publisher:
        for seq in range(600):
            publisher.publish(embedding(seq))
        publisher.event(StreamEvent("quality", "door", 0, "dark"))
        async with subscribe(publisher.endpoint, start=start, clock_ns=lambda: now_ns) as events:  # type: ignore[arg-type]
            numbers = await take(events, 300)
            for seq in range(600, 700):
                publisher.publish(embedding(seq))
            assert numbers + await take(events, 400) == list(range(700))
            assert events.stats.lost == 0


async def test_beginning_at_a_time_brings_the_events_too(endpoint: str) -> None:
    with Publisher(endpoint) as publisher:
        for seq in range(10):
            publisher.publish(embedding(seq, publish_time_ns=(seq + 1) * 10**9))
            publisher.event(StreamEvent("quality", "door", 0, f"number {seq}"))
        start = datetime.fromtimestamp(8, UTC)
        async with subscribe(publisher.endpoint, start=start) as events:
            got: list[object] = []
            async with asyncio.timeout(60):
                while len(got) < 6:
                    event = await anext(events)
                    got.append(event.seq if isinstance(event, Embedding) else getattr(event, "detail", event))
    assert sorted(map(str, got)) == ["7", "8", "9", "number 7", "number 8", "number 9"]


async def test_the_last_one_alone(endpoint: str) -> None:
    with Publisher(endpoint) as publisher:
        for seq in range(50):
            publisher.publish(embedding(seq))
            publisher.publish(embedding(seq, stream_id="yard"))
        async with subscribe(publisher.endpoint, start="last", policy="latest") as events:
            first = [await anext(events.embeddings()) for _ in range(2)]
            assert {(one.stream_id, one.seq) for one in first} == {("door", 49), ("yard", 49)}


async def test_what_has_left_the_window_is_a_gap(endpoint: str, tmp_path: Path) -> None:
    config = PublishConfig(journal=str(tmp_path / "j"), journal_bytes=1 << 20)
    vector = np.zeros(2048, np.float32)
    with Publisher(endpoint, config=config) as publisher:
        publisher.resume("door")
        for seq in range(1000):
            publisher.publish(embedding(seq, vector=vector))
        async with subscribe(publisher.endpoint, start=100) as events:
            async with asyncio.timeout(60):
                gap = await anext(events)
            assert isinstance(gap, Gap)
            assert (gap.first, gap.reason, gap.channel) == (100, "expired", "e")
            oldest = gap.last + 1
            assert 700 < oldest < 950
            assert await take(events, 1000 - oldest) == list(range(oldest, 1000))
            assert events.stats.lost == gap.count


async def test_a_publisher_that_is_gone_before_the_ask_is_told(join: Join) -> None:
    with Publisher("tcp://127.0.0.1:*") as publisher:
        publisher.announce("door")
        events = subscribe(publisher.endpoint, recover_seconds=0.3)
        await events.__aenter__()
        await join(publisher, events)
        publisher._service.close()  # it dies while its last messages are on the way
        sequence = publisher._numbering["door"]
        sequence.next_seq, sequence.ended = 7, True
        publisher._beat_all()
    async with asyncio.timeout(60):
        told = [event async for event in _some(events, 2)]
    assert Gap("door", 0, 0, 6, "unanswered") in told
    await events.aclose()


async def _some(events, count):  # type: ignore[no-untyped-def]
    for _ in range(count):
        yield await anext(events)


async def test_silence_is_told_once(join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ovstream.publish.following.SILENT_SECONDS", 0.2)
    with Publisher("tcp://127.0.0.1:*") as publisher:
        publisher.announce("door")
        async with subscribe(publisher.endpoint) as events:
            await join(publisher, events)
            async with asyncio.timeout(60):
                stale = await anext(events)
            assert isinstance(stale, Stale)
            assert (stale.reason, stale.seq) == ("silent", None)
            publisher.publish(embedding(0))
            assert await take(events, 1) == [0]


async def test_an_epoch_that_goes_on_is_told_and_costs_nothing(endpoint: str, join: Join) -> None:
    with Publisher(endpoint) as publisher:
        publisher.announce("door", epoch=3)
        async with subscribe(publisher.endpoint) as events:
            await join(publisher, events)
            publisher.publish(embedding(0, epoch=3))
            publisher.announce("door", epoch=4, next_seq=1)
            publisher.publish(embedding(1, epoch=4))
            async with asyncio.timeout(60):
                told = [await anext(events) for _ in range(3)]
    assert told[1] == Reset("door", 3, 4, 1, continues=True)
    assert [one.seq for one in told if isinstance(one, Embedding)] == [0, 1]


def test_without_asyncio() -> None:
    with Publisher("tcp://127.0.0.1:*") as publisher:
        for seq in range(300):
            publisher.publish(embedding(seq))
        publisher.end("door")
        with subscribe(publisher.endpoint, start="oldest", until_end=True) as events:
            numbers = [event.seq for event in events if isinstance(event, Embedding)]
            assert numbers == list(range(300))
            assert events.stats.lost == 0


async def test_who_asks_too_much_gets_no_more_than_others(endpoint: str) -> None:
    """A subscriber that sends requests and never reads: bounded memory, and the others are served."""
    vector = np.zeros(8192, np.float32)
    context = zmq.Context()
    with context, Publisher(endpoint) as publisher, context.socket(zmq.DEALER) as hostile:
        for seq in range(500):
            publisher.publish(embedding(seq, vector=vector))
        hostile.linger = 0
        hostile.rcvhwm = 1
        hostile.connect(publisher.replay_endpoint)
        request = encode_request(Request("get", 1, "door", "e", 0, 499))[0]
        flood = [request, b"\xc1", request + b"x", b"x" * 4000, request]
        for number in range(2000):
            try:
                hostile.send(flood[number % len(flood)], zmq.NOBLOCK)
            except zmq.Again:
                await asyncio.sleep(0.001)
        async with subscribe(publisher.endpoint, start="oldest") as events:
            assert await take(events, 500) == list(range(500))
        assert publisher._service.stats.invalid > 0


async def test_requests_that_are_none_are_counted_and_the_next_is_answered(endpoint: str) -> None:
    good = encode_request(Request("list", 5))[0]
    newer = msgpack.packb({**msgpack.unpackb(good), "v": WIRE_MAJOR + 1})
    context = zmq.Context()
    with context, Publisher(endpoint) as publisher, context.socket(zmq.DEALER) as asking:
        asking.linger = 0
        asking.rcvtimeo = 10_000
        asking.connect(publisher.replay_endpoint)
        for request in (newer, b"\xc1", good):
            asking.send(request)
        assert parse_reply(asking.recv_multipart()).tag == 5
        assert publisher._service.stats.invalid == 2


async def test_a_request_larger_than_allowed_costs_its_sender_alone_the_connection(endpoint: str) -> None:
    good = encode_request(Request("list", 5))
    context = zmq.Context()
    with context, Publisher(endpoint) as publisher, ExitStack() as stack:
        hostile, other = (stack.enter_context(context.socket(zmq.DEALER)) for _ in range(2))
        for socket in (hostile, other):
            socket.linger = 0
            socket.rcvtimeo = 10_000
            socket.connect(publisher.replay_endpoint)
        monitor = stack.enter_context(hostile.get_monitor_socket(zmq.EVENT_DISCONNECTED))
        stack.callback(hostile.disable_monitor)
        hostile.send(bytes(1 << 20))
        assert monitor.poll(10_000)
        other.send_multipart(good)
        assert parse_reply(other.recv_multipart()).tag == 5


async def test_the_catalogue_lists_every_stream() -> None:
    context = zmq.Context()
    with context, Publisher("tcp://127.0.0.1:*") as publisher, context.socket(zmq.DEALER) as asking:
        for number in range(200):
            publisher.announce(f"cam{number}", epoch=number)
        asking.linger = 0
        asking.rcvtimeo = 10_000
        asking.connect(publisher.replay_endpoint)
        asking.send_multipart(encode_request(Request("list", 5)))
        reply = parse_reply(asking.recv_multipart())
    assert (reply.kind, reply.tag, len(reply.messages)) == ("list", 5, 200)


async def test_closing_answers_those_who_still_ask(join: Join) -> None:
    publisher = Publisher("tcp://127.0.0.1:*", config=PublishConfig(high_water_mark=1, linger_seconds=60))
    publisher.announce("door")
    async with subscribe(publisher.endpoint, policy="lossless", capacity=64, until_end=True) as events:
        await join(publisher, events)
        reader = asyncio.create_task(take(events, 500))
        for seq in range(500):
            publisher.publish(embedding(seq))
        publisher.end("door")
        publisher.heartbeat(time.time_ns())
        await until(lambda: events.stats.requests > 0)
        closing = threading.Thread(target=publisher.close)
        closing.start()
        await until(lambda: not closing.is_alive())
        assert await reader == list(range(500))
