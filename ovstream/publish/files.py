"""The file that the bytes of a journal's segment lie in."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path


class File:
    """An open file; one thread writes, others may read.

    Args:
        path: Made if it is not there; for this user alone.

    Attributes:
        size: Bytes when it was opened.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.size = os.fstat(self._file).st_size

    def write(self, parts: Sequence[bytes | memoryview], offset: int, size: int) -> None:
        """Writes parts one after the other, `size` bytes together.

        Raises:
            OSError: Not all of them could be written.
        """
        if os.pwritev(self._file, parts, offset) != size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def read(self, offset: int, size: int) -> bytes:
        """Reads at most so many bytes."""
        return os.pread(self._file, size, offset)

    def truncate(self, size: int) -> None:
        """Cuts off what lies behind."""
        os.ftruncate(self._file, size)

    def duplicate(self) -> int:
        """A descriptor of its own for the caller."""
        return os.dup(self._file)

    def close(self) -> None:
        """May be called twice."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
