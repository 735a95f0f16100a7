"""Publishes over the real protocol, to the cluster that librdkafka plays for tests; no broker installs without Java."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer

from ovstream.config import SinkConfig
from ovstream.errors import ConfigError, MissingExtraError
from ovstream.sinks import open_sink
from ovstream.sinks.kafka import KafkaSink
from tests.sinks.waiting import free_port, until
from tests.wire.samples import embedding


class Cluster:
    """One broker on a loopback port, for as long as the object lives."""

    def __init__(self) -> None:
        self._owner = Producer({"bootstrap.servers": "unused", "test.mock.num.brokers": "1", "log_level": 2})
        (broker,) = self._owner.list_topics(timeout=10).brokers.values()
        self.address = f"{broker.host}:{broker.port}"

    def messages(self, topic: str, count: int) -> list[tuple[str, dict[str, Any]]]:
        """(key, embedding) of the first messages of a topic, by partition."""
        reader = Consumer(
            {"bootstrap.servers": self.address, "group.id": "test", "auto.offset.reset": "earliest"}
        )
        reader.subscribe([topic])
        found: list[tuple[str, dict[str, Any]]] = []

        def enough() -> bool:
            message = reader.poll(0.2)
            if message is not None and message.error() is None:
                found.append((message.key().decode(), json.loads(message.value())))
            return len(found) >= count

        until(enough, seconds=30)
        reader.close()
        return found


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def sink_to(servers: object, folder: Path, **options: object) -> KafkaSink:
    options = {"servers": servers, "retry_seconds": 0.05, "timeout_seconds": 5.0} | options
    sink = open_sink(SinkConfig.model_validate({"type": "kafka", "spool": folder / "spool"} | options))
    assert isinstance(sink, KafkaSink)
    return sink


def test_each_stream_arrives_whole_and_in_order(cluster: Cluster, tmp_path: Path) -> None:
    sink = sink_to(cluster.address, tmp_path, batch=7)
    for seq in range(60):
        sink.publish(embedding(seq, stream_id="door" if seq % 2 else "gate"))
    until(lambda: sink.delivered == 60)
    sink.close()
    assert sink.counts.sent == 60
    assert (sink.counts.failed, sink.counts.dropped, sink.counts.waiting) == (0, 0, 0)
    found = cluster.messages("ovstream", 60)
    assert all(key == one["stream_id"] for key, one in found)
    for name, parity in (("door", 1), ("gate", 0)):
        assert [one["seq"] for key, one in found if key == name] == list(range(parity, 60, 2))


def test_what_waits_while_nobody_is_there_is_delivered_by_the_next_process(tmp_path: Path) -> None:
    away = sink_to(f"127.0.0.1:{free_port()}", tmp_path, close_seconds=0.0)
    for seq in range(20):
        away.publish(embedding(seq))
    until(lambda: away._failures > 1)
    assert away.counts.waiting == 20
    assert away.counts.waiting_bytes > 1000
    away.close()
    until(lambda: not away._thread.is_alive())
    cluster = Cluster()
    back = sink_to(cluster.address, tmp_path, idempotent=False)
    until(lambda: back.delivered == 20)
    back.close()
    assert [one["seq"] for _, one in cluster.messages("ovstream", 20)] == list(range(20))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"servers": "kafka.local"}, "is not host:port"),
        (
            {"servers": "kafka.local:9092", "username": "a", "password": "hunter2"},
            r"kafka\.local in the clear",
        ),
        ({"servers": "127.0.0.1:1", "password": "hunter2"}, "belong together"),
        ({"servers": "127.0.0.1:1", "topic": "{camera}"}, "unknown .*'camera'"),
        ({"servers": "127.0.0.1:1", "retry_second": 1}, "unknown option 'retry_second'"),
        ({"servers": "127.0.0.1:1", "retry_seconds": "often"}, "retry_seconds"),
    ],
)
def test_mistakes_are_config_errors(tmp_path: Path, options: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        sink_to(folder=tmp_path, **options)


def test_a_missing_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiokafka", None)
    with pytest.raises(MissingExtraError, match=r"ovstream-edge\[sinks\]"):
        KafkaSink("127.0.0.1:9092", spool=tmp_path / "spool")
