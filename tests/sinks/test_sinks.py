"""Sinks take what a pipeline gives, and can be told apart by nothing but where it goes."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import pytest

from ovstream.errors import ConfigError
from ovstream.publish import Publisher
from ovstream.sinks import JsonlSink, MemorySink, Sink
from ovstream.types import Embedding, StreamEvent
from tests.wire.samples import embedding, example


def use(sink: Sink) -> None:
    """What a pipeline does."""
    sink.announce("door", epoch=2, next_seq=74)
    sink.heartbeat(1)
    sink.publish(example())
    sink.event(StreamEvent("fallback", "door", 0))
    sink.end("door")
    sink.close()
    sink.close()


def test_memory_keeps_everything() -> None:
    sink = MemorySink()
    use(sink)
    assert [one.seq for one in sink.embeddings] == [74]
    assert [one.kind for one in sink.events] == ["fallback"]
    assert (sink.heartbeats, sink.ended, sink.closed) == ([1], ["door"], True)


def test_a_publisher_is_a_sink() -> None:
    publisher: Sink = Publisher("tcp://127.0.0.1:*")
    use(publisher)


def test_a_sink_of_ones_own_needs_one_method() -> None:
    class Counting(Sink):
        count = 0

        def publish(self, embedding: Embedding) -> None:
            self.count += 1

    sink = Counting()
    use(sink)
    assert sink.count == 1


@pytest.mark.parametrize("vectors", ["base64", "list"])
def test_lines_say_what_the_embedding_says(tmp_path: Path, vectors: str) -> None:
    path = tmp_path / "door.jsonl"
    use(JsonlSink(path, vectors=vectors))  # type: ignore[arg-type]
    (record,) = map(json.loads, path.read_text().splitlines())
    fields = Embedding.__dataclass_fields__.keys() - {"vector", "changed"}
    assert {name: record[name] for name in fields} == {name: getattr(example(), name) for name in fields}
    assert record["grid"] == [3, 5]
    assert record["changed"] == [1, 14]
    raw = record["vector"]
    numbers = np.frombuffer(base64.b64decode(raw), "<f2") if vectors == "base64" else raw
    np.testing.assert_array_equal(np.reshape(numbers, record["vector_shape"]), example().vector)


def test_lines_are_appended_and_readable_at_once(tmp_path: Path) -> None:
    path = tmp_path / "door.jsonl"
    for seq in range(2):
        with JsonlSink(path) as sink:
            sink.publish(embedding(seq, kind="tokens", vector=np.ones((15, 2), np.float32)))
            records = [json.loads(line) for line in path.read_text().splitlines()]
            assert [record["seq"] for record in records] == list(range(seq + 1))
            assert records[-1]["vector_shape"] == [15, 2]


def test_mistakes_are_config_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'base64', 'list'"):
        JsonlSink(tmp_path / "x", vectors="hex")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="cannot write"):
        JsonlSink(tmp_path / "no" / "x")
