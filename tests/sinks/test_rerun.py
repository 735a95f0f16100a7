"""Writes recordings of a real run, and reads them back with Rerun's own reader."""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ovstream
from ovstream.errors import ConfigError, MissingExtraError
from ovstream.sinks import MemorySink, Sink
from ovstream.sinks.rerun_log import RerunSink
from ovstream.types import AccessUnit

pytest.importorskip("rerun", reason="the extra 'rerun' is not installed")


class Packets(Sink):
    """Keeps the packets."""

    def __init__(self) -> None:
        self.units: list[AccessUnit] = []

    def packet(self, stream_id: str, unit: AccessUnit) -> None:
        self.units.append(unit)


def read(path: Path) -> dict[str, dict[str, list[Any]]]:
    """Entity -> column -> values in order of time."""
    from rerun.chunk import RrdReader

    found: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for chunk in RrdReader(path).stream():
        batch = chunk.to_record_batch()
        for name in batch.schema.names:
            values = batch.column(name)
            if "timestamp" in str(values.type) or "duration" in str(values.type):
                values = values.cast("int64")
            found[str(chunk.entity_path)][name] += values.to_pylist()
    return found


def recordings(folder: Path) -> list[dict[str, dict[str, list[Any]]]]:
    return [read(path) for path in sorted(folder.glob("arm-*.rrd"))]


def column(entity: dict[str, list[Any]], word: str) -> list[Any]:
    (name,) = (name for name in entity if word in name)
    return [one for one in entity[name] if one is not None]


async def test_packets_patches_and_embeddings_are_read_back(tmp_path: Path) -> None:
    packets, memory = Packets(), MemorySink()
    sink = RerunSink(tmp_path)
    async with ovstream.open(
        "synthetic:?seconds=1.2&width=320&height=192", stream_id="arm", sinks=[sink, packets, memory]
    ) as stream:
        await stream.run()
    sink.close()
    assert sink.counts.sent == len(memory.embeddings) == 30
    (entities,) = recordings(tmp_path)
    video = entities["/arm/video"]
    samples = [bytes(np.asarray(one, np.uint8).ravel()) for one in column(video, "sample")]
    assert samples == [unit.data for unit in packets.units]
    assert len(column(video, "pts")) == 30
    changed = entities["/arm/changed"]
    assert len(column(changed, "pts")) == 30
    vectors = column(entities["/arm/embedding"], "Tensor:data")
    assert len(vectors) == 30
    novelty = np.ravel(column(entities["/arm/score/novelty"], "Scalars:scalars"))
    assert len(novelty) == 29
    assert float(novelty.min()) >= -1e-6


async def test_a_file_is_followed_by_another_at_a_keyframe(tmp_path: Path) -> None:
    sink = RerunSink(tmp_path, rotate_seconds=1e-6, video=False)
    options = {"stream_id": "arm", "sinks": [sink]}
    async with ovstream.open("synthetic:?seconds=1.2&width=320&height=192&gop=10", **options) as stream:
        await stream.run()
    found = recordings(tmp_path)
    assert len(found) == 3
    assert all("/arm/video" not in one for one in found)


def test_a_missing_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(MissingExtraError, match=r"ovstream-edge\[rerun\]"):
        RerunSink(tmp_path)


def test_mistakes_are_config_errors(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot make"):
        RerunSink(tmp_path / "file")
    with pytest.raises(ConfigError, match="rotate_seconds"):
        RerunSink(tmp_path, rotate_seconds=0)
