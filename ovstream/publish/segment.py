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
import struct
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from ovstream.publish.files import File

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
        joined: The same in one piece, if they lie together.
    """

    key: Key
    seq: int
    epoch: int
    time_ns: int
    frames: Sequence[bytes | memoryview]
    joined: memoryview | None = None


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


def pack(record: Record) -> tuple[list[bytes | memoryview], int]:
    """Turns a record into byte strings to be written one after the other, and says how long they are together."""
    body, pieces, length = pack_body(record)
    crc = zlib.crc32(body)
    for piece in pieces:
        crc = zlib.crc32(piece, crc)
    return [_HEAD.pack(_MARKER, length, crc) + body, *pieces], _HEAD.size + length


def pack_body(record: Record) -> tuple[bytes, Sequence[bytes | memoryview], int]:
    """What the checksum speaks of: what stands before the frames, the frames in pieces, and the length of all."""
    (stream_id, channel), seq, epoch, time_ns, frames, joined = record
    name, sizes = stream_id.encode(), [*map(len, frames)]
    count = len(sizes)
    layout = _layout(len(name), count)
    body = layout.pack(seq, epoch, time_ns, ord(channel), len(name), count, 0, name, *sizes)
    return body, frames if joined is None else (joined,), len(body) + sum(sizes)


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
    return unpack_body(body), end


def unpack_body(body: bytes | memoryview) -> Record:
    """The reverse of `pack_body`, of bytes that nothing happened to."""
    seq, epoch, time_ns, channel, name_bytes, count, _ = _PLACE.unpack_from(body)
    at = _PLACE.size + name_bytes
    sizes = struct.unpack_from(f"<{count}I", body, at)
    at += 4 * count
    frames = []
    for size in sizes:
        frames.append(bytes(body[at : at + size]))
        at += size
    name = str(body[_PLACE.size : _PLACE.size + name_bytes], "ascii")
    return Record((name, _CHANNELS[channel]), seq, epoch, time_ns, frames)


def note(index: dict[Key, Entries], record: Record, offset: int) -> None:
    """Enters a record into the index of its segment."""
    key, seq = record.key, record.seq
    entries = index.get(key)
    if entries is None or (entries.seqs and seq <= entries.seqs[-1]):  # or the numbering began anew
        entries = index[key] = Entries()
    entries.add(seq, offset, record.time_ns)


class Segment:
    """An append-only file and the index of what lies in it.

    Args:
        path: Made if it is not there.
        number: Order among the files of a journal.
    """

    def __init__(self, path: Path, *, number: int) -> None:
        self.path = path
        self.number = number
        self.index: dict[Key, Entries] = {}
        self.damaged = 0
        self.torn_bytes = 0
        self.synced = 0  # bytes known to be on the disk
        self._store = File(path)
        self.size = self._store.size
        try:
            if self.size < len(FILE_HEAD):
                self._begin()
        except OSError:
            self.close()
            raise

    pack = staticmethod(pack)

    def append(self, record: Record, parts: Sequence[bytes | memoryview], size: int) -> None:
        """Writes a record behind the others.

        Args:
            record: What to find it by.
            parts: The record, packed.
            size: Of all parts.

        Raises:
            OSError: It cannot be written; the file is as it was before.
        """
        at = self.size
        try:
            self._store.write(parts, at, size)
        except OSError:
            self._store.truncate(at)
            raise
        note(self.index, record, at)
        self.size = at + size

    def records(self) -> Iterator[Record]:
        """Reads the whole file, fills the index and counts what is damaged; cuts off a torn tail."""
        data = memoryview(self._store.read(0, self.size))
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
            note(self.index, found[0], offset)
            offset = good_end = found[1]
            yield found[0]
        self.torn_bytes = len(data) - good_end
        if self.torn_bytes:
            self._store.truncate(good_end)
            self.size = good_end

    def read(self, offset: int) -> Record | None:
        """Reads one record back; None: it was damaged since."""
        head = self._store.read(offset, _HEAD.size)
        if len(head) < _HEAD.size:
            return None
        length = min(_HEAD.unpack(head)[1], self.size)
        found = unpack(head + self._store.read(offset + _HEAD.size, length))
        return found and found[0]

    def duplicate(self) -> int:
        """A descriptor of the file for the caller to sync and to close."""
        return self._store.duplicate()

    def close(self) -> None:
        """Closes the file and leaves it there."""
        self._store.close()

    def remove(self) -> None:
        """Closes the file and takes it away."""
        self.close()
        self.path.unlink(missing_ok=True)

    def _begin(self) -> None:
        self._store.truncate(0)
        self._store.write([FILE_HEAD], 0, len(FILE_HEAD))
        self.size = len(FILE_HEAD)
