"""Keeps the embeddings worth keeping in a store, without making the pipeline wait for it."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from ovstream.sinks.base import Sink
from ovstream.store import Keep, KeepPolicy, Moment, SqliteStore, VectorStore, require_index
from ovstream.types import Embedding, SinkCounts

_BATCH = 256
_COMMIT_SECONDS = 1.0
_UPKEEP_SECONDS = 60.0
_RETRY_SECONDS = 5.0
_CLOSE_SECONDS = 10.0

_log = logging.getLogger("ovstream")


class VectorStoreSink(Sink):
    """Writes to any store from a thread of its own, once a second.

    While the store refuses (disk full, server away), up to `max_waiting` moments wait in memory and are tried
    again; then the oldest give way.

    Args:
        store: Where to; closed with the sink.
        policy: What to keep.
        max_waiting: Most moments in memory.

    Attributes:
        kept: Moments written that were not there yet.
        lost: Moments that found no room while the store refused them, or at the end.
    """

    def __init__(self, store: VectorStore, *, policy: KeepPolicy, max_waiting: int = 10_000) -> None:
        self.kept = self.lost = 0
        self._store = store
        self._policy = policy
        self._max_waiting = max_waiting
        self._waiting: deque[Moment] = deque()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._troubled = False
        self._thread = threading.Thread(target=self._write, name="ovstream-store", daemon=True)
        self._thread.start()

    def publish(self, embedding: Embedding) -> None:
        """Takes one embedding, if it is worth keeping."""
        if not self._policy.wants(embedding):
            return
        with self._lock:
            self._waiting.append(Moment.of(embedding))
            if len(self._waiting) > self._max_waiting:
                self._waiting.popleft()
                self.lost += 1

    @property
    def counts(self) -> SinkCounts:
        """Moments kept, lost and waiting."""
        return SinkCounts(sent=self.kept, dropped=self.lost, waiting=len(self._waiting))

    def end(self, stream_id: str) -> None:
        """Forgets what the policy knows of a stream."""
        self._policy.forget(stream_id)

    def close(self) -> None:
        """Writes what waits, tries once more where the store refused, and ends the thread."""
        self._closing.set()
        self._thread.join(_CLOSE_SECONDS)

    def upkeep(self) -> None:
        """Called now and then between writes, in the thread."""

    def _write(self) -> None:
        upkeep_at = time.monotonic()
        while not self._closing.wait(_RETRY_SECONDS if self._troubled else _COMMIT_SECONDS):
            self._drain()
            if time.monotonic() >= upkeep_at:
                upkeep_at = time.monotonic() + _UPKEEP_SECONDS
                self._attempt(self.upkeep)
        self._drain()
        self.lost += len(self._waiting)
        self._store.close()

    def _drain(self) -> None:
        while self._waiting and self._attempt(self._write_batch):
            pass

    def _write_batch(self) -> None:
        with self._lock:
            batch = list(self._waiting)[:_BATCH]
        self.kept += self._store.add(batch)
        with self._lock:  # the oldest may have given way meanwhile
            written = {id(one) for one in batch}
            while self._waiting and id(self._waiting[0]) in written:
                self._waiting.popleft()

    def _attempt(self, work: Callable[[], None]) -> bool:
        try:
            work()
        except Exception as error:  # whatever it is, the thread and what waits must go on
            if not self._troubled:
                _log.warning("the store refuses, %d moments wait: %s", len(self._waiting), error)
            self._troubled = True
            return False
        self._troubled = False
        return True


class StoreSink(VectorStoreSink):
    """Keeps embeddings in a folder of SQLite files; `ovstream search` finds them again.

    Args:
        path: Folder; made when missing.
        keep: "all", "changed", "dense" or "novel": see `ovstream.store.KeepPolicy`.
        novelty: Cosine distance above which "novel" keeps.
        at_least_every_seconds: Longest pause between two that are kept of a stream.
        retention_days: How long moments are kept.
        max_megabytes: Bound of the folder; None: none. Whole files go, the oldest first.
        partition_seconds: Span of a file.
        index: Build an approximate index over each file that is over: searches of large stores are faster, for
            some 2 ms of CPU per moment once. Needs the extra `search`.
        max_waiting: Most moments in memory while the disk refuses.

    Raises:
        MissingExtraError: `index` without the package `usearch`.
        StoreError: The folder cannot be made.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        keep: Keep = "novel",
        novelty: float = 0.01,
        at_least_every_seconds: float = 60.0,
        retention_days: float = 30.0,
        max_megabytes: int | None = None,
        partition_seconds: int = 3600,
        index: bool = False,
        max_waiting: int = 10_000,
    ) -> None:
        if index:
            require_index()
        self._index = index
        self._files = SqliteStore(
            path,
            partition_seconds=partition_seconds,
            retention_seconds=retention_days * 86400,
            max_bytes=None if max_megabytes is None else max_megabytes * 10**6,
        )
        policy = KeepPolicy(keep, novelty=novelty, at_least_every_seconds=at_least_every_seconds)
        super().__init__(self._files, policy=policy, max_waiting=max_waiting)

    def upkeep(self) -> None:
        """Deletes files that are over their time or do not fit, and indexes those that are over."""
        self._files.expire()
        if self._index:
            self._files.index()
