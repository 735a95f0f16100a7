"""Who makes processes crash."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterable

from ovstream.pipeline.at_work import RECORD_BYTES, at_work_in

CRASHES = 2  # of a stream, within `WINDOW_SECONDS`: from then on it is alone
WINDOW_SECONDS = 600.0
_MOST_FAULT_BYTES = 64 << 10
_CRASHED_THREAD = re.compile(r"^Current thread 0x([0-9a-f]+)", re.MULTILINE)
_INNOCENT = (
    signal.SIGKILL,
    signal.SIGTERM,
)  # whoever sends these: the system that is out of memory, or a person


class Record:
    """Memory that a worker shares with the service: whom it computes for, and the trace that a crash leaves.

    Attributes:
        fds: To be handed to the worker, in this order; none where the system has no such memory, and then nobody is
            ever named.
    """

    def __init__(self) -> None:
        self.fds: tuple[int, ...] = ()
        if hasattr(os, "memfd_create"):
            self.fds = os.memfd_create("ovstream-at-work"), os.memfd_create("ovstream-fault")
            os.ftruncate(self.fds[0], RECORD_BYTES)

    @property
    def fault(self) -> str:
        """What `faulthandler` wrote at the end; empty without a crash."""
        return os.pread(self.fds[1], _MOST_FAULT_BYTES, 0).decode(errors="replace") if self.fds else ""

    def suspects(self) -> set[str]:
        """For whom the thread computed that crashed; for whom all did, where no thread is named."""
        if not self.fds:
            return set()
        names = at_work_in(os.pread(self.fds[0], RECORD_BYTES, 0))
        thread = _CRASHED_THREAD.search(self.fault)
        if thread is None:
            return set(names.values())
        found = names.get(int(thread[1], 16))
        return set() if found is None else {found}

    def close(self) -> None:
        """Lets it go."""
        for fd in self.fds:
            os.close(fd)


def crashed(code: int | None) -> bool:
    """Whether the end of a process can be the fault of what it computed."""
    return code is not None and code != 0 and -code not in _INNOCENT


class Suspects:
    """Counts crashes by stream; who is there in `CRASHES` of them within `WINDOW_SECONDS` should be alone."""

    def __init__(self) -> None:
        self._times: dict[str, list[float]] = {}
        self.totals: dict[str, int] = {}

    def crashed(self, names: Iterable[str], *, now: float) -> str | None:
        """Learns who may have caused a crash; returns who should be alone from now on.

        Never more than one at a time: of those who were always there together the next crash tells more.
        """
        found = []
        for name in sorted(names):
            recent = [one for one in self._times.get(name, []) if now - one < WINDOW_SECONDS]
            self._times[name] = [*recent, now]
            self.totals[name] = self.totals.get(name, 0) + 1
            if len(self._times[name]) >= CRASHES:
                found.append(name)
        if not found:
            return None
        first = max(found, key=lambda name: len(self._times[name]))
        for name in found:
            self._times[name] = self._times[name][1 - CRASHES :]
        return first

    def acquit(self, name: str) -> None:
        """Starts to count anew: somebody changed the stream."""
        self._times.pop(name, None)

    def forget(self, name: str) -> None:
        """The stream is gone."""
        self.acquit(name)
        self.totals.pop(name, None)
