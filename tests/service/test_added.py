"""Streams that come through the API: defaults, environment, restarts, entries of another version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ovstream.config import LoadConfig, RunConfig, ServiceConfig, StreamConfig, load_config
from ovstream.service.load import Demand
from ovstream.service.roster import TooManyStreams
from ovstream.service.supervisor import Supervisor

MASK = [[0, 0], [1, 0], [1, 0.1], [0, 0.1]]
DEFAULTS = {"plan": {"masks": [MASK]}, "source": {"username": "viewer"}, "supervise": {"paused": True}}
PASSWORD = "OVSTREAM_SOURCE__PASSWORD"


def entry(name: str, **options: Any) -> StreamConfig:
    return StreamConfig.model_validate(
        {"url": "memory", "stream_id": name, "supervise": {"paused": True}, **options}
    )


def kept(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "streams.json").read_text())
    return found


def password(config: StreamConfig) -> str | None:
    return config.source.password.get_secret_value() if config.source.password else None


async def test_defaults_and_environment_fill_in_what_was_not_asked_for_and_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = ServiceConfig(state_folder=str(tmp_path))
    monkeypatch.setenv(PASSWORD, "of-yesterday")
    async with Supervisor(service, defaults=DEFAULTS) as supervisor:
        camera = await supervisor.add({"url": "memory", "stream_id": "door", "keep_ratio": 0.5})
        assert len(camera.config.plan.masks) == 1
        assert camera.config.plan.keep_ratio == 0.5
        assert (camera.config.source.username, password(camera.config)) == ("viewer", "of-yesterday")
        await supervisor.change("door", {"supervise": {"priority": 7}})
        assert len(camera.config.plan.masks) == 1
    asked = {"url": "memory", "stream_id": "door", "plan": {"keep_ratio": 0.5}, "supervise": {"priority": 7}}
    assert kept(tmp_path) == [asked]
    monkeypatch.setenv(PASSWORD, "of-today")
    async with Supervisor(service, defaults=DEFAULTS) as supervisor:
        again = supervisor.cameras["door"].config
        assert (len(again.plan.masks), again.plan.keep_ratio, again.supervise.priority) == (1, 0.5, 7)
        assert password(again) == "of-today"


async def test_changed_defaults_hold_for_added_streams_too(tmp_path: Path) -> None:
    async with Supervisor(defaults=DEFAULTS) as supervisor:
        camera = await supervisor.add({"url": "memory", "stream_id": "door"})
        path = tmp_path / "o.yaml"
        path.write_text(
            json.dumps({"defaults": {**DEFAULTS, "plan": {"masks": [MASK, MASK]}}, "streams": []})
        )
        done = await supervisor.reload(load_config(path, may_be_empty=True))
        assert done == {"added": [], "changed": ["door"], "removed": []}
        assert len(camera.config.plan.masks) == 2


async def test_an_entry_of_another_version_stops_nobody_and_is_not_lost(tmp_path: Path) -> None:
    service = ServiceConfig(state_folder=str(tmp_path))
    strange = {"url": "memory", "stream_id": "strange", "source": {"pasword": "hush-hush"}}
    good = {"url": "memory", "stream_id": "good", "supervise": {"paused": True}}
    (tmp_path / "streams.json").write_text(json.dumps([strange, good]))
    async with Supervisor(service) as supervisor:
        assert list(supervisor.cameras) == ["good"]
        (told,) = supervisor.log.after(0, stream_id="strange")
        assert "source.pasword" in told.detail
        assert "hush" not in told.detail
        await supervisor.change("good", {"supervise": {"priority": 7}})
    assert strange in kept(tmp_path)
    assert len(kept(tmp_path)) == 2


async def test_a_file_with_too_many_streams_changes_nothing() -> None:
    service = ServiceConfig(max_streams=2)
    async with Supervisor(service, [entry("a")]) as supervisor:
        for names in ("bcd", "ab"):
            wanted = RunConfig(streams=tuple(entry(name) for name in names), service=service)
            if names == "bcd":
                with pytest.raises(TooManyStreams, match="max_streams = 2"):
                    await supervisor.reload(wanted)
                assert list(supervisor.cameras) == ["a"]
            else:
                await supervisor.reload(wanted)
        assert list(supervisor.cameras) == ["a", "b"]
    with pytest.raises(TooManyStreams):
        await Supervisor(service, [entry(name) for name in "abc"]).__aenter__()


async def test_other_thresholds_keep_the_levels_and_can_be_changed_back() -> None:
    first, second = LoadConfig(max_cpu=0.9), LoadConfig(max_cpu=0.5)
    async with Supervisor(ServiceConfig(load=first), [entry("a")]) as supervisor:
        busy = {"a": Demand(5, cpu=0.5, latency_seconds=9.0)}
        assert supervisor.load.step(busy, cpu_share=0.6, cores=2, now=0.0)
        level = supervisor.load.level("a")
        for load in (second, first):
            await supervisor.reload(RunConfig(streams=(entry("a"),), service=ServiceConfig(load=load)))
            assert supervisor.load.level("a") == level > 0
            assert supervisor.load.config == load
