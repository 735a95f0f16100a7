"""A store in a Qdrant server, or in a folder by Qdrant's own local mode (extra `qdrant`)."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self

import numpy as np

from ovstream.errors import ConfigError, MissingExtraError, StoreError
from ovstream.store.base import Match, Moment, Query, StoredModel, check_search
from ovstream.types import FloatArray, Kind

_PAGE = 1024
_SPACE = uuid.UUID(
    "6f0c5b0a-3c53-4f27-9d70-2f5f6f767374"
)  # names points by what they are: the same moment, once
_FIELDS = (
    "stream_id", "epoch", "seq", "kind", "time_ns", "pts_seconds", "reason", "keep_ratio", "model_id", "model_digest",
)  # fmt: skip


class QdrantStore:
    """Keeps moments in collections of Qdrant, one per kind and model.

    A moment that comes again is known by stream, kind, epoch and number, and kept once. Retention is the server's.

    Args:
        url: Of a server, for example `https://qdrant.example:6333`.
        path: Folder of the local mode, instead of a server: for trying out and for some ten thousand moments.
        collection: Beginning of the names of the collections.
        api_key: Of the server.
        timeout_seconds: Of each request.

    Raises:
        MissingExtraError: `qdrant-client` is not installed.
        ConfigError: Neither a server nor a folder is named, or both are.
        StoreError: It cannot be reached, or the folder cannot be used.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        path: str | None = None,
        collection: str = "ovstream",
        api_key: str | None = None,
        timeout_seconds: float = 10.0,
    ) -> None:
        if (url is None) == (path is None):
            raise ConfigError("a Qdrant store needs a url or a path")
        try:
            import qdrant_client
        except ImportError:
            raise MissingExtraError("qdrant_client", extra="qdrant") from None
        self._models = qdrant_client.models
        self._collection = collection
        self._local = path is not None
        self._closed = False
        with _trouble():
            if path is not None:
                self._client = qdrant_client.QdrantClient(path=path, force_disable_check_same_thread=True)
            else:
                self._client = qdrant_client.QdrantClient(
                    url=url,
                    api_key=api_key,
                    timeout=max(1, round(timeout_seconds)),
                    check_compatibility=False,  # it would ask in a thread of its own
                )
            self._known = set(self._names())

    def add(self, moments: Sequence[Moment]) -> int:
        """Keeps moments; those already there stay as they are. Returns how many are new.

        Raises:
            StoreError: The server cannot be reached or refuses; some may have been kept: give all of them again.
        """
        added = 0
        groups: dict[str, dict[str, Moment]] = {}
        for one in moments:
            groups.setdefault(self._name(one.kind, one.model_digest), {})[_identity(one)] = one
        with _trouble():
            for name, group in groups.items():
                self._prepare(name, next(iter(group.values())).vector.size)
                there = self._client.retrieve(name, list(group), with_payload=False)
                for old in there:
                    del group[str(old.id)]
                if group:
                    self._client.upsert(
                        name, [self._point(key, one) for key, one in group.items()], wait=True
                    )
                added += len(group)
        return added

    def search(self, vector: FloatArray, *, k: int = 10, query: Query = Query()) -> list[Match]:  # noqa: B008
        """Finds the moments most like a vector; see `SqliteStore.search`."""
        check_search(vector, k)
        found: list[Match] = []
        with _trouble():
            for name in self._asked(query):
                answer = self._client.query_points(
                    name,
                    query=vector.tolist(),
                    query_filter=self._filter(query),
                    limit=k,
                    with_payload=True,
                    with_vectors=True,
                )
                found += [
                    Match(_moment(one), float(one.score)) for one in answer.points if _within(one, query)
                ]
        return sorted(found, key=lambda one: -one.similarity)[:k]

    def moments(self, query: Query = Query()) -> Iterator[Moment]:  # noqa: B008
        """Yields moments by time."""
        places: list[tuple[int, str, int, str, Any]] = []
        with _trouble():
            for name in self._asked(query):
                for one in self._scroll(name, query):
                    told = one.payload
                    if _within(one, query):
                        places.append((told["time_ns"], told["stream_id"], told["seq"], name, one.id))
        places.sort(key=lambda place: place[:3])
        for first in range(0, len(places), _PAGE):
            page = places[first : first + _PAGE]
            moments: dict[tuple[str, str], Moment] = {}
            with _trouble():
                for name in {place[3] for place in page}:
                    keys = [place[4] for place in page if place[3] == name]
                    for one in self._client.retrieve(name, keys, with_payload=True, with_vectors=True):
                        moments[name, str(one.id)] = _moment(one)
            yield from (moments[place[3], str(place[4])] for place in page)

    def nearest_in_time(self, stream_id: str, time_ns: int, *, kind: Kind = "scene") -> Moment | None:
        """The kept moment of a stream closest to a time; None when there is none."""
        found: list[Moment] = []
        before = Query((stream_id,), until_ns=time_ns + 1, kind=kind)
        after = Query((stream_id,), since_ns=time_ns, kind=kind)
        with _trouble():
            for query, direction in ((before, "desc"), (after, "asc")):
                for name in self._asked(query):
                    order = self._models.OrderBy(key="time_us", direction=self._models.Direction(direction))
                    points, _ = self._client.scroll(
                        name,
                        self._filter(query),
                        limit=1,
                        order_by=order,
                        with_payload=True,
                        with_vectors=True,
                    )
                    found += [_moment(one) for one in points]
        return min(found, key=lambda one: abs(one.time_ns - time_ns), default=None)

    def models(self, kind: Kind = "scene") -> list[StoredModel]:
        """The models that made the vectors of a kind, the one used last at the end."""
        found: list[tuple[int, StoredModel]] = []
        with _trouble():
            for name in self._asked(Query(kind=kind)):
                order = self._models.OrderBy(key="time_us", direction=self._models.Direction.DESC)
                points, _ = self._client.scroll(name, limit=1, order_by=order, with_payload=True)
                for one in points:
                    told = one.payload
                    found.append((told["time_ns"], StoredModel(told["model_id"], told["model_digest"])))
        return [model for _, model in sorted(found, key=lambda one: one[0])]

    def close(self) -> None:
        """Ends the connection; may be called twice."""
        if not self._closed:
            self._closed = True
            self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _names(self) -> list[str]:
        return [one.name for one in self._client.get_collections().collections]

    def _name(self, kind: Kind, digest: str) -> str:
        return f"{self._collection}-{kind}-{digest}"

    def _asked(self, query: Query) -> list[str]:
        """Collections that may hold what a query asks for."""
        self._known = set(self._names())
        begin = self._name(query.kind, query.model_digest or "")
        exact = query.model_digest is not None
        return sorted(name for name in self._known if (name == begin if exact else name.startswith(begin)))

    def _prepare(self, name: str, dim: int) -> None:
        if name in self._known:
            return
        models = self._models
        if not self._client.collection_exists(name):
            params = models.VectorParams(
                size=dim, distance=models.Distance.COSINE, datatype=models.Datatype.FLOAT16
            )
            self._client.create_collection(name, vectors_config=params)
            if not self._local:  # which has no use for them and says so
                self._client.create_payload_index(name, "time_us", models.PayloadSchemaType.INTEGER)
                self._client.create_payload_index(name, "stream_id", models.PayloadSchemaType.KEYWORD)
        self._known.add(name)

    def _point(self, key: str, one: Moment) -> Any:
        told = {name: getattr(one, name) for name in _FIELDS}
        told["time_us"] = one.time_ns // 1000  # Qdrant compares as float64, which nanoseconds do not fit
        told["length"] = float(np.linalg.norm(one.vector))  # Qdrant keeps directions
        return self._models.PointStruct(id=key, vector=one.vector.tolist(), payload=told)

    def _filter(self, query: Query) -> Any:
        models = self._models
        must: list[Any] = []
        if query.streams is not None:
            must.append(
                models.FieldCondition(key="stream_id", match=models.MatchAny(any=list(query.streams)))
            )
        if query.since_ns is not None or query.until_ns is not None:
            must.append(
                models.FieldCondition(
                    key="time_us",
                    range=models.Range(
                        gte=None if query.since_ns is None else query.since_ns // 1000,
                        lte=None if query.until_ns is None else (query.until_ns - 1) // 1000,
                    ),
                )
            )
        return models.Filter(must=must) if must else None

    def _scroll(self, name: str, query: Query) -> Iterable[Any]:
        offset: Any = None
        while True:
            points, offset = self._client.scroll(
                name,
                self._filter(query),
                limit=_PAGE,
                offset=offset,
                with_payload=["time_ns", "stream_id", "seq"],
            )
            yield from points
            if offset is None:
                return


class _trouble:  # noqa: N801
    """Turns whatever the client raises into a `StoreError`; it has many kinds, and none in common."""

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, (StoreError, ConfigError)):
            raise StoreError(f"Qdrant: {str(error).strip() or type(error).__name__}") from error


def _identity(one: Moment) -> str:
    return str(uuid.uuid5(_SPACE, f"{one.stream_id}/{one.kind}/{one.epoch}/{one.seq}"))


def _within(point: Any, query: Query) -> bool:
    """Whether the times of a query admit a point to the nanosecond; the server goes by microseconds."""
    time_ns = point.payload["time_ns"]
    return (query.since_ns is None or time_ns >= query.since_ns) and (
        query.until_ns is None or time_ns < query.until_ns
    )


def _moment(point: Any) -> Moment:
    told = point.payload
    vector = np.asarray(point.vector, np.float32)  # a direction, or as it was, by what keeps it
    vector *= np.float32(told["length"] / max(float(np.linalg.norm(vector)), 1e-30))
    return Moment(**{name: told[name] for name in _FIELDS}, vector=vector)
