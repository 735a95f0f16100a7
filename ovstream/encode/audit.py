"""Compares what is published with what a dense pass would have given, now and then."""

from __future__ import annotations

import numpy as np

from ovstream.types import FloatArray


class Audit:
    """Clock and judge of the audits of a stream.

    An audit encodes a picture twice: sparsely, as any other, then whole. The second result replaces the first, so its
    cost buys a refresh as well.

    Args:
        every_seconds: Between audits, in the time of the stream; 0: never.
        min_fidelity: Least cosine of the two results.
    """

    def __init__(self, *, every_seconds: float, min_fidelity: float) -> None:
        self._every_seconds = every_seconds
        self._min_fidelity = min_fidelity
        self._last_seconds: float | None = None

    def due(self, now_seconds: float | None) -> bool:
        """Tells whether the next sparse picture is to be audited; the first call starts the wait.

        Args:
            now_seconds: Presentation time; None where the source has none: then there are no audits.
        """
        if not self._every_seconds or now_seconds is None:
            return False
        if self._last_seconds is None or now_seconds < self._last_seconds:  # started, or started again
            self._last_seconds = now_seconds
        return now_seconds - self._last_seconds >= self._every_seconds

    def judge(self, sparse: FloatArray, whole: FloatArray, now_seconds: float | None) -> tuple[float, bool]:
        """Ends an audit.

        Args:
            sparse: (D,) float32, scene as published otherwise.
            whole: (D,) float32, scene of the dense pass.
            now_seconds: As in `due`; the next wait starts here.

        Returns:
            Their cosine, and whether it is high enough.
        """
        self._last_seconds = now_seconds
        lengths = float(np.linalg.norm(sparse)) * float(np.linalg.norm(whole))
        cosine = float(sparse @ whole) / max(lengths, 1e-30)
        return cosine, cosine >= self._min_fidelity
