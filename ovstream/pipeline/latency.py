"""How late results are, as a histogram that forgets nothing and stays small."""

from __future__ import annotations

from bisect import bisect_left

BOUNDS_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Latency:
    """Counts of durations in fixed buckets.

    Attributes:
        counts: One per bound of `BOUNDS_SECONDS`, inclusive, and one for what is longer.
        sum_seconds: Of all.
        last_seconds: The newest.
    """

    def __init__(self, counts: list[int] | None = None) -> None:
        self.counts = counts or [0] * (len(BOUNDS_SECONDS) + 1)
        self.sum_seconds = 0.0
        self.last_seconds = 0.0

    def observe(self, seconds: float) -> None:
        """Adds one."""
        self.counts[bisect_left(BOUNDS_SECONDS, seconds)] += 1
        self.sum_seconds += seconds
        self.last_seconds = seconds

    def since(self, earlier: list[int]) -> Latency:
        """What was added after `counts` was `earlier`."""
        return Latency([now - before for now, before in zip(self.counts, earlier, strict=True)])

    def quantile(self, share: float) -> float | None:
        """Estimates a quantile, linear inside a bucket; None without observations."""
        total = sum(self.counts)
        if not total:
            return None
        wanted, below = share * total, 0
        bounds = (0.0, *BOUNDS_SECONDS, 2 * BOUNDS_SECONDS[-1])
        for number, count in enumerate(self.counts):
            if count and below + count >= wanted:
                low, high = bounds[number], bounds[number + 1]
                return low + (high - low) * (wanted - below) / count
            below += count
        return bounds[-1]
