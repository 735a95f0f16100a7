"""What a publisher promises can be had: it counts only what is kept, and closing waits for who was not given all."""

from __future__ import annotations

import threading

import pytest
import zmq

from ovstream.config import PublishConfig
from ovstream.publish import Publisher, service
from ovstream.publish.segment import Record
from ovstream.wire import Heartbeat, Reply, Request, encode_request, parse, parse_reply
from tests.publish.conftest import until
from tests.wire.samples import embedding


def beat(publisher: Publisher) -> Heartbeat:
    """The heartbeat that somebody who asks at this moment is given."""
    (frames,) = publisher._standing.catalogue()
    found = parse(frames)
    assert isinstance(found, Heartbeat)
    return found


def test_a_message_is_counted_once_it_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []
    with Publisher("tcp://127.0.0.1:*") as publisher:
        publisher.announce("door")
        append = publisher._journal.append

        def watched(record: Record) -> bool:
            before, kept, after = beat(publisher), append(record), beat(publisher)
            counted.append((before.next_seq, record.seq, after.next_seq))
            return kept

        monkeypatch.setattr(publisher._journal, "append", watched)
        for seq in range(3):
            publisher.publish(embedding(seq))
        assert counted == [(seq, seq, seq) for seq in range(3)]
        assert beat(publisher).next_seq == 3


def test_a_first_message_while_a_heartbeat_is_made_is_not_taken_for_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Publisher("tcp://127.0.0.1:*") as publisher:
        publisher.announce("door")
        oldest = publisher._journal.oldest

        def meanwhile(stream_id: str, channel: str) -> int | None:
            found = oldest(stream_id, channel)  # type: ignore[arg-type]
            if channel == "e" and not publisher.stats.published:
                publisher.publish(embedding(0))
            return found

        monkeypatch.setattr(publisher._journal, "oldest", meanwhile)
        assert (beat(publisher).oldest_seq, publisher.stats.published) == (0, 1)


async def test_closing_waits_for_who_was_not_given_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_IDLE_SECONDS", 0.0)  # whoever has all is not waited for
    monkeypatch.setattr(service, "_BEHIND_SECONDS", 60.0)
    monkeypatch.setattr(service, "_BATCH_MESSAGES", 4)
    context = zmq.Context()
    publisher = Publisher("tcp://127.0.0.1:*", config=PublishConfig(linger_seconds=60))
    closing = threading.Thread(target=publisher.close)
    with context, context.socket(zmq.DEALER) as asking:
        asking.linger = 0
        asking.rcvtimeo = 60_000

        def ask(first: int) -> Reply:
            asking.send_multipart(encode_request(Request("get", 1, "door", "e", first, 99)))
            return parse_reply(asking.recv_multipart())

        for seq in range(6):
            publisher.publish(embedding(seq))
        asking.connect(publisher.replay_endpoint)
        assert ask(0).last == 3
        closing.start()
        await until(
            lambda: publisher.stats.heartbeats > 2 or not closing.is_alive()
        )  # one every tenth of a second
        assert closing.is_alive()
        assert ask(4).last == 5
        closing.join()  # now it has all
