"""The store gives back what it was given, finds what a comparison with everything finds, and stays bounded."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovstream.errors import ConfigError, StoreError
from ovstream.store import Moment, Query, SqliteStore, open_store
from tests.store.moments import SECOND_NS, START_NS, moment


def keys(moments: object) -> list[tuple[str, int]]:
    return [(one.stream_id, one.seq) for one in moments]  # type: ignore[attr-defined]


def brute_force(moments: list[Moment], vector: np.ndarray, k: int) -> list[float]:
    scores = [
        float(one.vector @ vector / np.linalg.norm(one.vector) / np.linalg.norm(vector)) for one in moments
    ]
    return sorted(scores, reverse=True)[:k]


def test_gives_back_what_it_was_given(tmp_path: Path) -> None:
    given_ = moment(7, pts_seconds=None, kind="event")
    with SqliteStore(tmp_path) as store:
        assert store.add([given_]) == 1
    with open_store(tmp_path) as store:
        (found,) = store.moments(Query(kind="event"))
    for name in given_.__slots__:
        assert np.array_equal(getattr(found, name), getattr(given_, name)) or name == "pts_seconds", name
    assert found.pts_seconds is None


def test_what_comes_twice_is_kept_once(tmp_path: Path) -> None:
    moments = [moment(seq) for seq in range(10)]
    with SqliteStore(tmp_path) as store:
        assert store.add(moments[:6]) == 6
        assert store.add(moments) == 4
        assert store.add([moment(3, epoch=2), moment(3, kind="event"), moment(3, stream_id="yard")]) == 3


@settings(max_examples=25, deadline=None)
@given(
    streams=st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=60),
    span=st.integers(1, 30),
    k=st.integers(1, 12),
    wanted=st.none() | st.lists(st.sampled_from(["a", "b", "zzz"]), min_size=1, unique=True),
    window=st.none() | st.tuples(st.integers(0, 60), st.integers(0, 60)),
)
def test_finds_what_a_comparison_with_everything_finds(
    tmp_path_factory: pytest.TempPathFactory,
    streams: list[str],
    span: int,
    k: int,
    wanted: list[str] | None,
    window: tuple[int, int] | None,
) -> None:
    moments = [moment(seq, stream_id=name) for seq, name in enumerate(streams)]
    low, high = window or (0, 10**6)
    query = Query(
        streams=None if wanted is None else tuple(wanted),
        since_ns=None if window is None else START_NS + low * SECOND_NS,
        until_ns=None if window is None else START_NS + high * SECOND_NS,
    )
    admitted = [one for one in moments if low <= one.seq < high and (not wanted or one.stream_id in wanted)]
    vector = moment(10**6).vector
    with SqliteStore(tmp_path_factory.mktemp("store"), partition_seconds=span) as store:
        store.add(moments)
        found = store.search(vector, k=k, query=query)
        assert keys(store.moments(query)) == keys(admitted)
    assert [one.similarity for one in found] == pytest.approx(brute_force(admitted, vector, k), abs=1e-5)


def test_nearest_in_time_crosses_files(tmp_path: Path) -> None:
    with SqliteStore(tmp_path, partition_seconds=10) as store:
        store.add([moment(0), moment(100), moment(50, stream_id="yard")])
        near = [store.nearest_in_time("door", START_NS + at * SECOND_NS) for at in (-500, 40, 60, 900)]
        assert keys(near) == [("door", 0), ("door", 0), ("door", 100), ("door", 100)]
        assert store.nearest_in_time("attic", START_NS) is None


def test_old_files_go_whole(tmp_path: Path) -> None:
    now = START_NS + 100 * SECOND_NS
    with SqliteStore(tmp_path, partition_seconds=10, retention_seconds=30, now_ns=lambda: now) as store:
        store.add([moment(seq) for seq in range(100)])
        assert store.expire() == 6
        left = keys(store.moments())
        assert left == [("door", seq) for seq in range(60, 100)]
        assert not list(tmp_path.glob(f"*{START_NS // SECOND_NS}*"))


def test_the_folder_stays_bounded(tmp_path: Path) -> None:
    with SqliteStore(tmp_path, partition_seconds=10, max_bytes=400_000) as store:
        for seq in range(0, 400, 10):
            store.add([moment(one) for one in range(seq, seq + 10)])
            store.expire()
            assert store.size_bytes < 600_000
        assert ("door", 399) in keys(store.moments())


def test_vectors_of_other_models_are_not_compared(tmp_path: Path) -> None:
    other = moment(1, model_digest="e" * 16, vector=np.ones(4, np.float32))
    with SqliteStore(tmp_path) as store:
        store.add([moment(0), other])
        with pytest.raises(ConfigError, match="come from different models"):
            store.search(np.ones(4, np.float32), query=Query(model_digest="d" * 16))
        assert keys(one.moment for one in store.search(other.vector, query=Query(model_digest="e" * 16))) == [
            ("door", 1)
        ]


def test_a_full_disk_is_an_error_and_costs_nothing_already_kept(tmp_path: Path) -> None:
    with SqliteStore(tmp_path) as store:
        store.add([moment(0)])
        (partition,) = store._open.values()
        partition._db.execute("PRAGMA max_page_count = 8")  # SQLite then answers as on a full disk
        with pytest.raises(StoreError, match="full"):
            store.add([moment(seq) for seq in range(1, 2000)])
        partition._db.execute("PRAGMA max_page_count = 1000000")
        assert keys(store.moments()) == [("door", 0)]
        assert store.add([moment(1)]) == 1


@pytest.mark.parametrize("damage", ["garbage", "later"])
def test_a_foreign_file_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "moments-1790000000.sqlite"
    if damage == "garbage":
        path.write_bytes(b"not a database" * 100)
    else:
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA user_version = 99")
        db.close()
    with SqliteStore(tmp_path) as store, pytest.raises(StoreError, match=path.name):
        list(store.moments())


def test_no_store_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store"):
        open_store(tmp_path)


WRITER = """
import sys
from ovstream.store import SqliteStore
from tests.store.moments import moment

store = SqliteStore(sys.argv[1])
for seq in range(0, 10**6, 5):
    store.add([moment(one) for one in range(seq, seq + 5)])
    print(seq + 5, flush=True)
"""


def test_what_was_accepted_outlives_the_process(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    with child.stdout:
        accepted = [int(child.stdout.readline()) for _ in range(20)][-1]
        child.send_signal(signal.SIGKILL)
        child.wait()
    with SqliteStore(tmp_path) as store:
        found = [seq for _, seq in keys(store.moments())]
        assert found == list(range(len(found)))
        assert len(found) >= accepted
        assert store.add([moment(seq) for seq in range(len(found) + 3)]) == 3


def test_reads_while_another_writes(tmp_path: Path) -> None:
    with SqliteStore(tmp_path) as writer, open_store_after(writer) as reader:
        writer.add([moment(1)])
        assert keys(reader.moments()) == [("door", 0), ("door", 1)]
        with pytest.raises(StoreError, match="readonly"):
            reader.add([moment(2)])


def open_store_after(writer: SqliteStore) -> SqliteStore:
    writer.add([moment(0)])
    return open_store(writer.folder)


def test_a_file_keeps_its_span_whatever_the_setting_is_today(tmp_path: Path) -> None:
    now = START_NS + 5000 * SECOND_NS
    day = START_NS // SECOND_NS // 86400 * 86400 * SECOND_NS
    with SqliteStore(tmp_path, partition_seconds=86400) as store:
        store.add([moment(seq, time_ns=day + seq * 3600 * SECOND_NS) for seq in range(24)])
    now = day + 30 * 3600 * SECOND_NS
    with SqliteStore(
        tmp_path, partition_seconds=3600, retention_seconds=10 * 3600, now_ns=lambda: now
    ) as store:
        store.add([moment(100, time_ns=day + 12 * 3600 * SECOND_NS + 1), moment(101, time_ns=now)])
        late = Query(since_ns=day + 20 * 3600 * SECOND_NS)
        assert keys(store.moments(late)) == [("door", seq) for seq in (20, 21, 22, 23, 101)]
        assert store.expire() == 0  # of the day's file, the last hours are not too old
    now = day + 35 * 3600 * SECOND_NS
    with SqliteStore(
        tmp_path, partition_seconds=3600, retention_seconds=10 * 3600, now_ns=lambda: now
    ) as store:
        assert store.expire() == 2
        assert keys(store.moments()) == [("door", 101)]


def test_matches_in_many_files_come_in_order(tmp_path: Path) -> None:
    with SqliteStore(tmp_path, partition_seconds=1) as store:
        moments = [moment(seq) for seq in range(40)]
        store.add(moments)
        vector = moment(10**6).vector
        found = store.search(vector, k=25)
    scores = [one.similarity for one in found]
    assert scores == sorted(scores, reverse=True)
    assert scores == pytest.approx(brute_force(moments, vector, 25), abs=1e-5)


def test_a_folder_that_is_gone_is_a_store_error(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    with SqliteStore(folder) as store:
        store.add([moment(0)])
        shutil.rmtree(folder)
        for call in (store.expire, store.index, lambda: store.size_bytes, lambda: list(store.moments())):
            with pytest.raises(StoreError, match="No such file"):
                call()
