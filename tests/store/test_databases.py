"""Qdrant (its local mode) and LanceDB behind the protocol: they answer what the default store answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ovstream.errors import ConfigError, MissingExtraError, StoreError
from ovstream.store import Moment, Query, SqliteStore, StoredModel, VectorStore
from ovstream.store.lance import LanceStore
from ovstream.store.qdrant import QdrantStore
from tests.store.moments import SECOND_NS, START_NS, moment

Opener = Callable[[Path], VectorStore]


def qdrant(folder: Path) -> VectorStore:
    return QdrantStore(path=str(folder))


@pytest.fixture(params=[qdrant, LanceStore], ids=["qdrant", "lancedb"])
def opened(request: pytest.FixtureRequest) -> Opener:
    return request.param  # type: ignore[no-any-return]


def same(a: Moment, b: Moment) -> bool:
    fields = [name for name in Moment.__slots__ if name != "vector"]
    return all(getattr(a, name) == getattr(b, name) for name in fields) and np.allclose(
        a.vector, b.vector, rtol=2e-3, atol=2e-3
    )


def some() -> list[Moment]:
    """Of two streams, two kinds and two models; times that float64 cannot tell apart."""
    made = [moment(seq, stream_id="door" if seq % 3 else "yard", time_ns=START_NS + seq) for seq in range(40)]
    made += [moment(seq, kind="event", pts_seconds=None) for seq in range(5)]
    other = np.ones(4, np.float32)
    return [
        *made,
        *(moment(seq, model_id="big", model_digest="e" * 16, vector=other * seq) for seq in (50, 51)),
    ]


QUERIES = [
    Query(),
    Query(kind="event"),
    Query(model_digest="d" * 16),
    Query(streams=("yard",), model_digest="d" * 16),
    Query(streams=("nobody",)),
    Query(streams=()),
    Query(since_ns=START_NS + 7000, model_digest="d" * 16),
    Query(since_ns=START_NS + 13, until_ns=START_NS + 31),
    Query(until_ns=START_NS + 50 * SECOND_NS),
    Query(since_ns=START_NS + 20 * SECOND_NS, until_ns=START_NS + 60 * SECOND_NS),
]


def test_answers_as_the_default_store_does(opened: Opener, tmp_path: Path) -> None:
    made = some()
    with SqliteStore(tmp_path / "a") as ours:
        ours.add(made)
        theirs = opened(tmp_path / "b")
        assert theirs.add(made[:30]) == 30
        assert theirs.add(made) == len(made) - 30
        assert theirs.add(made) == 0
        theirs.close()
        theirs = opened(tmp_path / "b")  # what was kept is there after a restart
        for query in QUERIES:
            expected, found = list(ours.moments(query)), list(theirs.moments(query))
            assert len(found) == len(expected), query
            assert all(map(same, found, expected)), query
        for query in QUERIES[2:4]:
            vector = moment(10**6).vector
            expected_, found_ = (one.search(vector, k=7, query=query) for one in (ours, theirs))
            assert [one.moment.seq for one in found_] == [one.moment.seq for one in expected_]
            assert [one.similarity for one in found_] == pytest.approx(
                [one.similarity for one in expected_], abs=2e-3
            )
        for when in (0, START_NS + 5, START_NS + 55 * SECOND_NS, START_NS + 10**6 * SECOND_NS):
            expected__, found__ = (one.nearest_in_time("door", when) for one in (ours, theirs))
            assert expected__ is not None
            assert found__ is not None
            assert abs(abs(found__.time_ns - when) - abs(expected__.time_ns - when)) < 1000  # Qdrant: to 1 us
        assert theirs.nearest_in_time("nobody", START_NS) is None
        assert (
            theirs.models() == ours.models() == [StoredModel("small", "d" * 16), StoredModel("big", "e" * 16)]
        )
        theirs.close()
        theirs.close()


def test_a_search_that_makes_no_sense_is_refused(opened: Opener, tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.add([moment(0)])
    for vector, k in ((np.full(8, np.nan, np.float32), 1), (np.ones(8, np.float32), 0)):
        with pytest.raises(ConfigError, match="finite"):
            store.search(vector, k=k)
    with pytest.raises(StoreError):
        store.search(np.ones(5, np.float32), query=Query(model_digest="d" * 16))
    store.close()


def test_a_server_that_is_not_there_is_a_store_error() -> None:
    with pytest.raises(StoreError, match="Qdrant"):
        QdrantStore("http://127.0.0.1:1", timeout_seconds=1)


def test_a_place_is_needed_and_one_is_enough() -> None:
    for places in ({}, {"url": "http://127.0.0.1:6333", "path": "x"}):
        with pytest.raises(ConfigError, match="url or a path"):
            QdrantStore(**places)  # type: ignore[arg-type]


@pytest.mark.parametrize(("opened", "package"), [(qdrant, "qdrant_client"), (LanceStore, "lancedb")])
def test_a_missing_package_names_its_extra(
    opened: Opener, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(MissingExtraError, match=r"ovstream-edge\[(qdrant|lancedb)\]"):
        opened(tmp_path)
