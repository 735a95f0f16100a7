"""The sink writes in its own thread, and holds on to what a store refuses."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import ovstream
from ovstream.errors import MissingExtraError, StoreError
from ovstream.sinks.store import StoreSink, VectorStoreSink
from ovstream.store import KeepPolicy, Match, Moment, Query, StoredModel, VectorStore, open_store
from ovstream.types import FloatArray, Kind
from tests.wire.samples import embedding


class MoodyStore(VectorStore):
    """Refuses until it is told not to."""

    def __init__(self) -> None:
        self.kept: dict[int, Moment] = {}
        self.asked = threading.Event()
        self.willing = False
        self.closed = False

    def add(self, moments: Sequence[Moment]) -> int:
        self.asked.set()
        if not self.willing:
            raise StoreError("disk full")
        before = len(self.kept)
        self.kept |= {one.seq: one for one in moments}
        return len(self.kept) - before

    def search(self, vector: FloatArray, *, k: int = 10, query: Query = Query()) -> list[Match]:  # noqa: B008
        return []

    def moments(self, query: Query = Query()) -> Iterator[Moment]:  # noqa: B008
        return iter(self.kept.values())

    def nearest_in_time(self, stream_id: str, time_ns: int, *, kind: Kind = "scene") -> Moment | None:
        return None

    def models(self, kind: Kind = "scene") -> list[StoredModel]:
        return []

    def close(self) -> None:
        self.closed = True


def test_what_was_refused_is_tried_again() -> None:
    store = MoodyStore()
    sink = VectorStoreSink(store, policy=KeepPolicy("all"))
    for seq in range(700):
        sink.publish(embedding(seq))
    assert store.asked.wait(10)
    store.willing = True
    sink.close()
    sink.close()
    assert (sorted(store.kept), sink.kept, sink.lost) == (list(range(700)), 700, 0)
    assert store.closed


def test_memory_is_bounded_and_the_loss_counted() -> None:
    store = MoodyStore()
    sink = VectorStoreSink(store, policy=KeepPolicy("all"), max_waiting=100)
    for seq in range(250):
        sink.publish(embedding(seq))
    assert sink.lost == 150
    store.willing = True
    sink.close()
    assert sorted(store.kept) == list(range(150, 250))


def test_a_store_that_never_comes_back_does_not_hold_the_end() -> None:
    sink = VectorStoreSink(MoodyStore(), policy=KeepPolicy("all"))
    sink.publish(embedding(0))
    sink.close()
    assert (sink.kept, sink.lost) == (0, 1)


def test_a_stream_fills_a_folder(tmp_path: Path) -> None:
    described = {"type": "store", "path": str(tmp_path), "keep": "all"}
    camera = "synthetic:?seconds=1&width=320&height=192"
    made = list(ovstream.iterate(camera, mode="exact", sinks=[described]))
    with open_store(tmp_path) as store:
        assert [one.seq for one in store.moments()] == [one.seq for one in made]
        best = store.search(made[3].vector, k=1, query=Query(model_digest=made[3].model_digest))
    assert best[0].similarity > 0.999


def test_an_index_without_its_package_is_told_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    with pytest.raises(MissingExtraError, match=r"ovstream-edge\[search\]"):
        StoreSink(tmp_path, index=True)


def test_upkeep_forgets_and_indexes(tmp_path: Path) -> None:
    sink = StoreSink(tmp_path, keep="all", partition_seconds=3600, retention_days=400 * 365, index=True)
    for seq in range(2500):
        sink.publish(embedding(seq, publish_time_ns=1_000_000_000 * 10**9 + seq))
    sink.close()
    sink.upkeep()
    assert list(tmp_path.glob("*.usearch"))


class BrokenStore(MoodyStore):
    """Raises what nobody expects."""

    def add(self, moments: Sequence[Moment]) -> int:
        if not self.willing:
            self.asked.set()
            raise ZeroDivisionError
        return super().add(moments)


def test_whatever_a_store_raises_the_writer_goes_on() -> None:
    store = BrokenStore()
    sink = VectorStoreSink(store, policy=KeepPolicy("all"))
    sink.publish(embedding(0))
    assert store.asked.wait(10)
    store.willing = True
    sink.publish(embedding(1))
    sink.close()
    assert (sorted(store.kept), sink.lost, store.closed) == ([0, 1], 0, True)
