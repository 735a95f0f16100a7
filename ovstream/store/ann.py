"""Approximate indices beside files that no longer change (extra `search`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ovstream.errors import MissingExtraError
from ovstream.store.base import Query
from ovstream.types import FloatArray, Kind

if TYPE_CHECKING:
    from ovstream.store.partition import Partition

_KINDS: tuple[Kind, ...] = ("scene", "event")
_LEAST_ROWS = 2048  # below, comparing with each is as fast
_EXPANSION_SEARCH = 128


def index_path(partition: Path, kind: Kind, digest: str) -> Path:
    """Where the index over the vectors of one kind and one model lies."""
    return partition.with_suffix(f".{kind}.{digest}.usearch")


def require_index() -> None:
    """Checks that indices can be built.

    Raises:
        MissingExtraError: `usearch` is not installed.
    """
    _usearch()


def available(partition: Path, query: Query) -> bool:
    """Whether an index can answer a query about a whole file."""
    if query.streams is not None or query.model_digest is None:
        return False
    if not index_path(partition, query.kind, query.model_digest).exists():
        return False
    try:
        _usearch()
    except MissingExtraError:
        return False
    return True


def build_missing(partition: Partition) -> int:
    """Builds the indices that a file lacks; returns how many.

    Raises:
        MissingExtraError: `usearch` is not installed.
    """
    built = 0
    for kind in _KINDS:
        for digest in {one.model_digest for one in partition.models(kind)}:
            path = index_path(partition.path, kind, digest)
            if not path.exists():
                built += _build(partition, Query(kind=kind, model_digest=digest), path)
    return built


def search(partition: Partition, vector: FloatArray, k: int, query: Query) -> list[tuple[float, int]]:
    """Similarity and row number of about the best `k` vectors of a file."""
    assert query.model_digest is not None
    path = index_path(partition.path, query.kind, query.model_digest)
    index = _usearch().Index.restore(str(path), view=True)
    found = index.search(vector, k)
    return [(1 - float(one.distance), int(one.key)) for one in found]


def delete(partition: Path) -> None:
    """Removes all indices of a file."""
    for path in partition.parent.glob(f"{partition.stem}.*.usearch"):
        path.unlink(missing_ok=True)


def _build(partition: Partition, query: Query, path: Path) -> bool:
    index: Any = None
    parts = list(partition.candidates(query))
    if sum(len(part.ids) for part in parts) < _LEAST_ROWS:
        return False
    for part in parts:
        if index is None:
            dim = part.vectors.shape[1]
            index = _usearch().Index(ndim=dim, metric="cos", dtype="f16", expansion_search=_EXPANSION_SEARCH)
        index.add(np.array(part.ids, np.uint64), part.vectors, threads=1)
    unfinished = path.with_suffix(".unfinished")
    index.save(str(unfinished))
    unfinished.rename(path)  # whole or not at all
    return True


def _usearch() -> Any:
    try:
        import usearch.index
    except ImportError:
        raise MissingExtraError("usearch", extra="search") from None
    return usearch.index
