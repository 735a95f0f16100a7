"""A segment of a journal without a file: what it holds is gone with the process."""

from __future__ import annotations

from collections.abc import Sequence

from ovstream.publish.segment import Entries, Key, Record, note, pack_body, unpack_body

_OVERHEAD_BYTES = 64  # of a byte string and its place in the index


class MemorySegment:
    """Records in memory, and the index of them; no checksums, since nobody else writes here.

    Args:
        number: Order among the segments of a journal.
    """

    def __init__(self, *, number: int) -> None:
        self.number = number
        self.index: dict[Key, Entries] = {}
        self.size = self.synced = 0  # there is nothing to bring to the disk
        self._records: list[bytes] = []

    @staticmethod
    def pack(record: Record) -> tuple[list[bytes | memoryview], int]:
        """As `segment.pack`."""
        body, pieces, length = pack_body(record)
        return [body, *pieces], length + _OVERHEAD_BYTES

    def append(self, record: Record, parts: Sequence[bytes | memoryview], size: int) -> None:
        """Keeps a record; see `Segment.append`."""
        self._records.append(b"".join(parts))
        note(self.index, record, len(self._records) - 1)
        self.size += size

    def read(self, offset: int) -> Record:
        """Gives one back."""
        return unpack_body(self._records[offset])

    def close(self) -> None:
        """Gives the memory back."""
        self._records = []

    remove = close
