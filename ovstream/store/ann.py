"""Approximate indices beside files that no longer change (extra `search`)."""

from __future__ import annotations

import functools
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
_KEPT_OPEN = 64


def _find(partition: Path, kind: Kind, digest: str) -> tuple[Path, int] | None:
    """The index over the vectors of one kind and one model, and the last row that is in it."""
    for path in partition.parent.glob(f"{partition.stem}.{kind}.{digest}.*.usearch"):
        return path, int(path.suffixes[-2].removeprefix("."))
    return None


def require_index() -> None:
    """Checks that indices can be built.

    Raises:
        MissingExtraError: `usearch` is not installed.
    """
    _usearch()


def build_missing(partition: Partition) -> int:
    """Builds the indices that a file lacks; returns how many.

    Raises:
        MissingExtraError: `usearch` is not installed.
    """
    built = 0
    for kind in _KINDS:
        for digest in {one.model_digest for one in partition.models(kind)}:
            if _find(partition.path, kind, digest) is None:
                built += _build(partition, Query(kind=kind, model_digest=digest))
    return built


def search(
    partition: Partition, vector: FloatArray, k: int, query: Query
) -> tuple[int, list[tuple[float, int]]]:
    """Asks the index for the best of a whole file.

    Returns:
        The last row that the index knows, 0 where there is none; similarity and row of about the best `k` up to there.
    """
    if query.streams is not None or query.model_digest is None:
        return 0, []
    found = _find(partition.path, query.kind, query.model_digest)
    try:
        if found is None or found[1] > partition.last_id:  # of another file of that name
            return 0, []
        index = _opened(found[0], found[0].stat().st_ino)
    except MissingExtraError:
        return 0, []
    near = index.search(vector, k)
    return found[1], [(1 - float(one.distance), int(one.key)) for one in near]


@functools.lru_cache(maxsize=_KEPT_OPEN)
def _opened(path: Path, inode: int) -> Any:
    """An index, mapped into memory; finding the places of its nodes takes longer than a search."""
    index = _usearch().Index.restore(str(path), view=True)
    index.expansion_search = _EXPANSION_SEARCH  # is not kept in the file
    return index


def delete(partition: Path) -> None:
    """Removes all indices of a file."""
    for path in partition.parent.glob(f"{partition.stem}.*.usearch"):
        path.unlink(missing_ok=True)


def _build(partition: Partition, query: Query) -> bool:
    index: Any = None
    last = partition.last_id
    path = partition.path.with_suffix(f".{query.kind}.{query.model_digest}.{last}.usearch")
    parts = list(partition.candidates(query))
    if sum(len(part.ids) for part in parts) < _LEAST_ROWS:
        return False
    for part in parts:
        if index is None:
            dim = part.vectors.shape[1]
            index = _usearch().Index(ndim=dim, metric="cos", dtype="f16", expansion_search=_EXPANSION_SEARCH)
        ids = np.array(part.ids, np.uint64)
        index.add(ids[ids <= last], part.vectors[ids <= last], threads=1)
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
