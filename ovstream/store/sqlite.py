"""The default store: a folder of SQLite files, one per span of time."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np

from ovstream.errors import ConfigError, StoreError
from ovstream.store import ann
from ovstream.store.base import MAX_CLOCK_ERROR_NS, Match, Moment, Query, StoredModel, check_search
from ovstream.store.partition import Partition
from ovstream.types import FloatArray, Kind

_NAME = re.compile(r"moments-(\d{10,})\.sqlite")
_OPEN_FILES = 8  # a search over years must not keep every file open
_SIDE_FILES = ("", "-wal", "-shm")


def open_store(folder: str | Path, *, read_only: bool = True) -> SqliteStore:
    """Opens an existing store, by default only to read; a pipeline may write to it meanwhile.

    Raises:
        StoreError: There is none.
    """
    if not any(_NAME.fullmatch(path.name) for path in Path(folder).glob("moments-*")):
        raise StoreError(f"{folder}: no store; `sinks: [{{type: store, path: ...}}]` makes one")
    return SqliteStore(folder, read_only=read_only)


class SqliteStore:
    """Keeps moments in SQLite files, one per `partition_seconds` of their time.

    A file costs nothing to forget: what is older than `retention_seconds`, or does not fit `max_bytes`, goes by
    deleting whole files, the oldest first. Vectors are kept as float16. A moment that comes again is known by stream,
    kind, epoch and number, and kept once.

    Searches read every vector that the query admits (see benchmarks/store.py), or, in files that are over
    and where the package `usearch` is installed, an approximate index beside the file.

    Args:
        folder: Made when missing; holds nothing else.
        partition_seconds: Span of a file.
        retention_seconds: None: for ever.
        max_bytes: Of all files; None: no bound.
        read_only: For searches beside a pipeline that writes.
        now_ns: UTC, Unix.

    Raises:
        StoreError: The folder cannot be made or read.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        partition_seconds: int = 3600,
        retention_seconds: float | None = None,
        max_bytes: int | None = None,
        read_only: bool = False,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        if partition_seconds < 1:
            raise ConfigError("partition_seconds must be at least 1")
        self.folder = Path(folder)
        self._span_seconds = partition_seconds
        self._retention_seconds = retention_seconds
        self._max_bytes = max_bytes
        self._read_only = read_only
        self._now_ns = now_ns
        self._open: OrderedDict[int, Partition] = OrderedDict()
        self._spans: dict[int, int] = {}
        if not read_only:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(f"{folder}: {error.strerror}") from error

    @property
    def starts(self) -> list[int]:
        """Unix seconds at which the files begin, the oldest first."""
        with self._trouble():
            return sorted(
                int(found[1]) for path in self.folder.iterdir() if (found := _NAME.fullmatch(path.name))
            )

    @property
    def size_bytes(self) -> int:
        """Of all files on disk."""
        with self._trouble():
            return sum(_size(path) for path in self.folder.iterdir())

    def add(self, moments: Sequence[Moment]) -> int:
        """Keeps moments; those already there stay as they are. Returns how many are new.

        Raises:
            StoreError: A file cannot be written, for example because the disk is full; nothing of the batch that
                belongs to that file was kept.
        """
        added = 0
        by_start: dict[int, list[Moment]] = {}
        for moment in moments:
            by_start.setdefault(self._start_of(moment.time_ns), []).append(moment)
        for start, group in sorted(by_start.items()):
            added += self._partition(start).add(group)
        return added

    def search(self, vector: FloatArray, *, k: int = 10, query: Query = Query()) -> list[Match]:  # noqa: B008
        """Finds the moments most like a vector.

        Args:
            vector: (D,) float32, of the weights that `query.model_digest` names.
            k: At most so many.
            query: Which moments come into question.

        Returns:
            Best first.

        Raises:
            ConfigError: `k` or the vector make no sense.
        """
        check_search(vector, k)
        best: list[tuple[float, int, int]] = []  # similarity, start of the file, row
        for start in self._starts_of(query):
            found = self._search_one(start, vector, k, query)
            best = heapq.nlargest(k, [*best, *((score, start, row) for score, row in found)])
        moments = {
            start: self._partition(start).get([row for _, of, row in best if of == start])
            for start in {start for _, start, _ in best}
        }
        return [Match(moments[start][row], score) for score, start, row in best if row in moments[start]]

    def moments(self, query: Query = Query()) -> Iterator[Moment]:  # noqa: B008
        """Yields moments by time."""
        for start in self._starts_of(query):
            with contextlib.closing(self._opened(start, read_only=True)) as partition:
                yield from partition.moments(query)

    def nearest_in_time(self, stream_id: str, time_ns: int, *, kind: Kind = "scene") -> Moment | None:
        """The kept moment of a stream closest to a time; None when there is none."""
        starts, middle = self.starts, self._start_of(time_ns)
        found = []
        before = itertools.takewhile(lambda start: start <= middle, starts)
        after = itertools.dropwhile(lambda start: start <= middle, starts)
        for direction in (
            reversed(list(before)),
            after,
        ):  # the closest file that has the stream ends each way
            nearest = (
                self._partition(start).nearest_in_time(stream_id, time_ns, kind) for start in direction
            )
            found += list(itertools.islice((one for one in nearest if one is not None), 1))
        return min(found, key=lambda one: abs(one.time_ns - time_ns), default=None)

    def models(self, kind: Kind = "scene") -> list[StoredModel]:
        """The models that made the vectors of a kind, the one used last at the end."""
        found = [one for start in self.starts for one in self._partition(start).models(kind)]
        return list(dict.fromkeys(reversed(found)))[::-1]

    def expire(self) -> int:
        """Deletes files that are too old or do not fit, never the newest; returns how many."""
        starts, gone = self.starts, 0
        for start in starts[:-1]:
            if not self._too_old(start) and (self._max_bytes is None or self.size_bytes <= self._max_bytes):
                break
            self._delete(start)
            gone += 1
        return gone

    def index(self) -> int:
        """Builds the approximate indices that files which are over still lack; returns how many.

        Moments that come later all the same are found by comparison.

        Raises:
            MissingExtraError: `usearch` is not installed.
        """
        built = 0
        for start in self.starts:
            if self._end_ns(start) + MAX_CLOCK_ERROR_NS <= self._now_ns():
                with self._trouble():
                    built += ann.build_missing(self._partition(start))
        return built

    def close(self) -> None:
        """Closes all files; may be called twice."""
        while self._open:
            self._open.popitem()[1].close()

    @contextlib.contextmanager
    def _trouble(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(f"{self.folder}: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start_of(self, time_ns: int) -> int:
        seconds = max(time_ns // 10**9, 0)
        return seconds - seconds % self._span_seconds

    def _starts_of(self, query: Query) -> list[int]:
        """Files that may hold what a query asks for."""
        return [
            start
            for start in self.starts
            if (query.until_ns is None or start * 10**9 < query.until_ns)
            and (query.since_ns is None or self._end_ns(start) > query.since_ns)
        ]

    def _end_ns(self, start: int) -> int:
        """Where a file ends; its span may differ from today's setting."""
        if start not in self._spans:
            self._spans[start] = self._partition(start).span_seconds
        return (start + self._spans[start]) * 10**9

    def _covers(self, query: Query, start: int) -> bool:
        """Whether the times of a query leave out nothing of a file."""
        from_start = query.since_ns is None or query.since_ns <= start * 10**9
        return from_start and (query.until_ns is None or query.until_ns >= self._end_ns(start))

    def _search_one(self, start: int, vector: FloatArray, k: int, query: Query) -> list[tuple[float, int]]:
        """Similarity and row of the best moments of one file."""
        partition = self._partition(start)
        best: list[tuple[float, int]] = []
        indexed = 0
        if self._covers(query, start):
            indexed, best = ann.search(partition, vector, k, query)
        for part in partition.candidates(query, above_id=indexed):
            if part.vectors.shape[1] != vector.size:
                raise ConfigError(
                    f"the vector has {vector.size} numbers, those in the store {part.vectors.shape[1]}: "
                    "they come from different models; name one by model_digest"
                )
            lengths = np.sqrt(np.einsum("ij,ij->i", part.vectors, part.vectors)) * np.linalg.norm(vector)
            scores = part.vectors @ vector / np.maximum(lengths, np.float32(1e-30))
            top = np.argpartition(-scores, min(k, scores.size) - 1)[:k]
            best = heapq.nlargest(k, [*best, *((float(scores[i]), part.ids[i]) for i in top)])
        return best

    def _partition(self, start: int) -> Partition:
        if start not in self._open:
            self._open[start] = self._opened(start, read_only=self._read_only)
        self._open.move_to_end(start)
        if len(self._open) > _OPEN_FILES:
            self._open.popitem(last=False)[1].close()
        return self._open[start]

    def _opened(self, start: int, *, read_only: bool) -> Partition:
        return Partition(self._path(start), span_seconds=self._span_seconds, read_only=read_only)

    def _path(self, start: int) -> Path:
        return self.folder / f"moments-{start:010}.sqlite"

    def _too_old(self, start: int) -> bool:
        if self._retention_seconds is None:
            return False
        return self._end_ns(start) + self._retention_seconds * 1e9 < self._now_ns()

    def _delete(self, start: int) -> None:
        if start in self._open:
            self._open.pop(start).close()
        self._spans.pop(start, None)
        path = self._path(start)
        with self._trouble():
            for suffix in _SIDE_FILES:
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            ann.delete(path)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # gone meanwhile
        return 0
