"""A recording runs again to the bit, without bytes and pixels."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import ovstream
from ovstream.errors import ConfigError
from ovstream.pipeline import Replay
from ovstream.recording import RecordingReader
from ovstream.sources import MemorySource
from ovstream.types import AccessUnit, Embedding
from tests.pipeline.conftest import Units

SECRET = "canary-9471"


def record(path: Path, units: list[AccessUnit], *, depth: str = "plan", **options: object) -> list[Embedding]:
    wanted = {"path": str(path), "depth": depth}
    return list(ovstream.iterate(MemorySource(units), record=wanted, **options))


def damaged(units: list[AccessUnit]) -> list[AccessUnit]:
    """One unit lost, one cut short, one full of zeros."""
    found = list(units)
    del found[6]
    found[6] = replace(found[6], discontinuity=True)
    found[15] = replace(found[15], data=found[15].data[: len(found[15].data) // 2])
    found[22] = replace(found[22], data=bytes(40))
    return found


@pytest.mark.parametrize("case", ["plain", "b-pictures", "damaged", "vp9", "changes", "window"])
def test_the_same_to_the_bit(tmp_path: Path, units: Units, case: str) -> None:
    options: dict[str, object] = {"kinds": ("scene", "event"), "mode": "exact" if case == "plain" else "fast"}
    if case == "changes":
        options |= {"emit": "changes", "audit_seconds": 0.2, "max_flops": 0.1, "depth": "all"}
    if case == "window":
        options |= {"memory": "window", "audit_seconds": 0.2}
    made = {"b-pictures": {"options": {"bf": "2"}}, "vp9": {"name": "x.mkv", "codec": "libvpx-vp9"}}
    given = units(**made.get(case, {}))
    live = record(tmp_path / "a.ovr", damaged(given) if case == "damaged" else given, **options)
    with Replay(tmp_path / "a.ovr") as replay:
        done = list(replay.run())
        assert all(one.same for one in done)
        assert replay.guesses == 0
    again = [embedding for one in done for embedding in one.embeddings]
    assert len(again) == len(live) > 10
    for old, new in zip(live, again, strict=True):
        assert np.array_equal(old.vector, new.vector)
        assert np.array_equal(old.changed, new.changed)
        assert (old.seq, old.epoch, old.action, old.reason, old.counters) == (
            new.seq, new.epoch, new.action, new.reason, new.counters,
        )  # fmt: skip


def test_other_budgets_can_be_tried(tmp_path: Path, units: Units) -> None:
    live = record(tmp_path / "a.ovr", units(frames=75))
    spent = []
    for ratio in (0.02, 0.125):
        with Replay(tmp_path / "a.ovr", keep_ratio=ratio) as replay:
            done = list(replay.run())
            assert replay.config.plan.keep_ratio == ratio
            spent.append((replay.stats.patches_encoded, replay.guesses))
            assert sum(len(one.embeddings) for one in done) == len(live)
    assert spent[0][0] < spent[1][0]
    assert spent[0][1] > spent[1][1] == 0


def test_neither_pixels_nor_secrets_are_written(tmp_path: Path, clip: Callable[..., Path]) -> None:
    path = tmp_path / "a.ovr"
    for _ in ovstream.iterate(
        clip(), record={"path": str(path)}, username=SECRET, password=SECRET, stream_id="door"
    ):
        pass
    with RecordingReader(path) as reader:
        config = str(reader.header.config)
        assert reader.header.stream_id == "door"
        assert all(one.unit is None or one.unit.data == b"" for one in reader.units())
    assert SECRET not in config
    assert str(clip()) not in config


def test_a_folder_gets_a_file_per_start(tmp_path: Path, units: Units) -> None:
    record(tmp_path, units(), stream_id="door")
    (made,) = tmp_path.glob("door-*Z.ovr")
    with Replay(made) as replay:
        assert all(one.same for one in replay.run())


def test_the_stream_goes_on_when_the_recording_ends(
    tmp_path: Path, units: Units, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> tuple[int, list[str]]:
        options = {"path": str(tmp_path / "a.ovr")}
        async with ovstream.open(MemorySource(units()), record=options) as stream:
            stats = await stream.run()
            events = [event.detail async for event in stream.events()]
        return stats.embeddings, events

    monkeypatch.setattr("ovstream.recording.container._CHUNK_UNITS", 5)
    monkeypatch.setattr("ovstream.pipeline.tape._MEGABYTE", 4)  # bytes: full at once
    embeddings, events = asyncio.run(run())
    assert embeddings == len(record(tmp_path / "b.ovr", units()))
    assert len([one for one in events if "the recording ends" in one]) == 1


def test_tokens_are_refused_and_a_second_start_records_beside_the_first(tmp_path: Path, units: Units) -> None:
    with pytest.raises(ConfigError, match="holds no tokens"):
        record(tmp_path / "a.ovr", units(), kinds=("tokens",))
    (tmp_path / "b.ovr").touch()
    assert record(tmp_path / "b.ovr", units())
    older, newer = sorted(tmp_path.glob("b*.ovr"), key=lambda path: len(path.name))
    assert older.stat().st_size == 0
    assert newer.stat().st_size > 0
