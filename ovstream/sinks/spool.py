"""A queue on disk: what it took survives the process, and its size is bounded."""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import dataclass, field
from pathlib import Path

from ovstream.errors import ConfigError, StoreError


@dataclass(frozen=True, slots=True)
class Parcel:
    """One message on its way: its number in the spool, where it goes, and its text."""

    number: int
    address: str
    payload: str = field(repr=False)


class Spool:
    """First in, first out, in one SQLite file that belongs to one process at a time.

    What `append` took survives a crash of the process; after a power cut the last seconds may be missing, for
    nothing waits for the disk.

    Args:
        path: The file; made when missing.
        max_bytes: Bound of the payloads. Beyond it the oldest give way. The file is a few percent larger.

    Attributes:
        lost: Parcels that gave way since the spool was opened.

    Raises:
        ConfigError: The file cannot be opened, or another sink has it open.
    """

    def __init__(self, path: str | Path, *, max_bytes: int) -> None:
        self.lost = 0
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        try:
            self._file = sqlite3.connect(path, timeout=1.0, check_same_thread=False, isolation_level=None)
        except sqlite3.Error as error:
            raise ConfigError(f"cannot open the spool {path}: {error}") from None
        try:
            self._prepare()
        except sqlite3.Error as error:
            self._file.close()
            raise ConfigError(f"cannot use the spool {path} (each sink needs its own): {error}") from None

    def _prepare(self) -> None:
        self._file.execute("PRAGMA locking_mode=EXCLUSIVE")
        self._file.execute("PRAGMA journal_mode=WAL")
        self._file.execute("PRAGMA synchronous=NORMAL")
        self._file.execute(
            "CREATE TABLE IF NOT EXISTS parcels "
            "(number INTEGER PRIMARY KEY AUTOINCREMENT, address TEXT NOT NULL, payload TEXT NOT NULL)"
        )
        self._file.execute("BEGIN IMMEDIATE")  # takes the lock, so that a second owner fails here
        count, size = self._file.execute(
            "SELECT count(*), coalesce(sum(length(CAST(payload AS BLOB))), 0) FROM parcels"
        ).fetchone()
        self._file.execute("COMMIT")
        self._count, self._bytes = int(count), int(size)

    def __len__(self) -> int:
        return self._count

    @property
    def waiting_bytes(self) -> int:
        """Size of the payloads that wait."""
        return self._bytes

    def append(self, address: str, payload: str) -> None:
        """Takes one parcel.

        Raises:
            StoreError: The disk refuses it; it is counted as lost.
        """
        with self._lock:
            try:
                self._file.execute("INSERT INTO parcels (address, payload) VALUES (?, ?)", (address, payload))
                self._count += 1
                self._bytes += len(payload.encode())
                while self._bytes > self._max_bytes:
                    self._drop_oldest()
            except sqlite3.Error as error:
                self.lost += 1
                raise StoreError(f"the spool takes nothing: {error}") from None

    def _drop_oldest(self) -> None:
        query = "SELECT number, length(CAST(payload AS BLOB)) FROM parcels ORDER BY number LIMIT 1"
        number, size = self._file.execute(query).fetchone()
        self._file.execute("DELETE FROM parcels WHERE number = ?", (number,))
        self._count -= 1
        self._bytes -= size
        self.lost += 1

    def oldest(self, count: int) -> list[Parcel]:
        """The next `count` parcels, or fewer; they stay until `remove`.

        Raises:
            StoreError: The file cannot be read.
        """
        query = "SELECT number, address, payload FROM parcels ORDER BY number LIMIT ?"
        with self._lock:
            try:
                return [Parcel(*row) for row in self._file.execute(query, (count,))]
            except sqlite3.Error as error:
                raise StoreError(f"the spool cannot be read: {error}") from None

    def remove(self, parcels: list[Parcel]) -> None:
        """Forgets the given parcels, the oldest; those that gave way meanwhile no longer count as lost.

        Raises:
            StoreError: The disk refuses.
        """
        if not parcels:
            return
        query = "DELETE FROM parcels WHERE number BETWEEN ? AND ? RETURNING length(CAST(payload AS BLOB))"
        with self._lock:
            try:
                sizes = self._file.execute(query, (parcels[0].number, parcels[-1].number)).fetchall()
            except sqlite3.Error as error:
                raise StoreError(f"the spool cannot be written: {error}") from None
            self._count -= len(sizes)
            self._bytes -= sum(size for (size,) in sizes)
            self.lost -= len(parcels) - len(sizes)

    def close(self) -> None:
        """Closes the file; what waits stays in it."""
        with self._lock:
            self._file.close()
