"""`config`, `bench` and `top` say what they promise."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from ovstream.cli.app import app
from ovstream.errors import ConfigError


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.output


def test_the_schema_is_json() -> None:
    schema = json.loads(run("config", "schema"))
    assert schema["properties"].keys() == {"streams", "service", "defaults"}


def test_a_file_is_checked_without_starting_anything(tmp_path: Path) -> None:
    file = tmp_path / "o.yaml"
    file.write_text("streams:\n  - {url: 'synthetic:', stream_id: one}\n")
    assert "good. Streams: one" in run("config", "check", str(file))
    file.write_text("streams:\n  - url: x\n    plan: {keep_ration: 1}\n")
    with pytest.raises(ConfigError, match=r"o\.yaml:3: streams\[0\]\.plan\.keep_ration"):
        run("config", "check", str(file))


def test_checking_finds_what_a_start_would_refuse(tmp_path: Path) -> None:
    file = tmp_path / "o.yaml"
    file.write_text(
        """service: {http: {host: 0.0.0.0}}
streams:
- {stream_id: a, url: "rtps://me:CANARY@cam/1"}
- {stream_id: b, url: "whip:b", publish: {endpoint: "tcp://0.0.0.0:5555"}}
- {stream_id: c, url: clip.mp4, sinks: [{type: stor}, {type: jsonl, pth: x}]}
"""
    )
    with pytest.raises(ConfigError) as caught:
        run("config", "check", str(file))
    told = str(caught.value)
    assert "CANARY" not in told
    for problem in (
        "service: service.http.host 0.0.0.0 can be reached",
        "stream 'a': rtps:// is not supported",
        "stream 'b': tcp://0.0.0.0:5555 would be open",
        "stream 'c': there is no sink 'stor'; choose one of jsonl",
        "stream 'c': sink 'jsonl': unknown option 'pth'",
    ):
        assert f"{file}: {problem}" in told


def test_bench_counts_cameras_and_draws(tmp_path: Path) -> None:
    picture = tmp_path / "bench.png"
    printed = run("bench", "--size", "160x96", "--fps", "5", "--seconds", "3", "--png", str(picture))
    rows = re.findall(
        r"^ *(quiet|usual|busy) +([\d.]+)% +([\d.]+)% +([\d.]+) times +(\d+) +(\d+)", printed, re.M
    )
    assert [row[0] for row in rows] == ["quiet", "usual", "busy"]
    quiet, busy = rows[0], rows[2]
    assert float(quiet[1]) < float(quiet[2]), (
        "a quiet camera costs less than decoding and encoding everything"
    )
    assert int(quiet[4]) >= int(busy[4])
    with Image.open(picture) as drawn:
        assert drawn.size == (1100, 560)


def test_top_says_when_nobody_answers() -> None:
    with pytest.raises(ConfigError, match="ovstream serve"):
        run("top", "http://127.0.0.1:9", "--once")
    with pytest.raises(ConfigError, match="http://"):
        run("top", "file:///etc/passwd", "--once")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(("--size", "720p"), "WIDTHxHEIGHT"), (("--codec", "av1"), "codec"), (("--size", "9x9"), "width")],
)
def test_bench_explains_what_is_wrong(arguments: tuple[str, ...], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        CliRunner().invoke(app, ["bench", *arguments], catch_exceptions=False)


def test_top_outlives_a_restart_of_the_service_and_ends_well(monkeypatch: pytest.MonkeyPatch) -> None:
    service = {
        "live": 0,
        "streams": 0,
        "cpu": 0.1,
        "cores": 2,
        "memory_bytes": 1,
        "degraded": 0,
        "overload": 0.0,
        "sinks": [],
    }
    answers: list[object] = [service, [], ConfigError("no answer"), service, []]
    looks: list[float] = []

    def ask(address: str, path: str, token: str) -> object:
        answer = answers.pop(0)
        if isinstance(answer, ConfigError):
            raise answer
        return answer

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if not answers:
            raise KeyboardInterrupt

    monkeypatch.setattr("ovstream.cli.top.ask", ask)
    monkeypatch.setattr("ovstream.cli.top.time.sleep", sleep)
    result = CliRunner().invoke(app, ["top"], catch_exceptions=False)
    assert result.exit_code == 0
    assert len(looks) == 3
