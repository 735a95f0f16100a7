"""Publishes to a real mosquitto, through its restart."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from ovstream.config import SinkConfig
from ovstream.errors import ConfigError, MissingExtraError
from ovstream.sinks import open_sink
from ovstream.sinks.mqtt import MqttSink
from tests.net.certificates import make_identity
from tests.sinks.servers import Server, mosquitto
from tests.sinks.waiting import until
from tests.wire.samples import embedding


class Listener:
    """Subscribes to everything, with a session that outlives its connections."""

    def __init__(self, port: int) -> None:
        self.messages: list[tuple[str, dict[str, object]]] = []
        self._ready = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, "listener", clean_session=False)
        self._client.username_pw_set("camera", "hunter2")
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1) and None
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._take
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._ready.wait(20)

    def _take(self, _client: object, _data: object, message: MQTTMessage) -> None:
        self.messages.append((message.topic, json.loads(message.payload)))

    @property
    def numbers(self) -> list[object]:
        """Each number once, in the order of its first arrival."""
        return list(dict.fromkeys(message["seq"] for _, message in self.messages))

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Server]:
    server = mosquitto(tmp_path)
    yield server
    server.stop()


def sink_to(port: int, folder: Path, **options: object) -> MqttSink:
    options = {"host": "127.0.0.1", "port": port, "retry_seconds": 0.05, "username": "camera"} | options
    options = {"type": "mqtt", "password": "hunter2", "spool": folder / "spool"} | options
    sink = open_sink(SinkConfig.model_validate(options))
    assert isinstance(sink, MqttSink)
    return sink


def test_a_restart_of_the_broker_loses_nothing(broker: Server, tmp_path: Path) -> None:
    listener = Listener(broker.port)
    sink = sink_to(broker.port, tmp_path, batch=3)
    for seq in range(300):
        sink.publish(embedding(seq, stream_id="door"))
    until(lambda: sink.delivered > 30)
    broker.stop()
    for seq in range(300, 320):
        sink.publish(embedding(seq, stream_id="door"))
    assert sink.waiting >= 20
    broker.start()
    until(lambda: listener.numbers == list(range(320)))
    sink.close()
    listener.close()
    assert (sink.delivered, sink.waiting, sink.lost, sink.refused) == (320, 0, 0, 0)
    assert {topic for topic, _ in listener.messages} == {"ovstream/door/scene"}


def test_a_wrong_password_is_told_and_loses_nothing(
    broker: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sink = sink_to(broker.port, tmp_path, password="hunter3")
    sink.publish(embedding(0))
    until(lambda: "Not authorized" in caplog.text)
    sink.close()
    assert (sink.waiting, sink.delivered) == (1, 0)
    assert "hunter3" not in caplog.text + repr(vars(sink))


# paho leaves a socket whose handshake failed to the garbage collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_tls_is_spoken_and_the_broker_verified(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    identity = make_identity(tmp_path)
    broker = mosquitto(tmp_path, tls=(identity.ca_file, identity.key_file))
    trusting = sink_to(broker.port, tmp_path, ca_file=identity.ca_file)
    trusting.publish(embedding(0))
    trusting.close()
    wary = sink_to(broker.port, tmp_path, tls=True, spool=tmp_path / "other")
    wary.publish(embedding(0))
    until(lambda: "CERTIFICATE_VERIFY_FAILED" in caplog.text)
    wary.close()
    broker.stop()
    assert (trusting.delivered, wary.delivered) == (1, 0)


def test_nobody_listens(broker: Server, tmp_path: Path) -> None:
    sink = sink_to(broker.port, tmp_path)
    sink.publish(embedding(0))
    sink.close()
    assert sink.delivered == 1


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"topic": "a/#"}, "no topic to publish to"),
        ({"topic": "a/{camera}"}, "unknown .*'camera'"),
        ({"host": "example.org"}, "example.org in the clear"),
    ],
)
def test_mistakes_are_config_errors(tmp_path: Path, options: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        sink_to(1, tmp_path, **options)


def test_a_missing_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", None)
    with pytest.raises(MissingExtraError, match=r"ovstream-edge\[sinks\]"):
        MqttSink("127.0.0.1", spool=tmp_path / "spool")
