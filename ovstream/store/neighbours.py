"""Thins out matches: one moment for each occasion instead of one for each picture."""

from __future__ import annotations

from collections.abc import Iterable

from ovstream.store.base import Match, Query, VectorStore
from ovstream.types import FloatArray

_MOST_ROUNDS = 6


def search_occasions(
    store: VectorStore,
    vector: FloatArray,
    *,
    k: int = 10,
    apart_seconds: float = 10.0,
    query: Query = Query(),  # noqa: B008
) -> list[Match]:
    """Finds the `k` best moments that are at least `apart_seconds` from a better one of the same stream.

    Args:
        store: Where to look.
        vector: (D,) float32.
        k: At most so many.
        apart_seconds: 0: any two moments count as two.
        query: Which moments come into question.

    Returns:
        Best first.
    """
    asked = k
    for _ in range(_MOST_ROUNDS):  # neighbours fill the list: ask for more until enough are left
        found = store.search(vector, k=asked, query=query)
        apart = thin_out(found, apart_seconds=apart_seconds)
        if len(apart) >= k or len(found) < asked:
            return apart[:k]
        asked *= 4
    return apart


def thin_out(matches: Iterable[Match], *, apart_seconds: float) -> list[Match]:
    """Drops matches that are too close to a better one of the same stream; the order stays, best first."""
    kept: list[Match] = []
    for match in matches:
        here = match.moment
        if all(
            here.stream_id != one.moment.stream_id
            or abs(here.time_ns - one.moment.time_ns) >= apart_seconds * 1e9
            for one in kept
        ):
            kept.append(match)
    return kept
