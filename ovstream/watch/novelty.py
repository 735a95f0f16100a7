"""How unlike its own recent past a stream looks."""

from __future__ import annotations

from collections import deque

import numpy as np

from ovstream.types import FloatArray

_MOST_KEPT = 512
_FEWEST = 8  # entries before anything can be called unusual
_TYPICAL_QUANTILE = 0.95
_LEAST_DISTANCE = 1e-4  # of a scene that never changes: below lies the noise of 8-bit arithmetic


class Novelty:
    """Distance of a vector to its nearest neighbour in the past, in units of what is common there.

    A score of 1 is as far off as the most unusual twentieth of the past was; a scene seen before scores near 0. It
    needs no training: the distances of the stream itself are the scale. What is new joins the past after
    `settle_seconds`, so that it stays new for a while, and a scene that lasts becomes usual.

    Args:
        history_seconds: Length of the past.
        settle_seconds: See above.
    """

    def __init__(self, *, history_seconds: float, settle_seconds: float) -> None:
        self._interval = max(history_seconds / _MOST_KEPT, 1.0)
        self._settle_seconds = settle_seconds
        kept = min(_MOST_KEPT, max(_FEWEST, round(history_seconds / self._interval)))
        self._past: deque[FloatArray] = deque(maxlen=kept)
        self._distances: deque[float] = deque(maxlen=kept)
        self._waiting: deque[tuple[float, FloatArray, float]] = deque()
        self._matrix: FloatArray | None = None
        self._typical = _LEAST_DISTANCE
        self._next_at: float | None = None

    @property
    def learnt(self) -> bool:
        """Whether there is enough of a past to compare with."""
        return len(self._past) >= _FEWEST

    def score(self, vector: FloatArray, now: float) -> float:
        """Scores a vector and, once per interval, remembers it.

        Args:
            vector: (D,) float32.
            now: Seconds, of a clock that does not jump.

        Returns:
            0 while there is no past to compare with.
        """
        self._settle(now)
        unit = vector / max(float(np.linalg.norm(vector)), 1e-12)
        distance = self._distance(unit)
        score = distance / self._typical if self.learnt else 0.0
        if self._next_at is None or now >= self._next_at:
            self._next_at = now + self._interval
            self._waiting.append((now, unit, distance))
            self._settle(now)
        return score

    def _settle(self, now: float) -> None:
        """Lets what has waited long enough become the past; the very first entries need not wait."""
        while self._waiting and (not self.learnt or now - self._waiting[0][0] >= self._settle_seconds):
            _, unit, distance = self._waiting.popleft()
            if self._past:
                self._distances.append(distance)
                self._typical = max(float(np.quantile(self._distances, _TYPICAL_QUANTILE)), _LEAST_DISTANCE)
            self._past.append(unit)
            self._matrix = None

    def _distance(self, unit: FloatArray) -> float:
        """Cosine distance to the nearest of the past; 0 without one."""
        if not self._past:
            return 0.0
        if self._matrix is None:
            self._matrix = np.stack(self._past)
        return max(0.0, 1.0 - float((self._matrix @ unit).max()))
