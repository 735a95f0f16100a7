"""What was sent, kept for a while, so that whoever missed it can ask for it: bounded, safe against crashes.

A record is written before its message is sent. What the process has written survives its death; what the
machine has survives a power cut up to the last `sync`. When the disk is full, the oldest file gives way; when
that is not enough, the record is left out and the caller told.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ovstream.errors import ConfigError
from ovstream.publish.memory import MemorySegment
from ovstream.publish.segment import FILE_HEAD, Channel, Key, Record, Segment

_SEGMENTS = 16  # files that the bound is divided into: the window shrinks by a sixteenth at a time
_MIN_SEGMENT_BYTES = 64 << 10


class Position(NamedTuple):
    """Where the numbering of a channel stands; a tuple, since one is made for every message.

    Attributes:
        epoch: Of the last record.
        next_seq: The number after it.
    """

    epoch: int
    next_seq: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of a range.

    Attributes:
        last: All kept records up to this number are among `records`.
        records: Sorted by number.
    """

    last: int
    records: list[Record]


@dataclass(slots=True)
class JournalStats:
    """What a journal has done.

    Attributes:
        written: Records.
        refused: Records that the disk did not take.
        damaged: Places where records could not be read back.
        torn_bytes: Cut off when the journal was opened.
        expired: Files that gave way.
    """

    written: int = 0
    refused: int = 0
    damaged: int = 0
    torn_bytes: int = 0
    expired: int = 0


class Journal:
    """Records of many channels in a row of files.

    One thread appends; others may read, search and sync at the same time.

    Args:
        folder: Of the files, made if it is not there; None: in memory.
        max_bytes: Of all files together.

    Raises:
        ConfigError: The folder cannot be used, or another process uses it.
    """

    def __init__(self, folder: Path | None, *, max_bytes: int) -> None:
        self.stats = JournalStats()
        self.identity = secrets.token_hex(8)  # the same for as long as the folder lives
        self._folder = folder
        self._max_bytes = max_bytes
        self._pack = MemorySegment.pack if folder is None else Segment.pack
        self._segment_bytes = max(max_bytes // _SEGMENTS, _MIN_SEGMENT_BYTES)
        self._lock = threading.Lock()  # against reading from a file that gives way
        self._segments: list[Segment | MemorySegment] = []
        self._positions: dict[Key, Position] = {}
        self._lock_file = -1
        if folder is not None:
            self._open(folder)

    def position(self, stream_id: str, channel: Channel) -> Position | None:
        """Where a channel stands; None if the journal never heard of it."""
        return self._positions.get((stream_id, channel))

    def oldest(self, stream_id: str, channel: Channel) -> int | None:
        """The lowest number that can be read back; None: none can."""
        for segment in self._segments:
            entries = segment.index.get((stream_id, channel))
            if entries is not None and entries.seqs:
                return entries.seqs[0]
        return None

    def append(self, record: Record) -> bool:
        """Writes a record; False: the disk does not take it."""
        key, seq = record.key, record.seq
        position = self._positions.get(key)
        if position is not None and seq < position.next_seq:
            self._forget(key)
        kept = self._write(record)
        self._positions[key] = Position(record.epoch, seq + 1)  # only now: who asks meanwhile would miss it
        return kept

    def read(self, stream_id: str, channel: Channel, lo: int, hi: int, *, count: int, size: int) -> Batch:
        """Reads the records of a range, from its start, up to `count` of them or about `size` bytes."""
        records: list[Record] = []
        with self._lock:
            for segment in self._segments:
                entries = segment.index.get((stream_id, channel))
                if entries is None:
                    continue
                for at in range(entries.at_or_after(lo), len(entries.seqs)):
                    if entries.seqs[at] > hi:
                        return Batch(hi, records)
                    if len(records) >= count or (records and size <= 0):
                        return Batch(records[-1].seq, records)
                    record = segment.read(entries.offsets[at])
                    if record is None:
                        self.stats.damaged += 1
                        continue
                    records.append(record)
                    size -= sum(map(len, record.frames))
        return Batch(hi, records)

    def find(self, stream_id: str, channel: Channel, time_ns: int) -> int | None:
        """The first number that was sent at or after a time; None: nothing was."""
        with self._lock:
            for segment in self._segments:
                entries = segment.index.get((stream_id, channel))
                if entries is None:
                    continue
                for at in range(len(entries.seqs)):  # not sorted: the wall clock may have been set back
                    if entries.times[at] >= time_ns:
                        return entries.seqs[at]
        return None

    def sync(self) -> None:
        """Waits until everything written before is on the disk."""
        if self._folder is None:
            return
        with self._lock:  # a file may give way meanwhile: the copies stay valid
            files = [
                (one, one.size, one.duplicate())
                for one in self._segments
                if isinstance(one, Segment) and one.size > one.synced
            ]
        try:
            for segment, size, file in files:
                os.fdatasync(file)
                segment.synced = size
        finally:
            for _, _, file in files:
                os.close(file)

    def close(self) -> None:
        """Syncs and closes; may be called twice.

        Raises:
            OSError: The last records may not be on the disk; closed it is all the same.
        """
        try:
            self.sync()
        finally:
            with self._lock:
                for segment in self._segments:
                    segment.close()
                self._segments = []
            if self._lock_file >= 0:
                os.close(self._lock_file)
                self._lock_file = -1

    def _open(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock_file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            known = os.pread(self._lock_file, 64, 0).decode("ascii", "replace")
            if known:
                self.identity = known
            else:
                os.pwrite(self._lock_file, self.identity.encode(), 0)
            self._load(folder)
        except OSError as error:
            self.close()
            if error.errno == errno.EWOULDBLOCK:
                raise ConfigError(f"journal {folder} is in use: give every publisher its own") from None
            raise ConfigError(f"journal {folder} cannot be used: {error.strerror}") from None

    def _load(self, folder: Path) -> None:
        for path in sorted(folder.glob("*.ovj")):
            if not path.stem.isdigit():
                continue
            segment = Segment(path, number=int(path.stem))
            self._segments.append(segment)
            for record in segment.records():
                known = self._positions.get(record.key)
                if known is not None and record.seq < known.next_seq:
                    self._forget(record.key, but=segment)
                self._positions[record.key] = Position(record.epoch, record.seq + 1)
            self.stats.damaged += segment.damaged
            self.stats.torn_bytes += segment.torn_bytes

    def _write(self, record: Record) -> bool:
        parts, size = self._pack(record)
        for _ in range(2):
            try:
                self._active(size).append(record, parts, size)
            except OSError:
                if not self._give_way():
                    break
            else:
                self.stats.written += 1
                return True
        self.stats.refused += 1
        return False

    def _forget(self, key: Key, *, but: Segment | None = None) -> None:
        """Leaves the old numbering of a channel behind: it began anew."""
        with self._lock:
            for segment in self._segments:
                if segment is not but:
                    segment.index.pop(key, None)

    def _active(self, size: int) -> Segment | MemorySegment:
        """The file to write to; begins a new one, and gives up old ones, when it is full."""
        active = self._segments[-1] if self._segments else None
        if active is not None and active.size + size <= self._segment_bytes:
            return active
        if active is None or active.size > len(FILE_HEAD):
            while len(self._segments) > 1 and self._bytes() + self._segment_bytes > self._max_bytes:
                self._give_way()
            number = 1 if active is None else active.number + 1
            folder = self._folder
            active = (
                MemorySegment(number=number)
                if folder is None
                else Segment(folder / f"{number:020d}.ovj", number=number)
            )
            self._segments.append(active)
        return active

    def _bytes(self) -> int:
        return sum(segment.size for segment in self._segments)

    def _give_way(self) -> bool:
        """Removes the oldest file; False: there is none but the one that is written."""
        if len(self._segments) < 2:
            return False
        with self._lock:
            oldest = self._segments[0]
            self._segments = self._segments[1:]
            oldest.remove()
        self.stats.expired += 1
        return True
