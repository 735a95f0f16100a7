"""Posts to a real server that fails, stalls, refuses, goes away and comes back."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydantic import SecretStr

from ovstream.config import SinkConfig
from ovstream.errors import ConfigError, MissingExtraError
from ovstream.sinks import open_sink
from ovstream.sinks.webhook import WebhookSink
from tests.sinks.waiting import until
from tests.wire.samples import embedding


class Receiver:
    """A web server whose answers are told beforehand; afterwards it says 204."""

    def __init__(self, *, port: int = 0, answers: list[int] | None = None, bad: int | None = None) -> None:
        self.seen: list[int] = []
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.answers = list(answers or [])
        self.stalled = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.requests.append((dict(self.headers), body))
                numbers = [one["seq"] for one in json.loads(body)]
                code = outer.answers.pop(0) if outer.answers else 204
                if code == 0:
                    outer.stalled.wait(20)
                    return
                if bad in numbers:
                    code = 422
                if code == 204:
                    outer.seen += numbers
                self.send_response(code)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def stop(self) -> None:
        self.stalled.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def sink_to(port: int, folder: Path, **options: object) -> WebhookSink:
    options = {"retry_seconds": 0.05, "timeout_seconds": 5.0} | options
    config = {"type": "webhook", "url": f"http://127.0.0.1:{port}/hook", "spool": folder / "spool", **options}
    sink = open_sink(SinkConfig.model_validate(config))
    assert isinstance(sink, WebhookSink)
    return sink


def test_all_arrive_in_order_through_failures(tmp_path: Path) -> None:
    receiver = Receiver(answers=[500, 429, 503, 204, 302, 408])
    sink = sink_to(receiver.port, tmp_path, batch=7)
    for seq in range(50):
        sink.publish(embedding(seq))
    until(lambda: sink.delivered == 50)
    sink.close()
    sink.close()
    receiver.stop()
    assert receiver.seen == list(range(50))
    assert (sink.waiting, sink.lost, sink.refused) == (0, 0, 0)


def test_a_server_that_stalls_is_asked_again(tmp_path: Path) -> None:
    receiver = Receiver(answers=[0])
    sink = sink_to(receiver.port, tmp_path, timeout_seconds=0.2)
    sink.publish(embedding(0))
    until(lambda: receiver.seen == [0])
    sink.close()
    receiver.stop()
    assert len(receiver.requests) == 2


def test_one_refused_embedding_costs_the_others_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = Receiver(answers=[503], bad=3)
    sink = sink_to(receiver.port, tmp_path)
    for seq in range(6):
        sink.publish(embedding(seq))
    until(lambda: sink.waiting == 0)
    sink.close()
    receiver.stop()
    assert receiver.seen == [0, 1, 2, 4, 5]
    assert (sink.delivered, sink.refused) == (5, 1)
    assert "refuses an embedding: HTTP 422" in caplog.text


def test_what_waits_is_delivered_by_the_next_process(tmp_path: Path) -> None:
    receiver = Receiver()
    receiver.stop()
    away = sink_to(receiver.port, tmp_path)
    for seq in range(20):
        away.publish(embedding(seq))
    away.close()
    assert (away.waiting, away.delivered) == (20, 0)
    back = Receiver(port=receiver.port)
    sink = sink_to(receiver.port, tmp_path)
    until(lambda: sink.delivered == 20)
    sink.close()
    back.stop()
    assert back.seen == list(range(20))


def test_the_body_is_signed_and_the_token_sent(tmp_path: Path) -> None:
    receiver = Receiver()
    sink = sink_to(receiver.port, tmp_path, token="hunter2", hmac_key="key")
    sink.publish(embedding(0))
    sink.close()
    receiver.stop()
    ((headers, body),) = receiver.requests
    signed = headers["X-Ovstream-Timestamp"].encode() + b"." + body
    assert headers["X-Ovstream-Signature"] == "sha256=" + hmac.new(b"key", signed, hashlib.sha256).hexdigest()
    assert headers["Authorization"] == "Bearer hunter2"


def test_secrets_stay_out_of_logs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="ovstream")
    receiver = Receiver(answers=[500])
    sink = sink_to(receiver.port, tmp_path, token="hunter2")
    sink.publish(embedding(0))
    until(lambda: sink.delivered == 1)
    receiver.stop()
    sink.publish(embedding(1))
    until(lambda: caplog.text.count("is away") == 2)
    sink.close()
    assert "is back after" in caplog.text
    assert not any(secret in caplog.text + repr(vars(sink)) for secret in ("hunter2", "/hook"))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"url": "http://example.org/", "token": "hunter2"}, "example.org in the clear"),
        ({"url": "ftp://example.org/"}, "must start with https"),
        ({"batch": 0}, "must be positive"),
    ],
)
def test_mistakes_are_config_errors(tmp_path: Path, options: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        sink_to(1, tmp_path, **options)


def test_a_missing_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(MissingExtraError, match=r"ovstream-edge\[sinks\]"):
        WebhookSink(SecretStr("http://127.0.0.1/"), spool=tmp_path / "spool")
