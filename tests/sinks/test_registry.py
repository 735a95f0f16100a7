"""Sinks come from configuration, with their options checked before anything is opened."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from ovstream.config import SinkConfig, stream_config
from ovstream.errors import ConfigError
from ovstream.pipeline import Outputs, close_all
from ovstream.sinks import JsonlSink, MemorySink, open_sink, sink_types
from tests.wire.samples import example

PLUGIN = """
from ovstream.sinks import MemorySink


class ShoutingSink(MemorySink):
    def __init__(self, *, loudness: int, secret: str = "") -> None:
        super().__init__()
        self.loudness = loudness
"""


def described(type_: str, **options: object) -> SinkConfig:
    return SinkConfig.model_validate({"type": type_, **options})


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Another package, installed with an entry point of the group."""
    (tmp_path / "shouting.py").write_text(PLUGIN)
    info = tmp_path / "shouting-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shouting\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ovstream.sinks]\nshout = shouting:ShoutingSink\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "shouting", raising=False)
    return "shout"


def test_a_sink_that_comes_along(tmp_path: Path) -> None:
    sink = open_sink(described("jsonl", path=str(tmp_path / "out.jsonl"), vectors="list"))
    assert isinstance(sink, JsonlSink)
    sink.close()


def test_a_sink_of_another_package(plugin: str) -> None:
    assert plugin in sink_types()
    sink = open_sink(described(plugin, loudness="11"))
    assert isinstance(sink, MemorySink)
    assert sink.loudness == 11  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({}, "option 'loudness' is missing"),
        ({"loudness": "very"}, "loudness: .*integer"),
        ({"loudness": 1, "colour": "red"}, "unknown option 'colour'; choose among loudness, secret"),
    ],
)
def test_wrong_options_are_named(plugin: str, options: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=f"sink 'shout': {complaint}"):
        open_sink(described(plugin, **options))


def test_wrong_options_are_not_shown(plugin: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_sink(described(plugin, loudness="hunter2", secret="hunter3"))
    shown = f"{caught.value!r} {caught.value.__cause__} {caught.value.__context__} "
    assert "hunter" not in shown + repr(described(plugin, secret="hunter3"))


def test_an_unknown_type_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"no sink 'pigeon'; choose one of .*jsonl"):
        open_sink(described("pigeon"))


def test_streams_share_equal_sinks(tmp_path: Path) -> None:
    one = {"type": "jsonl", "path": str(tmp_path / "a.jsonl")}
    other = {"type": "jsonl", "path": str(tmp_path / "b.jsonl")}
    with Outputs() as outputs:
        first = outputs.of(stream_config("a.mp4", sinks=[one]))
        second = outputs.of(stream_config("b.mp4", sinks=[one, other]))
        assert first[0] is second[0] is not second[1]
    with pytest.raises(ValueError, match="closed"):
        first[0].publish(example())


def test_an_output_is_given_back_by_the_last_that_uses_it(tmp_path: Path) -> None:
    one = {"type": "jsonl", "path": str(tmp_path / "a.jsonl")}
    other = {"type": "jsonl", "path": str(tmp_path / "b.jsonl")}
    a = stream_config("a.mp4", stream_id="a", sinks=[one])
    b = stream_config("b.mp4", stream_id="b", sinks=[one, other])
    with Outputs() as outputs:
        (shared,) = outputs.of(a)
        _, own = outputs.of(b)
        assert outputs.names("b") == ["jsonl", "jsonl-2"]
        own.publish(example())
        assert {name: found.sent for name, found in outputs.counts().items()} == {"jsonl": 0, "jsonl-2": 1}
        assert outputs.release("b", keep=a.model_copy(update={"stream_id": "b"})) == [own]
        assert outputs.release("b") == []
        assert outputs.release("a") == [shared]
        close_all([own, shared])
        assert outputs.of(a) != [shared], "opened anew"


def test_one_endpoint_has_one_set_of_options() -> None:
    endpoint = "inproc://nowhere"
    with Outputs() as outputs:
        a = stream_config("a", stream_id="a", publish={"endpoint": endpoint})
        outputs._add(a.publish, "zeromq", MemorySink())
        outputs.of(a)
        keys = stream_config("b", stream_id="b", publish={"endpoint": endpoint, "keys": "folder"})
        with pytest.raises(ConfigError, match="must be the same"):
            outputs.of(keys)


def test_outputs_close_beside_each_other() -> None:
    together = threading.Barrier(3, timeout=20)

    class Slow(MemorySink):
        def close(self) -> None:
            together.wait()

    close_all([Slow(), Slow(), Slow()])  # one after the other they would wait for ever
