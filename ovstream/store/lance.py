"""A store in a folder of LanceDB tables (extra `lancedb`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import numpy as np

from ovstream.errors import ConfigError, MissingExtraError, StoreError
from ovstream.store.base import Match, Moment, Query, StoredModel, check_search
from ovstream.types import FloatArray, Kind

_FIELDS = (
    "stream_id", "epoch", "seq", "kind", "time_ns", "pts_seconds", "reason", "keep_ratio", "model_id", "model_digest",
)  # fmt: skip
_KEPT_VERSIONS = timedelta(0)


class LanceStore:
    """Keeps moments in tables of LanceDB, one per kind and model.

    A moment that comes again is known by stream, kind, epoch and number, and kept once. One process writes.

    Args:
        path: Folder, made when missing, or another place that LanceDB knows.
        compact_every: Additions after which small files are put together; each addition makes one.

    Raises:
        MissingExtraError: `lancedb` is not installed.
        StoreError: The folder cannot be used.
    """

    def __init__(self, path: str | Path, *, compact_every: int = 200) -> None:
        try:
            import lancedb
            import pyarrow
        except ImportError as error:
            raise MissingExtraError(error.name or "lancedb", extra="lancedb") from None
        self._arrow = pyarrow
        self._compact_every = compact_every
        self._additions = 0
        with _trouble():
            self._base = lancedb.connect(str(path))
            self._tables: dict[str, Any] = {}

    def add(self, moments: Sequence[Moment]) -> int:
        """Keeps moments; those already there stay as they are. Returns how many are new.

        Raises:
            StoreError: The disk refuses; some may have been kept: give all of them again.
        """
        added = 0
        groups: dict[str, dict[str, Moment]] = {}
        for one in moments:
            groups.setdefault(_name(one.kind, one.model_digest), {}).setdefault(_identity(one), one)
        with _trouble():
            for name, group in groups.items():
                rows = self._rows(group)
                table = self._table(name)
                if table is None:
                    self._tables[name] = self._base.create_table(name, rows)
                    added += len(group)
                    continue
                before = table.count_rows()
                table.merge_insert("key").when_not_matched_insert_all().execute(rows)
                added += table.count_rows() - before
            self._additions += 1
            if self._additions % self._compact_every == 0:
                for table in self._tables.values():
                    table.optimize(cleanup_older_than=_KEPT_VERSIONS)
        return added

    def search(self, vector: FloatArray, *, k: int = 10, query: Query = Query()) -> list[Match]:  # noqa: B008
        """Finds the moments most like a vector; see `SqliteStore.search`."""
        check_search(vector, k)
        found: list[Match] = []
        with _trouble():
            for table in self._asked(query):
                asked = table.search(vector.astype(np.float32)).distance_type("cosine").limit(k)
                rows = _where(asked, query).to_arrow().to_pylist()
                found += [Match(_moment(row), 1.0 - row["_distance"]) for row in rows]
        return sorted(found, key=lambda one: -one.similarity)[:k]

    def moments(self, query: Query = Query()) -> Iterator[Moment]:  # noqa: B008
        """Yields moments by time."""
        found: list[tuple[int, str, int, Any, str]] = []
        with _trouble():
            for table in self._asked(query):
                asked = table.search().select(["key", "time_ns", "stream_id", "seq"]).limit(None)
                for row in _where(asked, query).to_arrow().to_pylist():
                    found.append((row["time_ns"], row["stream_id"], row["seq"], table, row["key"]))
        found.sort(key=lambda one: one[:3])
        for first in range(0, len(found), 1024):
            page = found[first : first + 1024]
            moments: dict[str, Moment] = {}
            with _trouble():
                for table in {id(one[3]): one[3] for one in page}.values():
                    keys = ", ".join(_quoted(one[4]) for one in page if one[3] is table)
                    rows = table.search().where(f"key IN ({keys})").limit(None).to_arrow().to_pylist()
                    moments |= {row["key"]: _moment(row) for row in rows}
            yield from (moments[one[4]] for one in page)

    def nearest_in_time(self, stream_id: str, time_ns: int, *, kind: Kind = "scene") -> Moment | None:
        """The kept moment of a stream closest to a time; None when there is none."""
        best: tuple[int, Any, str] | None = None
        with _trouble():
            for table in self._asked(Query(kind=kind)):
                asked = table.search().where(f"stream_id = {_quoted(stream_id)}").select(["key", "time_ns"])
                rows = asked.limit(None).to_arrow()
                if not rows.num_rows:
                    continue
                away = np.abs(rows["time_ns"].to_numpy() - time_ns)
                at = int(away.argmin())
                if best is None or away[at] < best[0]:
                    best = int(away[at]), table, rows["key"][at].as_py()
            if best is None:
                return None
            (row,) = best[1].search().where(f"key = {_quoted(best[2])}").limit(1).to_arrow().to_pylist()
        return _moment(row)

    def models(self, kind: Kind = "scene") -> list[StoredModel]:
        """The models that made the vectors of a kind, the one used last at the end."""
        found: list[tuple[int, StoredModel]] = []
        with _trouble():
            for table in self._asked(Query(kind=kind)):
                rows = table.search().select(["time_ns", "model_id", "model_digest"]).limit(None).to_arrow()
                last = int(rows["time_ns"].to_numpy().argmax())
                model = StoredModel(rows["model_id"][last].as_py(), rows["model_digest"][last].as_py())
                found.append((rows["time_ns"][last].as_py(), model))
        return [model for _, model in sorted(found, key=lambda one: one[0])]

    def close(self) -> None:
        """Lets go of the tables; may be called twice."""
        self._tables.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _names(self) -> list[str]:
        return list(self._base.list_tables(limit=10_000).tables)

    def _table(self, name: str) -> Any:
        if name not in self._tables and name in self._names():
            self._tables[name] = self._base.open_table(name)
        return self._tables.get(name)

    def _asked(self, query: Query) -> list[Any]:
        begin = _name(query.kind, query.model_digest or "")
        names = [name for name in self._names() if name.startswith(begin)]
        tables = [self._table(name) for name in names if query.model_digest is None or name == begin]
        for table in tables:
            table.checkout_latest()  # another process may have written
        return tables

    def _rows(self, group: dict[str, Moment]) -> Any:
        arrow = self._arrow
        vectors = np.stack([one.vector for one in group.values()]).astype(np.float16)
        flat = arrow.array(vectors.reshape(-1))
        columns = {name: [getattr(one, name) for one in group.values()] for name in _FIELDS}
        types = {"epoch": arrow.int64(), "seq": arrow.int64(), "time_ns": arrow.int64()}
        types |= {"pts_seconds": arrow.float64(), "keep_ratio": arrow.float64()}
        arrays = [arrow.array(values, types.get(name, arrow.string())) for name, values in columns.items()]
        vector = arrow.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
        return arrow.table([arrow.array(list(group)), *arrays, vector], names=["key", *columns, "vector"])


class _trouble:  # noqa: N801
    """Turns whatever LanceDB raises into a `StoreError`; it has many kinds, and none in common."""

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, (StoreError, ConfigError)):
            raise StoreError(f"LanceDB: {str(error).strip() or type(error).__name__}") from error


def _name(kind: Kind, digest: str) -> str:
    return f"{kind}-{digest}"


def _identity(one: Moment) -> str:
    return f"{one.stream_id}/{one.kind}/{one.epoch}/{one.seq}"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _where(asked: Any, query: Query) -> Any:
    parts = []
    if query.streams is not None:
        names = ", ".join(map(_quoted, query.streams))
        parts.append(f"stream_id IN ({names})" if names else "false")
    if query.since_ns is not None:
        parts.append(f"time_ns >= {query.since_ns}")
    if query.until_ns is not None:
        parts.append(f"time_ns < {query.until_ns}")
    return asked.where(" AND ".join(parts)) if parts else asked


def _moment(row: dict[str, Any]) -> Moment:
    return Moment(**{name: row[name] for name in _FIELDS}, vector=np.asarray(row["vector"], np.float32))
