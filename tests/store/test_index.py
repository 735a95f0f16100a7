"""The approximate index finds nearly what the exact comparison finds, only where it may be asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ovstream.store import Query, SqliteStore
from tests.store.moments import SECOND_NS, START_NS, moment

DIGEST = "d" * 16


def test_recall_and_scope(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((3000, 32)).astype(np.float16).astype(np.float32)
    asked = rng.standard_normal((20, 32)).astype(np.float32)
    whole = Query(model_digest=DIGEST)
    now = START_NS + 10**6 * SECOND_NS
    with SqliteStore(tmp_path, partition_seconds=10**7, now_ns=lambda: now) as store:
        store.add([moment(seq, vector=vector) for seq, vector in enumerate(vectors)])
        exact = [store.search(one, k=10, query=whole) for one in asked]
        assert store.index() == 0  # the file is not over yet
    later = START_NS + 2 * 10**7 * SECOND_NS
    with SqliteStore(tmp_path, partition_seconds=10**7, now_ns=lambda: later, retention_seconds=1) as store:
        assert store.index() == 1
        assert store.index() == 0
        near = [store.search(one, k=10, query=whole) for one in asked]
        hits = sum(
            len({a.moment.seq for a in left} & {b.moment.seq for b in right})
            for left, right in zip(exact, near, strict=True)
        )
        assert hits >= 0.95 * 200
        assert near[0][0].similarity > 0
        # a narrower question is answered exactly, from the rows
        early = store.search(
            asked[0], k=3, query=Query(until_ns=START_NS + 5 * SECOND_NS, model_digest=DIGEST)
        )
        assert all(one.moment.seq < 5 for one in early)
        assert len(early) == 3


def test_small_files_need_none(tmp_path: Path) -> None:
    with SqliteStore(tmp_path, partition_seconds=10) as store:
        store.add([moment(seq) for seq in range(100)])
        assert store.index() == 0
        assert len(store.search(moment(3).vector, k=5, query=Query(model_digest=DIGEST))) == 5


def test_an_index_goes_with_its_file(tmp_path: Path) -> None:
    later = START_NS + 10**6 * SECOND_NS
    with SqliteStore(tmp_path, partition_seconds=3600, now_ns=lambda: later, retention_seconds=1) as store:
        store.add([moment(seq, time_ns=START_NS + seq) for seq in range(2500)])
        store.add([moment(0, epoch=2, time_ns=later)])
        assert store.index() == 1
        assert store.expire() == 1
        assert not list(tmp_path.glob("*.usearch"))


def test_moments_that_come_late_are_found_all_the_same(tmp_path: Path) -> None:
    later = START_NS + 10**6 * SECOND_NS
    with SqliteStore(tmp_path, partition_seconds=10**5, now_ns=lambda: later) as store:
        store.add([moment(seq, time_ns=START_NS + seq) for seq in range(2500)])
        assert store.index() == 1
        late = moment(9000, time_ns=START_NS + 1)
        store.add([late])
        (best,) = store.search(late.vector, k=1, query=Query(model_digest=DIGEST))
        assert best.moment.seq == 9000
        assert store.index() == 0


def test_a_file_is_indexed_only_when_slow_cameras_are_through(tmp_path: Path) -> None:
    hour, now = 3600 * SECOND_NS, [0]
    start = START_NS // hour * hour
    with SqliteStore(tmp_path, partition_seconds=3600, now_ns=lambda: now[0]) as store:
        store.add([moment(seq, time_ns=start + seq) for seq in range(2500)])
        for now[0], built in ((start + hour, 0), (start + 2 * hour - 1, 0), (start + 2 * hour, 1)):
            assert store.index() == built
