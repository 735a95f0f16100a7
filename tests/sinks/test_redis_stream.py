"""Appends to a real Redis, through its restart."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from pydantic import SecretStr

from ovstream.config import SinkConfig
from ovstream.errors import ConfigError, MissingExtraError
from ovstream.sinks import open_sink
from ovstream.sinks.redis_stream import RedisSink
from tests.sinks.servers import Server, redis_server
from tests.sinks.waiting import until
from tests.wire.samples import embedding


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    one = redis_server(tmp_path)
    yield one
    one.stop()


def sink_to(port: int, folder: Path, **options: object) -> RedisSink:
    options = {"url": f"redis://:hunter2@127.0.0.1:{port}/0", "retry_seconds": 0.05} | options
    sink = open_sink(SinkConfig.model_validate({"type": "redis", "spool": folder / "spool"} | options))
    assert isinstance(sink, RedisSink)
    return sink


def numbers(port: int, key: str) -> list[int]:
    """Each number once, in the order of its first arrival."""
    with redis.Redis(port=port, password="hunter2") as client:
        entries: list[tuple[bytes, dict[bytes, bytes]]] = client.xrange(key)  # type: ignore[assignment]
    return list(dict.fromkeys(json.loads(fields[b"embedding"])["seq"] for _, fields in entries))


def test_a_restart_of_the_server_loses_nothing(server: Server, tmp_path: Path) -> None:
    sink = sink_to(server.port, tmp_path, batch=3)
    for seq in range(300):
        sink.publish(embedding(seq, stream_id="door"))
    until(lambda: sink.delivered > 30)
    server.stop()
    for seq in range(300, 320):
        sink.publish(embedding(seq, stream_id="door"))
    assert sink.waiting >= 20
    server.start()
    until(lambda: sink.delivered == 320)
    sink.close()
    assert numbers(server.port, "ovstream:door") == list(range(320))
    assert (sink.waiting, sink.lost, sink.refused) == (0, 0, 0)


def test_streams_are_bounded(server: Server, tmp_path: Path) -> None:
    sink = sink_to(server.port, tmp_path, maxlen=100, key="{kind}")
    for seq in range(500):
        sink.publish(embedding(seq))
    until(lambda: sink.waiting == 0)
    sink.close()
    kept = numbers(server.port, "scene")
    assert 100 <= len(kept) < 300
    assert kept[-1] == 499


def test_a_key_of_another_kind_refuses(server: Server, tmp_path: Path) -> None:
    with redis.Redis(port=server.port, password="hunter2") as client:
        client.set("ovstream:door", "a string")
    sink = sink_to(server.port, tmp_path)
    sink.publish(embedding(0, stream_id="door"))
    sink.publish(embedding(0, stream_id="gate"))
    until(lambda: sink.waiting == 0)
    sink.close()
    assert (sink.refused, sink.delivered) == (1, 1)


def test_a_wrong_password_is_told_and_loses_nothing(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sink = sink_to(server.port, tmp_path, url=f"redis://:hunter3@127.0.0.1:{server.port}")
    sink.publish(embedding(0))
    until(lambda: "AuthenticationError" in caplog.text)
    sink.close()
    assert (sink.waiting, sink.delivered) == (1, 0)
    assert "hunter3" not in caplog.text + repr(sink)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"url": "redis://:hunter2@example.org/0"}, "example.org in the clear"),
        ({"url": "http://example.org/0"}, "must start with rediss"),
        ({"key": "{seq}"}, "unknown .*'seq'"),
    ],
)
def test_mistakes_are_config_errors(tmp_path: Path, options: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        sink_to(1, tmp_path, **options)


def test_a_missing_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(MissingExtraError, match=r"ovstream-edge\[sinks\]"):
        RedisSink(SecretStr("redis://127.0.0.1/"), spool=tmp_path / "spool")
