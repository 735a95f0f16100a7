"""Why units and results are left out on purpose, and how that is told."""

from __future__ import annotations

from collections.abc import Mapping

DROP_REASONS = {
    "keyframe": "came before a keyframe: of no use alone",
    "late": "waited longer than source.max_latency_seconds for their turn",
    "queue": "found no room between source and parser: the stream is too slow",
    "reader": "gave way to newer results: who reads the stream is too slow",
}
"""Meaning by reason."""

_TOLD = (
    "queue",
    "reader",
)  # a stream begins before a keyframe as a rule; `FreshnessGate` tells of what is late


class DropTeller:
    """Finds one sentence for what was left out since it was asked last."""

    def __init__(self) -> None:
        self._told = dict.fromkeys(_TOLD, 0)

    def report(self, counts: Mapping[str, int]) -> str | None:
        """Tells what is new.

        Args:
            counts: So far, by reason of `DROP_REASONS`.
        """
        new = {reason: counts.get(reason, 0) - told for reason, told in self._told.items()}
        self._told = {reason: counts.get(reason, 0) for reason in _TOLD}
        return "; ".join(f"{count} {DROP_REASONS[reason]}" for reason, count in new.items() if count) or None
