"""Counters of one stream over all its lives; they only grow."""

from __future__ import annotations

from typing import Any

from ovstream.pipeline import Latency, Stream
from ovstream.service.facts import added


class Lives:
    """Adds what is to what was."""

    def __init__(self) -> None:
        self._totals: dict[str, Any] = {}
        self._counts = list(Latency().counts)
        self._seconds = 0.0

    def totals(self, stream: Stream | None) -> dict[str, Any]:
        """As in `StreamStats`, with those of the stream that runs."""
        return added(self._totals, stream.stats.as_dict() if stream is not None else {})

    def latency(self, stream: Stream | None) -> tuple[list[int], float]:
        """Likewise: counts of the latency histogram and their sum in seconds."""
        if stream is None:
            return self._counts, self._seconds
        now = stream.latency
        counts = [one + other for one, other in zip(self._counts, now.counts, strict=True)]
        return counts, self._seconds + now.sum_seconds

    def over(self, stream: Stream) -> None:
        """A life is over."""
        self._totals, (self._counts, self._seconds) = self.totals(stream), self.latency(stream)
