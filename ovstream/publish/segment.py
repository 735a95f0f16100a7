"""One file of the journal: records, each found by its number, each guarded by a checksum.

```
file    "OVSJ" version reserved                                                8 bytes
record  marker u32, length u32, crc32 u32 | seq u64, epoch u64, time i64,
        channel u8, id length u8, frames u8, 0 | id | frame lengths u32 ... | frames ...
```

All little-endian. `length` and `crc32` speak of what stands behind the bar. A record cut off by a crash, or
flipped by a bad disk, is left out; the marker finds the next one.
"""

from __future__ import annotations

import functools
import os
import struct
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

Channel = Literal["e", "s"]
Key = tuple[str, Channel]

FILE_HEAD = b"OVSJ\x01\x00\x00\x00"
_MARKER = 0x4A53564F
_MARKER_BYTES = struct.pack("<I", _MARKER)
_HEAD = struct.Struct("<III")
_PLACE = struct.Struct("<QQqBBBB")
_CHANNELS: dict[int, Channel] = {ord("e"): "e", ord("s"): "s"}
_MAX_RECORD_BYTES = 64 << 20


class Record(NamedTuple):
    """A message as it was sent, and its place; a tuple, since one is made for every message.

    Attributes:
        key: Stream id and channel.
        seq: Number in the channel.
        epoch: Of the publisher.
        time_ns: Wall clock (UTC, Unix) of the sending.
        frames: Of the message.
    """

    key: Key
    seq: int
    epoch: int
    time_ns: int
    frames: Sequence[bytes]


@dataclass(slots=True)
class Entries:
    """Where the records of one channel lie in a file; sorted by number."""

    seqs: array[int] = field(default_factory=lambda: array("Q"))
    offsets: array[int] = field(default_factory=lambda: array("Q"))
    times: array[int] = field(default_factory=lambda: array("q"))

    def add(self, seq: int, offset: int, time_ns: int) -> None:
        """Appends; readers in other threads go by the length of `seqs`."""
        self.offsets.append(offset)
        self.times.append(time_ns)
        self.seqs.append(seq)

    def at_or_after(self, seq: int) -> int:
        """Index of the first number that is not below `seq`."""
        return bisect_left(self.seqs, seq)


def pack(record: Record) -> list[bytes]:
    """Turns a record into byte strings to be written one after the other."""
    (stream_id, channel), seq, epoch, time_ns, frames = record
    name, count = stream_id.encode(), len(frames)
    sizes = [*map(len, frames)]
    length, layout = sum(sizes), _layout(len(name), count)
    body = layout.pack(seq, epoch, time_ns, ord(channel), len(name), count, 0, name, *sizes)
    crc = zlib.crc32(body)
    for frame in frames:
        crc = zlib.crc32(frame, crc)
    return [_HEAD.pack(_MARKER, len(body) + length, crc) + body, *frames]


@functools.lru_cache(maxsize=256)
def _layout(name_bytes: int, frames: int) -> struct.Struct:
    """What stands before the frames, but for marker, length and checksum."""
    return struct.Struct(f"{_PLACE.format}{name_bytes}s{frames}I")


def unpack(data: bytes | memoryview, offset: int = 0) -> tuple[Record, int] | None:
    """Reads the record at an offset; None where there is none, or a damaged one.

    Returns:
        The record and the offset behind it.
    """
    start = offset + _HEAD.size
    if start + _PLACE.size > len(data):
        return None
    marker, length, crc = _HEAD.unpack_from(data, offset)
    end = start + length
    if marker != _MARKER or length > _MAX_RECORD_BYTES or end > len(data):
        return None
    body = memoryview(data)[start:end]
    if length < _PLACE.size or zlib.crc32(body) != crc:
        return None
    seq, epoch, time_ns, channel, name_bytes, count, _ = _PLACE.unpack_from(body)
    at = _PLACE.size + name_bytes
    sizes = struct.unpack_from(f"<{count}I", body, at)
    at += 4 * count
    frames = []
    for size in sizes:
        frames.append(bytes(body[at : at + size]))
        at += size
    name = str(body[_PLACE.size : _PLACE.size + name_bytes], "ascii")
    return Record((name, _CHANNELS[channel]), seq, epoch, time_ns, frames), end


class Segment:
    """An append-only file and the index of what lies in it.

    Args:
        path: None: in memory only, gone with the process.
        number: Order among the files of a journal.
    """

    def __init__(self, path: Path | None, *, number: int) -> None:
        self.path = path
        self.number = number
        self.index: dict[Key, Entries] = {}
        self.damaged = 0
        self.torn_bytes = 0
        self.synced = 0  # bytes known to be on the disk
        if path is None:
            self._file = os.memfd_create("ovstream-journal")
        else:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.size = os.fstat(self._file).st_size
        try:
            if self.size < len(FILE_HEAD):
                self._begin()
        except OSError:
            self.close()
            raise

    def append(self, record: Record, parts: Sequence[bytes]) -> None:
        """Writes a record behind the others.

        Args:
            record: What to find it by.
            parts: The record, packed.

        Raises:
            OSError: It cannot be written; the file is as it was before.
        """
        at, size = self.size, sum(map(len, parts))
        try:
            if os.pwritev(self._file, parts, at) != size:
                raise OSError(28, "No space left on device")
        except OSError:
            os.ftruncate(self._file, at)
            raise
        self._note(record, at)
        self.size = at + size

    def records(self) -> Iterator[Record]:
        """Reads the whole file, fills the index and counts what is damaged; cuts off a torn tail."""
        data = memoryview(os.pread(self._file, self.size, 0))
        offset, good_end = len(FILE_HEAD), len(FILE_HEAD)
        while offset < len(data):
            found = unpack(data, offset)
            if found is None:
                offset = bytes(data).find(_MARKER_BYTES, offset + 1)
                if offset < 0:
                    break
                continue
            if offset != good_end:
                self.damaged += 1
            self._note(found[0], offset)
            offset = good_end = found[1]
            yield found[0]
        self.torn_bytes = len(data) - good_end
        if self.torn_bytes:
            os.ftruncate(self._file, good_end)
            self.size = good_end

    def read(self, offset: int) -> Record | None:
        """Reads one record back; None: it was damaged since."""
        head = os.pread(self._file, _HEAD.size, offset)
        if len(head) < _HEAD.size:
            return None
        length = min(_HEAD.unpack(head)[1], self.size)
        found = unpack(head + os.pread(self._file, length, offset + _HEAD.size))
        return found and found[0]

    def duplicate(self) -> int:
        """A descriptor of the file for the caller to sync and to close."""
        return os.dup(self._file)

    def close(self) -> None:
        """Closes the file and leaves it there."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def remove(self) -> None:
        """Closes the file and takes it away."""
        self.close()
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def _begin(self) -> None:
        os.ftruncate(self._file, 0)
        if os.pwrite(self._file, FILE_HEAD, 0) != len(FILE_HEAD):
            raise OSError(28, "No space left on device")
        self.size = len(FILE_HEAD)

    def _note(self, record: Record, offset: int) -> None:
        entries = self.index.get(record.key)
        if entries is None:
            entries = self.index[record.key] = Entries()
        elif entries.seqs and record.seq <= entries.seqs[-1]:
            entries = self.index[record.key] = Entries()  # the numbering began anew
        entries.add(record.seq, offset, record.time_ns)
