"""`ovstream search` finds moments of a store that a stream filled."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ovstream as package
from ovstream.cli import main
from ovstream.cli.moments import parse_time
from ovstream.config import SinkConfig
from ovstream.errors import ConfigError
from ovstream.sinks import open_sink
from ovstream.sinks.store import VectorStoreSink
from ovstream.sources.scene import Scene
from ovstream.store import open_store
from tests.cli.programs import ovstream, ovstream_each

NOW_NS = 1_790_000_000 * 10**9
CAMERAS = {
    "door": "synthetic:?seconds=2&width=320&height=192&seed=1",
    "yard": "synthetic:?seconds=2&width=320&height=192&seed=9&objects=1",
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    for name, url in CAMERAS.items():
        described = {"type": "store", "path": str(folder), "keep": "all"}
        for _ in package.iterate(url, stream_id=name, mode="exact", sinks=[described]):
            pass
    return folder


def found(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_moment_finds_itself_first_and_its_stream_before_others(store: Path, tmp_path: Path) -> None:
    png = tmp_path / "found.png"
    arguments = ("--like", "yard@last", "--json", "-k", "60", "--apart", "0", "--png", str(png))
    lines = found(ovstream("search", str(store), *arguments))
    with open_store(store) as opened:
        last = opened.nearest_in_time("yard", 2**62)
    assert last is not None
    assert (lines[0]["stream_id"], lines[0]["seq"]) == ("yard", last.seq)
    assert lines[0]["similarity"] == pytest.approx(1, abs=1e-5)
    assert {one["stream_id"] for one in lines[:40]} == {"yard"}
    assert {one["stream_id"] for one in lines[50:]} == {"door"}
    with Image.open(png) as drawn:
        assert np.asarray(drawn).std() > 5


def test_a_picture_is_encoded_with_the_model_of_the_store(store: Path, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    Image.fromarray(Scene(320, 192, seed=1).render(10)).save(picture)
    told = ovstream("search", str(store), "--like", str(picture), "-k", "3", "--apart", "0")
    assert "like picture.png" in told
    assert "door" in told
    assert "yard" not in told


def test_streams_times_and_distance_narrow_the_search(store: Path) -> None:
    lines = found(ovstream("search", str(store), "--like", "yard@last", "--streams", "door", "--json"))
    assert [one["stream_id"] for one in lines] == ["door"]  # two seconds: one occasion
    told = ovstream("search", str(store), "--like", "yard@last", "--until", "1d")
    assert "nothing is kept" in told


def test_mistakes_are_explained(store: Path) -> None:
    complaints = {
        "attic@last": "no scene of stream 'attic' is kept; there are: door, yard",
        "no-such-file.jpg": "neither a file nor STREAM@TIME",
        "door@soon": "'soon' is no time",
    }
    calls = [("search", str(store), "--like", like) for like in complaints]
    for complaint, told in zip(complaints.values(), ovstream_each(*calls, status=1), strict=True):
        assert complaint in " ".join(told.split())


@pytest.mark.parametrize(
    ("text", "ago_seconds"), [("90s", 90), ("10m", 600), ("2h", 7200), ("1.5d", 129600), ("1w", 604800)]
)
def test_ages(text: str, ago_seconds: int) -> None:
    assert parse_time(text, NOW_NS) == NOW_NS - ago_seconds * 10**9


def test_dates() -> None:
    assert parse_time("2026-09-21T14:13:20+00:00", 0) == NOW_NS
    with pytest.raises(ConfigError, match="no time"):
        parse_time("yesterday", 0)


@pytest.mark.parametrize("kind", ["lancedb", "qdrant"])
def test_databases_are_searched_likewise(
    kind: str,
    store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In this process: these packages take long to load."""

    def told(place: str) -> list[dict[str, object]]:
        arguments = ["--like", "yard@last", "--json", "-k", "3", "--apart", "0"]
        monkeypatch.setattr("sys.argv", ["ovstream", "search", place, *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        assert not ended.value.code, printed
        return found(printed.out)

    with open_store(store) as opened:
        moments = list(opened.moments())
    sink = open_sink(SinkConfig(type=kind, path=str(tmp_path / kind), keep="all"))  # type: ignore[call-arg]
    assert isinstance(sink, VectorStoreSink)
    sink._store.add(moments)
    sink.close()
    lines, expected = told(f"{kind}:{tmp_path / kind}"), told(str(store))
    assert len(lines) == 3
    assert [(one["stream_id"], one["seq"]) for one in lines] == [
        (one["stream_id"], one["seq"]) for one in expected
    ]
    assert [one["similarity"] for one in lines] == pytest.approx(
        [one["similarity"] for one in expected], abs=2e-3
    )
