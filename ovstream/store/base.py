"""What a store keeps, what one asks it, and what any kind of store must be able to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self

import numpy as np

from ovstream.errors import ConfigError
from ovstream.types import Embedding, FloatArray, Kind

MAX_CLOCK_ERROR_NS = 3600 * 10**9  # a camera that is further off has no clock


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """One kept embedding: a stream as it looked at a time.

    Attributes:
        stream_id: Name of the stream.
        epoch: As in `Embedding`.
        seq: As in `Embedding`; with stream, epoch and kind it names the moment for ever.
        kind: "scene" or "event"; tokens are not kept.
        time_ns: UTC, Unix: capture time where the camera told it, else when it was published.
        pts_seconds: Presentation time, or None.
        reason: Why the picture was encoded, in one word.
        keep_ratio: Encoded patches / all patches.
        model_id: Name of the model.
        model_digest: Weights; vectors of different weights are never compared.
        vector: (D,) float32.
    """

    stream_id: str
    epoch: int
    seq: int
    kind: Kind
    time_ns: int
    pts_seconds: float | None
    reason: str
    keep_ratio: float
    model_id: str
    model_digest: str
    vector: FloatArray = field(repr=False)

    @classmethod
    def of(cls, embedding: Embedding) -> Self:
        """The moment of an embedding; a camera clock that is far off counts for nothing."""
        captured = embedding.capture_time_ns
        if captured is not None and abs(captured - embedding.publish_time_ns) > MAX_CLOCK_ERROR_NS:
            captured = None
        return cls(
            stream_id=embedding.stream_id,
            epoch=embedding.epoch,
            seq=embedding.seq,
            kind=embedding.kind,
            time_ns=embedding.publish_time_ns if captured is None else captured,
            pts_seconds=embedding.pts_seconds,
            reason=embedding.reason,
            keep_ratio=embedding.keep_ratio,
            model_id=embedding.model_id,
            model_digest=embedding.model_digest,
            vector=embedding.vector,
        )


@dataclass(frozen=True, slots=True)
class Query:
    """Which moments come into question.

    Attributes:
        streams: Names of streams; None: all.
        since_ns: Earliest time, UTC, Unix; None: no bound.
        until_ns: Time before which it was; None: no bound.
        kind: "scene" or "event".
        model_digest: Only vectors of these weights; None: any, for what does not compare vectors.
    """

    streams: tuple[str, ...] | None = None
    since_ns: int | None = None
    until_ns: int | None = None
    kind: Kind = "scene"
    model_digest: str | None = None

    def __post_init__(self) -> None:
        if self.kind == "tokens":
            raise ConfigError("tokens are not kept; ask for 'scene' or 'event'")


@dataclass(frozen=True, slots=True)
class Match:
    """A moment that was found.

    Attributes:
        moment: Which.
        similarity: Cosine to what was asked for, -1..1.
    """

    moment: Moment
    similarity: float


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model whose vectors a store holds: its name, and the digest of its weights."""

    model_id: str
    model_digest: str


class VectorStore(Protocol):
    """Any store: SQLite files here, or a database elsewhere."""

    def add(self, moments: Sequence[Moment]) -> int:
        """Keeps moments; those already there stay as they are. Returns how many are new."""

    def search(self, vector: FloatArray, *, k: int = 10, query: Query = ...) -> list[Match]:
        """Finds the `k` moments most like a vector, (D,) float32, the best first."""

    def moments(self, query: Query = ...) -> Iterator[Moment]:
        """Yields moments by time."""

    def nearest_in_time(self, stream_id: str, time_ns: int, *, kind: Kind = "scene") -> Moment | None:
        """The kept moment of a stream closest to a time; None when there is none."""

    def models(self, kind: Kind = "scene") -> list[StoredModel]:
        """The models that made the vectors of a kind, the one used last at the end."""

    def close(self) -> None:
        """Writes what is waiting and frees files and connections; may be called twice."""


def check_search(vector: FloatArray, k: int) -> None:
    """Checks what every search needs.

    Raises:
        ConfigError: `k` or the vector make no sense.
    """
    if k < 1 or vector.ndim != 1 or not np.isfinite(vector).all():
        raise ConfigError("a search needs k >= 1 and a finite vector")
