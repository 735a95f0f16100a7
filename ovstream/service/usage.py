"""What the processes of a service use of the machine."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterable

_TICKS = os.sysconf("SC_CLK_TCK")
_GROUPS = "/sys/fs/cgroup"
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def available_cores() -> float:
    """Cores that this process may use: those it may run on, or what its control group (a container) gives it."""
    allowed = float(len(os.sched_getaffinity(0)))
    return min(allowed, max(1.0, _quota(_own_group()) or allowed))


def resident_bytes(pids: Iterable[int] = ()) -> int:
    """Memory in RAM of this process and of others; pages that they share count for each."""
    return _resident("self") + sum(_resident(pid) for pid in pids)


class CpuMeter:
    """Measures the cores that this process and others use, smoothed over some seconds."""

    def __init__(self) -> None:
        self._seen: dict[int, float] = {}
        self._at = 0.0
        self.cores = 0.0

    def measure(self, now: float, pids: Iterable[int] = ()) -> float:
        """Looks again.

        Args:
            now: Monotonic seconds.
            pids: The others; those that are gone count no more.
        """
        seconds = {os.getpid(): time.process_time(), **{pid: _cpu_seconds(pid) for pid in pids}}
        if self._seen and now > self._at:
            used = sum(
                max(spent - self._seen[pid], 0.0) for pid, spent in seconds.items() if pid in self._seen
            )
            self.cores = 0.5 * self.cores + 0.5 * used / (now - self._at)
        self._seen, self._at = seconds, now
        return self.cores


@functools.cache
def _own_group() -> str:
    """Folder of the control group (version 2) that this process is in; inside a container, the container's."""
    try:
        with open("/proc/self/cgroup", encoding="ascii") as file:
            lines = file.read().splitlines()
    except OSError:
        return _GROUPS
    own = next((line[3:] for line in lines if line.startswith("0::")), "/")
    return _GROUPS + own.rstrip("/")


def _quota(folder: str) -> float | None:
    """Cores that a control group may use; None where nothing is said."""
    try:
        with open(f"{folder}/cpu.max", encoding="ascii") as file:
            most, period = file.read().split()
        return None if most == "max" else int(most) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _cpu_seconds(pid: int) -> float:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            found = file.read().rpartition(")")[2].split()
        return (int(found[11]) + int(found[12])) / _TICKS
    except (OSError, ValueError, IndexError):
        return 0.0


def _resident(process: int | str) -> int:
    try:
        with open(f"/proc/{process}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return 0
