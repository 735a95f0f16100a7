"""One SQLite file: the moments of one span of time."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ovstream.errors import StoreError
from ovstream.store.base import Moment, Query, StoredModel
from ovstream.types import FloatArray, Kind
from ovstream.wire.vectors import widen

_FORMAT = 1
_MOST_MARKS = 500  # SQLite allows some thousand
_CHUNK_ROWS = 4096  # 4096 x 1024 numbers x 4 bytes: 16 MB while they are compared
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS moments (
    id INTEGER PRIMARY KEY,
    stream TEXT NOT NULL,
    kind TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    time_ns INTEGER NOT NULL,
    pts_seconds REAL,
    reason TEXT NOT NULL,
    keep_ratio REAL NOT NULL,
    model TEXT NOT NULL,
    digest TEXT NOT NULL,
    vector BLOB NOT NULL,  -- little-endian float16
    UNIQUE (stream, kind, epoch, seq)
);
CREATE INDEX IF NOT EXISTS by_time ON moments (stream, kind, time_ns);
CREATE TABLE IF NOT EXISTS span (seconds INTEGER NOT NULL);  -- of the file; one row
PRAGMA user_version = {_FORMAT};
"""
_COLUMNS = "stream, epoch, seq, kind, time_ns, pts_seconds, reason, keep_ratio, model, digest, vector"


@dataclass(frozen=True, slots=True)
class Candidates:
    """Rows that are compared at once.

    Attributes:
        ids: Row numbers.
        vectors: (n, D) float32.
    """

    ids: list[int]
    vectors: FloatArray


class Partition:
    """One file of a store.

    Args:
        path: Of the file; made when missing.
        read_only: Never write, and never make it.
        span_seconds: Of a new file; one that is there keeps its own.

    Raises:
        StoreError: It is no such file, or of a later version.

    Attributes:
        span_seconds: How long after its start the file ends.
    """

    def __init__(self, path: Path, *, span_seconds: int, read_only: bool = False) -> None:
        self.path = path
        mode = "ro" if read_only else "rwc"
        with self._trouble():
            self._db = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=5.0, check_same_thread=False
            )
            (found,) = self._db.execute("PRAGMA user_version").fetchone()
            if found > _FORMAT:
                raise StoreError(
                    f"{path}: written by a later version (format {found}, this one reads {_FORMAT})"
                )
            if not read_only:
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = NORMAL")
                self._db.executescript(_SCHEMA)
                with self._db:
                    sql = "INSERT INTO span SELECT ? WHERE NOT EXISTS (SELECT * FROM span)"
                    self._db.execute(sql, (span_seconds,))
            self.span_seconds = self._span(span_seconds)

    def add(self, moments: Sequence[Moment]) -> int:
        """Keeps moments in one transaction; those already there stay. Returns how many are new."""
        rows = [
            (
                one.stream_id, one.epoch, one.seq, one.kind, one.time_ns, one.pts_seconds, one.reason,
                one.keep_ratio, one.model_id, one.model_digest, one.vector.astype("<f2").tobytes(),
            )
            for one in moments
        ]  # fmt: skip
        marks = ", ".join("?" * 11)
        with self._trouble(), self._db:
            before = self._db.total_changes
            self._db.executemany(f"INSERT OR IGNORE INTO moments ({_COLUMNS}) VALUES ({marks})", rows)
            return self._db.total_changes - before

    @property
    def last_id(self) -> int:
        """The highest row number; 0: there are no rows."""
        with self._trouble():
            return int(self._db.execute("SELECT ifnull(max(id), 0) FROM moments").fetchone()[0])

    def candidates(self, query: Query, *, above_id: int = 0) -> Iterator[Candidates]:
        """Yields row numbers and vectors of the moments that a query admits, of rows above a number."""
        where, values = _where(query)
        with self._trouble():
            rows = self._db.execute(
                f"SELECT id, vector FROM moments WHERE {where} AND id > ?", [*values, above_id]
            )
            while chunk := rows.fetchmany(_CHUNK_ROWS):
                ids, halves = zip(*chunk, strict=True)
                yield Candidates(list(ids), widen(b"".join(halves)).reshape(len(chunk), -1))

    def get(self, ids: Sequence[int]) -> dict[int, Moment]:
        """Reads moments by row number."""
        found: dict[int, Moment] = {}
        with self._trouble():
            for first in range(0, len(ids), _MOST_MARKS):
                some = list(ids[first : first + _MOST_MARKS])
                marks = ", ".join("?" * len(some))
                rows = self._db.execute(f"SELECT id, {_COLUMNS} FROM moments WHERE id IN ({marks})", some)
                found |= {row[0]: _moment(row[1:]) for row in rows}
        return found

    def moments(self, query: Query) -> Iterator[Moment]:
        """Yields moments by time."""
        where, values = _where(query)
        sql = f"SELECT {_COLUMNS} FROM moments WHERE {where} ORDER BY time_ns, stream, seq"
        with self._trouble():
            for row in self._db.execute(sql, values):
                yield _moment(row)

    def nearest_in_time(self, stream_id: str, time_ns: int, kind: Kind) -> Moment | None:
        """The moment of a stream closest to a time."""
        found = []
        for bound, order in (("<=", "DESC"), (">", "ASC")):
            sql = (
                f"SELECT {_COLUMNS} FROM moments WHERE stream = ? AND kind = ? AND time_ns {bound} ? "
                f"ORDER BY time_ns {order} LIMIT 1"
            )
            with self._trouble():
                found += self._db.execute(sql, (stream_id, kind, time_ns)).fetchall()
        moments = [_moment(row) for row in found]
        return min(moments, key=lambda one: abs(one.time_ns - time_ns), default=None)

    def models(self, kind: Kind) -> list[StoredModel]:
        """The models that made the vectors of a kind, the one used last at the end."""
        sql = (
            "SELECT model, digest, max(time_ns) FROM moments WHERE kind = ? GROUP BY model, digest ORDER BY 3"
        )
        with self._trouble():
            return [StoredModel(row[0], row[1]) for row in self._db.execute(sql, (kind,))]

    def close(self) -> None:
        """Writes the log into the file and closes it."""
        with self._trouble():
            self._db.close()

    def _span(self, default: int) -> int:
        """The span written into the file; files of early versions have none."""
        known = self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'span'").fetchone()
        row = known and self._db.execute("SELECT seconds FROM span").fetchone()
        return int(row[0]) if row else default

    @contextlib.contextmanager
    def _trouble(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"{self.path}: {error}") from error


def _where(query: Query) -> tuple[str, list[str | int]]:
    """A condition in SQL, and the values of its marks."""
    parts = ["kind = ?"]
    bound: list[str | int] = [query.kind, *(query.streams or ())]
    if query.streams is not None:
        parts.append(f"stream IN ({', '.join('?' * len(query.streams))})")
    for condition, value in (
        ("time_ns >= ?", query.since_ns),
        ("time_ns < ?", query.until_ns),
        ("digest = ?", query.model_digest),
    ):
        if value is not None:
            parts.append(condition)
            bound.append(value)
    return " AND ".join(parts), bound


def _moment(row: tuple[str, int, int, Kind, int, float | None, str, float, str, str, bytes]) -> Moment:
    vector: FloatArray = np.frombuffer(row[-1], "<f2").astype(np.float32)
    return Moment(*row[:-1], vector)
