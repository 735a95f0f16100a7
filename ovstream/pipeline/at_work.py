"""Which streams a process is working on, kept where it can still be read when the process is gone."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from typing import TypeVar

_SLOTS = 64  # threads that work at the same time
_SLOT = struct.Struct("=Q72p")  # thread, and name; 0: nobody
RECORD_BYTES = _SLOTS * _SLOT.size

_T = TypeVar("_T")


class AtWork:
    """Notes names while somebody computes for them, a slot for each thread; without a record it does nothing.

    What may crash (decoders, parsers, inference) runs inside; so after a crash the record names who may have caused it.
    """

    def __init__(self) -> None:
        self._record: memoryview | None = None
        self._lock = threading.Lock()
        self._free = list(range(_SLOTS))

    def keep(self, record: memoryview) -> None:
        """Notes from now on.

        Args:
            record: `RECORD_BYTES` of zeros, of memory that others see.
        """
        self._record = record

    def run(self, name: str, call: Callable[[], _T]) -> _T:
        """Calls something for a stream."""
        record = self._record
        if record is None:
            return call()
        with self._lock:
            slot = self._free.pop() if self._free else None
        if slot is None:
            return call()
        _SLOT.pack_into(record, slot * _SLOT.size, threading.get_ident(), name.encode())
        try:
            return call()
        finally:
            _SLOT.pack_into(record, slot * _SLOT.size, 0, b"")
            with self._lock:
                self._free.append(slot)


def at_work_in(record: bytes) -> dict[int, str]:
    """Who is at work, by thread, as a record says."""
    return {thread: name.decode() for thread, name in _SLOT.iter_unpack(record) if thread}


AT_WORK = AtWork()
"""Those of this process."""
