"""Files are whole or not there, and hold every embedding once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from ovstream.config import SinkConfig
from ovstream.errors import MissingExtraError
from ovstream.sinks import open_sink
from ovstream.sinks.parquet import ParquetSink
from tests.sinks.waiting import until
from tests.wire.samples import embedding, example

KILLED = """
import os, pathlib, signal, sys
from ovstream.sinks.parquet import ParquetSink
from tests.wire.samples import embedding
folder = pathlib.Path(sys.argv[1])
sink = ParquetSink(folder / "files", spool=folder / "spool", rows=40)
for seq in range(110):
    sink.publish(embedding(seq))
while sink.delivered < 40:
    pass
os.kill(os.getpid(), signal.SIGKILL)
"""


def sink_to(folder: Path, **options: object) -> ParquetSink:
    config = {"type": "parquet", "path": folder / "files", "spool": folder / "spool", **options}
    sink = open_sink(SinkConfig.model_validate(config))
    assert isinstance(sink, ParquetSink)
    return sink


def rows(folder: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for path in sorted((folder / "files").glob("*.parquet"), key=lambda one: one.stem.split("-")[-1]):
        found += pyarrow.parquet.read_table(path).to_pylist()
    return found


def test_rows_say_what_the_embedding_says(tmp_path: Path) -> None:
    sink = sink_to(tmp_path)
    sink.publish(example())
    sink.close()
    (row,) = rows(tmp_path)
    assert (row["stream_id"], row["epoch"], row["seq"]) == ("door", 2, 74)
    assert (row["grid"], row["changed"]) == ([3, 5], [1, 14])
    np.testing.assert_array_equal(np.reshape(row["vector"], row["vector_shape"]), example().vector)


def test_files_are_full_or_over_their_time(tmp_path: Path) -> None:
    sink = sink_to(tmp_path, rows=10, rotate_seconds=3600)
    for seq in range(25):
        sink.publish(embedding(seq))
    until(lambda: sink.delivered == 20)
    assert (len(list((tmp_path / "files").iterdir())), sink.waiting) == (2, 5)
    sink.close()
    assert [row["seq"] for row in rows(tmp_path)] == list(range(25))
    late = sink_to(tmp_path, rotate_seconds=0.05)
    late.publish(embedding(25))
    until(lambda: late.delivered == 1)
    late.close()


def test_a_killed_process_leaves_no_half_file_and_loses_nothing(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env=os.environ, check=False)
    assert done.returncode == -signal.SIGKILL
    sink_to(tmp_path).close()
    assert [row["seq"] for row in rows(tmp_path)] == list(range(110))


def test_a_folder_that_went_away_is_waited_for(tmp_path: Path) -> None:
    sink = sink_to(tmp_path, rows=1, retry_seconds=0.05)
    (tmp_path / "files").rmdir()
    for seq in range(3):
        sink.publish(embedding(seq))
    until(lambda: sink._failures > 1)
    (tmp_path / "files").mkdir()
    until(lambda: sink.delivered == 3)
    sink.close()
    assert [row["seq"] for row in rows(tmp_path)] == [0, 1, 2]


def test_a_missing_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtraError, match=r"ovstream-edge\[sinks\]"):
        ParquetSink(tmp_path, spool=tmp_path / "spool")
