"""A camera behind a real RTSP server, `ovstream run` in one process, `ovstream listen` in another."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import time
from datetime import timedelta
from pathlib import Path

import pytest

from ovstream.cli import listen
from ovstream.cli.app import VERBS
from ovstream.cli.listen import _start
from ovstream.cli.run import _run
from ovstream.config import stream_config
from ovstream.errors import ConfigError
from ovstream.pipeline import StreamWorker
from ovstream.publish import subscribe
from ovstream.types import AccessUnit, Embedding
from tests.cli.programs import ENVIRONMENT, command, free_endpoint, ovstream, ovstream_each, running
from tests.clips import make_clip
from tests.conftest import load_corpus
from tests.net.rtsp_server import rtsp_server


@pytest.fixture(scope="module")
def camera_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real camera's clip where the corpus is there, else a synthetic one."""
    if found := load_corpus():
        return found.path("camera/car-detection.mp4")
    return make_clip(tmp_path_factory.mktemp("cli") / "clip.mp4", options={"x264-params": "bframes=0"})


def records(output: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in output.splitlines()]


def is_whole(found: list[dict[str, object]]) -> bool:
    """Whether no sequence number is missing between the first and the last one heard."""
    numbers = [int(str(one["seq"])) for one in found]
    return numbers == list(range(numbers[0], numbers[-1] + 1))


async def test_silence_is_told_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(listen, "_PATIENCE_SECONDS", 0.05)
    endpoint = free_endpoint()
    hearing = asyncio.create_task(listen._listen(endpoint, subscribe(endpoint), None, False))
    said = ""
    while "nothing heard" not in said:
        await asyncio.sleep(0.02)
        assert not hearing.done()
        said += capsys.readouterr().out
    await asyncio.sleep(0.2)
    hearing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await hearing
    said += capsys.readouterr().out
    assert " ".join(said.split()).count(f"nothing heard from {endpoint} yet") == 1
    assert "0 received" in said


def test_every_sequence_number_of_a_camera_arrives(camera_clip: Path) -> None:
    endpoint = free_endpoint()
    with rtsp_server("--file", str(camera_clip), "--loop") as server:
        listener = subprocess.Popen(
            command("listen", endpoint, "--json", "--count", "40"),
            stdout=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )
        with (
            listener,
            running("run", server.url("/file"), "--publish", endpoint, "--stream-id", "door") as runner,
        ):
            output, _ = listener.communicate(timeout=60)
            runner.send_signal(signal.SIGTERM)
            told, _ = runner.communicate(timeout=30)
    found = records(output)
    assert is_whole(found)
    assert len(found) == 40
    assert {one["stream_id"] for one in found} == {"door"}
    assert {one["trained"] for one in found} == {True}
    assert runner.returncode == 0, told
    assert "patches encoded" in told


def test_a_file_at_full_speed_goes_to_a_jsonl_file(camera_clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "embeddings.jsonl"
    told = ovstream("run", str(camera_clip), "--jsonl", str(out))
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [one["seq"] for one in lines] == list(range(len(lines)))
    assert len(lines) >= 50
    assert "untrained" not in told


def test_a_configuration_file_runs_several_streams(tmp_path: Path) -> None:
    endpoint = free_endpoint()
    path = tmp_path / "streams.yaml"
    path.write_text(
        f"""
defaults:
  source: {{pace: realtime}}
  publish: {{endpoint: "{endpoint}"}}
streams:
  - {{stream_id: one, url: "synthetic:?seconds=2&width=320&height=192"}}
  - {{stream_id: two, url: "synthetic:?seconds=2&width=320&height=192&seed=1"}}
"""
    )
    with subprocess.Popen(
        command("listen", endpoint, "--json", "--until-end"),
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    ) as listener:
        time.sleep(1.0)
        ovstream("run", "--config", str(path))
        output, _ = listener.communicate(timeout=30)
    found = records(output)
    for name in ("one", "two"):
        ours = [one for one in found if one["stream_id"] == name]
        assert is_whole(ours)
        assert ours[-1]["seq"] == 49


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_an_endless_camera_cleanly(signum: signal.Signals) -> None:
    endpoint = free_endpoint()
    with running("run", "synthetic:?width=320&height=192", "--publish", endpoint) as runner:
        ovstream("listen", endpoint, "--count", "5")
        runner.send_signal(signum)
        told, _ = runner.communicate(timeout=30)
    assert runner.returncode == 0, told
    assert "Traceback" not in told


def test_one_bad_stream_does_not_end_the_others(tmp_path: Path) -> None:
    path = tmp_path / "streams.yaml"
    path.write_text(
        """
streams:
  - {stream_id: bad, url: nowhere.mp4}
  - {stream_id: good, url: "synthetic:?seconds=1&width=320&height=192"}
"""
    )
    told = ovstream("run", "--config", str(path), status=1)
    assert told.count("nowhere.mp4") == 1
    assert "good: 25 embeddings" in told


def test_mistakes_get_one_clear_sentence() -> None:
    mistakes = {
        ("run",): "either a URL or --config",
        ("run", "nowhere.mp4"): "nowhere.mp4",
        ("run", "gopher://x"): "not supported",
        ("run", "synthetic:", "--model", "nope"): "nope",
        ("run", "synthetic:", "--publish", "tcp://0.0.0.0:5555"): "0.0.0.0",
        ("listen", "nonsense"): "nonsense",
        ("inspect", "nowhere.mp4"): "nowhere.mp4",
    }
    for words, told in zip(mistakes.values(), ovstream_each(*mistakes, status=1), strict=True):
        assert words in told
        assert "Traceback" not in told
    assert "nowhere.mp4" in ovstream("run", "nowhere.mp4", status=1)


def test_every_verb_explains_itself() -> None:
    for told in ovstream_each(*([verb, "--help"] for verb in VERBS)):
        assert "Usage" in told
    assert ovstream("--version").startswith("ovstream ")


async def test_an_unexpected_error_of_one_stream_does_not_end_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = StreamWorker.process

    def broken(worker: StreamWorker, unit: AccessUnit) -> list[Embedding]:
        if worker._config.stream_id == "bad":
            raise RuntimeError("nobody thought of this")
        return whole(worker, unit)

    monkeypatch.setattr(StreamWorker, "process", broken)
    sinks = [{"type": "jsonl", "path": str(tmp_path / "good.jsonl")}]
    camera = "synthetic:?width=160&height=96&seconds=0.4"
    failures = await _run(
        [stream_config(camera, stream_id="bad"), stream_config(camera, stream_id="good", sinks=sinks)]
    )
    assert list(failures) == ["bad"]
    assert len((tmp_path / "good.jsonl").read_text().splitlines()) == 10


@pytest.mark.parametrize(
    ("text", "meant"), [("last", "last"), ("7", 7), ("2d", timedelta(days=2)), ("90s", timedelta(seconds=90))]
)
def test_listening_starts_at_words_numbers_and_times(text: str, meant: object) -> None:
    assert _start(text) == meant
    assert isinstance(_start("2026-05-01T12:30"), timedelta)
    with pytest.raises(ConfigError, match="is no time"):
        _start("yesterday")
