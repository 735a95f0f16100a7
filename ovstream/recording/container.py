"""The file: a header, then chunks that are each whole or absent.

```
"OVSREC2", line feed
chunk*  =  "CHNK" | payload bytes u32 | crc32 of the payload u32 | entries u32 | first time (UTC, ns) i64 | payload
```

Numbers are little-endian. A payload is one msgpack map: the header, or the columns of some access units, each compressed
(LZMA2); the column without a name holds a msgpack map per access unit. A chunk starts at a keyframe where there is one,
so reading may start at any chunk that does.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import msgpack

from ovstream.errors import RecordingError
from ovstream.recording.columns import Columns
from ovstream.recording.entries import UnitEntry
from ovstream.recording.header import Header

MAGIC = b"OVSREC2\n"
_FIRST = b"OVSREC1\n"
_CHUNK = struct.Struct("<4sIIIq")
_MARK = b"CHNK"
_MAX_CHUNK_BYTES = 64 * 2**20  # compressed; a damaged length must not ask for more
_MAX_INFLATED_BYTES = 512 * 2**20
_CHUNK_UNITS = 250
_CHUNK_BYTES = 4 * 2**20  # before compressing
_FULL_ENOUGH = 0.4  # of either: the next keyframe begins a new one


class RecordingWriter:
    """Appends access units to a new file.

    A chunk is written out when a keyframe begins the next, or the chunk is full; what a crash leaves is whole up to the
    last chunk.

    Args:
        path: Made anew; an existing file is refused.
        header: What the replay must know.
        max_bytes: The file ends when it is larger, see `full`; None: no bound.

    Raises:
        RecordingError: The file cannot be made.
    """

    def __init__(self, path: str | Path, header: Header, *, max_bytes: int | None = None) -> None:
        self.path = Path(path)
        self._max_bytes = max_bytes
        self._whole = header.whole
        self._columns = Columns()
        self._entries = 0
        self._first_ns = 0
        self._size_bytes = 0
        try:
            self._file = self.path.open("xb", buffering=0)  # a buffer would keep what the disk has refused
        except OSError as error:
            raise RecordingError(f"{path}: {error.strerror}") from None
        try:
            self._append(MAGIC)
            self._write(header.as_map(), entries=0, first_ns=header.started_ns)
        except RecordingError:
            self._file.close()
            self.path.unlink(missing_ok=True)
            raise

    @property
    def size_bytes(self) -> int:
        """Of the file, without what waits for its chunk."""
        return self._size_bytes

    @property
    def full(self) -> bool:
        """Whether `max_bytes` is reached; nothing more is taken then."""
        return self._max_bytes is not None and self.size_bytes >= self._max_bytes

    def add(self, entry: UnitEntry, *, now_ns: int) -> None:
        """Takes what is known about one access unit.

        Args:
            entry: Of the unit.
            now_ns: UTC, Unix.

        Raises:
            RecordingError: The disk refuses.
        """
        if self.full:
            return
        filled = max(self._entries / _CHUNK_UNITS, self._columns.size_bytes / _CHUNK_BYTES)
        if filled >= (_FULL_ENOUGH if entry.keyframe else 1):
            self.flush()
        if not self._entries:
            self._first_ns = now_ns
        self._columns.put("", msgpack.packb(entry.as_map(self._columns, whole=self._whole)))
        self._entries += 1

    def flush(self) -> None:
        """Writes the chunk that waits."""
        if self._entries:
            columns, entries = self._columns, self._entries
            self._columns, self._entries = Columns(), 0
            self._write(columns.pack(), entries=entries, first_ns=self._first_ns)

    def close(self) -> None:
        """Writes what waits and closes the file; may be called twice."""
        if not self._file.closed:
            try:
                self.flush()
            finally:
                self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, found: dict[str, Any], *, entries: int, first_ns: int) -> None:
        payload = msgpack.packb(found)
        head = _CHUNK.pack(_MARK, len(payload), zlib.crc32(payload), entries, first_ns)
        self._append(head + payload)

    def _append(self, data: bytes) -> None:
        """Writes all of it or nothing."""
        left = memoryview(data)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            with contextlib.suppress(OSError):  # what was written before stays readable
                self._file.truncate(self._size_bytes)
                self._file.seek(self._size_bytes)
            raise RecordingError(f"{self.path}: {error.strerror}") from None
        self._size_bytes += len(data)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a chunk lies."""

    offset: int
    size: int
    crc: int
    entries: int
    first_ns: int


class RecordingReader:
    """Reads a file from its start or from a time.

    A file that a crash cut short is read up to its last whole chunk; `damaged` says so.

    Args:
        path: Of the file.

    Raises:
        RecordingError: It is no recording, or of a later version.

    Attributes:
        header: What the replay must know.
        entries: Access units in the file.
        damaged: What is wrong behind the last whole chunk; empty when nothing is.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.damaged = ""
        try:
            self._file: BinaryIO = self.path.open("rb")
        except OSError as error:
            raise RecordingError(f"{path}: {error.strerror}") from None
        try:
            magic = self._file.read(len(MAGIC))
            if magic == _FIRST:
                raise RecordingError(
                    f"{path}: a recording of format 1, by an earlier ovstream: replay it with that, or record again"
                )
            if magic != MAGIC:
                raise RecordingError(f"{path}: no recording of this version")
            places = self._scan()
            if not places:
                raise RecordingError(f"{path}: the header is damaged")
            self.header = Header.from_map(self._map(places[0]))
        except BaseException:
            self._file.close()
            raise
        self._places = places[1:]
        self.entries = sum(place.entries for place in self._places)

    def units(self, *, since_ns: int | None = None) -> Iterator[UnitEntry]:
        """Yields access units in order.

        Args:
            since_ns: UTC, Unix: starts with the chunk that was being recorded then; None: the first.

        Raises:
            RecordingError: A chunk was changed after it was written.
        """
        first = 0
        if since_ns is not None:
            first = max((i for i, place in enumerate(self._places) if place.first_ns <= since_ns), default=0)
        for place in self._places[first:]:
            columns = Columns(self._map(place))
            for found in self._maps(place, columns):
                yield UnitEntry.from_map(found, columns)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _scan(self) -> list[_Place]:
        """Finds all chunks by their heads; the last one is checked whole, since a crash may have cut it."""
        end = os.fstat(self._file.fileno()).st_size
        places: list[_Place] = []
        offset = len(MAGIC)
        while offset < end:
            self._file.seek(offset)
            head = self._file.read(_CHUNK.size)
            if len(head) < _CHUNK.size:
                self.damaged = f"the head of a chunk at byte {offset} is cut"
                break
            mark, size, crc, entries, first_ns = _CHUNK.unpack(head)
            if mark != _MARK or size > _MAX_CHUNK_BYTES:
                self.damaged = f"no chunk at byte {offset}"
                break
            if offset + _CHUNK.size + size > end:
                self.damaged = f"the chunk at byte {offset} is cut"
                break
            places.append(_Place(offset + _CHUNK.size, size, crc, entries, first_ns))
            offset += _CHUNK.size + size
        if places and zlib.crc32(self._bytes(places[-1])) != places[-1].crc:
            self.damaged = f"the chunk at byte {places.pop().offset} is damaged"
        return places

    def _bytes(self, place: _Place) -> bytes:
        self._file.seek(place.offset)
        return self._file.read(place.size)

    def _map(self, place: _Place) -> Any:
        data = self._bytes(place)
        if zlib.crc32(data) != place.crc:
            raise RecordingError(f"{self.path}: the chunk at byte {place.offset} is damaged")
        try:
            return msgpack.unpackb(data, raw=False, max_ext_len=0)
        except (ValueError, msgpack.UnpackException) as error:
            raise RecordingError(f"{self.path}: the chunk at byte {place.offset}: {error}") from None

    def _maps(self, place: _Place, columns: Columns) -> Iterator[dict[str, Any]]:
        """What is told of each access unit of a chunk."""
        try:
            unpacker = msgpack.Unpacker(raw=False, max_buffer_size=_MAX_INFLATED_BYTES, max_ext_len=0)
            unpacker.feed(columns.rest(""))
            yield from unpacker
        except (ValueError, msgpack.UnpackException) as error:
            raise RecordingError(f"{self.path}: the chunk at byte {place.offset}: {error}") from None
