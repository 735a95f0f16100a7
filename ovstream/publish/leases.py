"""Who may publish a stream: epochs that only grow, and numbers reserved in blocks. A file of SQLite.

A publisher numbers its messages only within blocks that it reserved while the epoch was still its own. A successor
takes a higher epoch in one transaction; the predecessor, should it still live, is refused its next block and stops.
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ovstream.errors import ConfigError, FencedError

BLOCK = 64  # numbers reserved at once: with those asked for ahead, what a predecessor may still send when replaced
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Lease:
    """A right to publish.

    Attributes:
        epoch: From now on.
        reserved: First number that nobody can have used before.
        same_journal: The lease before was held with this very journal, and the machine has not been restarted
            since: everything that was sent under it is there.
    """

    epoch: int
    reserved: int
    same_journal: bool


class Leases:
    """The store of leases, shared by all publishers that may ever send the same streams; for any thread.

    Args:
        path: Of the file, made if it is not there.
        journal_id: Names the journal of this publisher.

    Raises:
        ConfigError: The file cannot be used.
    """

    def __init__(self, path: Path, *, journal_id: str) -> None:
        self.path = path
        self._owner = secrets.token_hex(8)
        self._trace = f"{_boot_id()}/{journal_id}"
        self._lock = threading.Lock()
        try:
            self._base = sqlite3.connect(
                path, timeout=_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
            )
            path.chmod(0o600)
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute(
                "CREATE TABLE IF NOT EXISTS lease (stream TEXT PRIMARY KEY, epoch INTEGER NOT NULL, "
                "reserved INTEGER NOT NULL, owner TEXT NOT NULL, trace TEXT NOT NULL)"
            )
        except (sqlite3.Error, OSError) as error:
            if hasattr(self, "_base"):
                self._base.close()
            raise ConfigError(f"lease store {path} cannot be used: {error}") from None

    def claim(self, stream_id: str, *, at_least_epoch: int, next_seq: int) -> Lease:
        """Takes a stream over, whoever had it before.

        Args:
            stream_id: Name of the stream.
            at_least_epoch: Lowest epoch wanted.
            next_seq: Number to go on with, if nobody went further.

        Raises:
            ConfigError: The store cannot be written.
        """
        try:
            with self._transaction():
                row = self._base.execute(
                    "SELECT epoch, reserved, trace FROM lease WHERE stream = ?", (stream_id,)
                ).fetchone()
                epoch, reserved, trace = row or (-1, 0, self._trace)
                lease = Lease(max(epoch + 1, at_least_epoch), max(reserved, next_seq), trace == self._trace)
                self._base.execute(
                    "INSERT OR REPLACE INTO lease VALUES (?, ?, ?, ?, ?)",
                    (stream_id, lease.epoch, lease.reserved, self._owner, self._trace),
                )
        except sqlite3.Error as error:
            raise ConfigError(f"lease store {self.path} cannot be written: {error}") from None
        return lease

    def advance(self, stream_id: str, *, epoch: int) -> None:
        """Enters a later epoch of a stream that is ours.

        Raises:
            FencedError: It is no longer ours.
            sqlite3.Error: The store cannot be written.
        """
        with self._lock:
            changed = self._base.execute(
                "UPDATE lease SET epoch = ? WHERE stream = ? AND owner = ? AND epoch <= ?",
                (epoch, stream_id, self._owner, epoch),
            ).rowcount
        if not changed:
            raise FencedError(stream_id)

    def reserve(self, stream_id: str, *, up_to: int) -> None:
        """Reserves all numbers below `up_to` of a stream that is ours.

        Raises:
            FencedError: It is no longer ours.
            sqlite3.Error: The store cannot be written.
        """
        with self._lock:
            changed = self._base.execute(
                "UPDATE lease SET reserved = max(reserved, ?) WHERE stream = ? AND owner = ?",
                (up_to, stream_id, self._owner),
            ).rowcount
        if not changed:
            raise FencedError(stream_id)

    def close(self) -> None:
        """Closes the file; may be called twice."""
        self._base.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._base.execute("ROLLBACK")
                raise
            self._base.execute("COMMIT")


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
