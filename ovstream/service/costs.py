"""What streams are known to cost, so that processes share them by work and not by number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_MEMORY_SECONDS = 60


class Costs:
    """Cores that each stream uses, averaged over its last minute or so; kept over restarts where there is a state folder.

    Args:
        known: From an earlier process, by stream.
    """

    def __init__(self, known: Mapping[str, float] | None = None) -> None:
        self._cores = dict(known or {})
        self._seconds: dict[str, int] = {}  # measured, by this process

    @property
    def known(self) -> dict[str, float]:
        """By stream, to be kept."""
        return {name: round(cores, 4) for name, cores in self._cores.items()}

    def note(self, cores: Mapping[str, float]) -> None:
        """Learns what the streams that are live used in the last second."""
        for name, used in cores.items():
            seconds = self._seconds[name] = min(self._seconds.get(name, 0) + 1, _MEMORY_SECONDS)
            before = self._cores.get(name, used)
            self._cores[name] = before + (used - before) / seconds

    def of(self, stream_id: str) -> float:
        """Of one stream; of one that was never measured what the others cost in the mean, and 1 where none was."""
        if (found := self._cores.get(stream_id)) is not None:
            return found
        return sum(self._cores.values()) / len(self._cores) if self._cores else 1.0

    def keep(self, names: Iterable[str]) -> None:
        """Forgets all other streams."""
        for name in self._cores.keys() - set(names):
            self.forget(name)

    def forget(self, stream_id: str) -> None:
        """A stream is gone for good."""
        self._cores.pop(stream_id, None)
        self._seconds.pop(stream_id, None)
