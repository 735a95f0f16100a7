"""Decides which embeddings are worth keeping; pure, no clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ovstream.types import Embedding, FloatArray

Keep = Literal["all", "changed", "keyframe", "dense", "novel"]


@dataclass(frozen=True, slots=True)
class _Last:
    vector: FloatArray
    model_digest: str
    time_ns: int


class KeepPolicy:
    """Keeps a part of the embeddings of any number of streams.

    * "all": each.
    * "changed": those for which at least one patch was encoded.
    * "keyframe": those made at keyframes to check or renew the state, and those encoded whole.
    * "dense": those encoded whole: the first, cuts, refreshes.
    * "novel": those whose vector differs from the last one kept by more than `novelty`.

    Whatever the choice, the first of a stream and of a model is kept, and one at least every
    `at_least_every_seconds`: a quiet camera leaves a trace too. Tokens are never kept.

    Args:
        keep: See above.
        novelty: Cosine distance, 0..2.
        at_least_every_seconds: Longest pause, in the time of the embeddings; 0: no such bound.
    """

    def __init__(
        self, keep: Keep = "novel", *, novelty: float = 0.01, at_least_every_seconds: float = 60.0
    ) -> None:
        self._keep = keep
        self._novelty = novelty
        self._longest_ns = round(at_least_every_seconds * 1e9)
        self._last: dict[tuple[str, str], _Last] = {}

    def wants(self, embedding: Embedding) -> bool:
        """Tells whether to keep one, and remembers that it was."""
        if embedding.kind == "tokens":
            return False
        key = (embedding.stream_id, embedding.kind)
        last = self._last.get(key)
        wanted = last is None or self._overdue(last, embedding) or self._chosen(last, embedding)
        if wanted:
            self._last[key] = _Last(embedding.vector, embedding.model_digest, embedding.publish_time_ns)
        return wanted

    def forget(self, stream_id: str) -> None:
        """Drops what is known about a stream that is over."""
        for key in [key for key in self._last if key[0] == stream_id]:
            del self._last[key]

    def _overdue(self, last: _Last, embedding: Embedding) -> bool:
        waited_ns = embedding.publish_time_ns - last.time_ns
        return embedding.model_digest != last.model_digest or 0 < self._longest_ns <= waited_ns

    def _chosen(self, last: _Last, embedding: Embedding) -> bool:
        if self._keep == "novel":
            return _distance(last.vector, embedding.vector) > self._novelty
        match self._keep:
            case "all":
                return True
            case "changed":
                return embedding.action != "skip"
            case "keyframe":
                return embedding.action == "dense" or embedding.reason == "keyframe"
            case "dense":
                return embedding.action == "dense"


def _distance(a: FloatArray, b: FloatArray) -> float:
    """1 - cosine; vectors without length differ from all others."""
    lengths = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
    return 1.0 - float(a @ b) / lengths if lengths else float(a.any() or b.any())
