"""Keeps the embeddings worth keeping in a Qdrant server or in LanceDB tables."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from ovstream.errors import ConfigError
from ovstream.sinks.delivering import check_private
from ovstream.sinks.store import VectorStoreSink
from ovstream.store import Keep, KeepPolicy
from ovstream.store.lance import LanceStore
from ovstream.store.qdrant import QdrantStore


class QdrantSink(VectorStoreSink):
    """Keeps embeddings in collections of a Qdrant server, one per kind and model.

    Args:
        url: `https://` or `http://` with port; None: `path`.
        path: Folder of Qdrant's local mode, instead of a server.
        collection: Beginning of the names of the collections.
        api_key: Of the server; a secret.
        timeout_seconds: Of each request.
        keep: "all", "changed", "keyframe", "dense" or "novel": see `ovstream.store.KeepPolicy`.
        novelty: Cosine distance above which "novel" keeps.
        at_least_every_seconds: Longest pause between two that are kept of a stream.
        max_waiting: Most moments in memory while the server is away.
        allow_insecure: Send the key in the clear to other hosts.

    Raises:
        MissingExtraError: Without the package `qdrant-client`.
        ConfigError: The key would be sent in the clear.
        StoreError: The server does not answer.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        path: Path | None = None,
        collection: str = "ovstream",
        api_key: SecretStr | None = None,
        timeout_seconds: float = 10.0,
        keep: Keep = "novel",
        novelty: float = 0.01,
        at_least_every_seconds: float = 60.0,
        max_waiting: int = 10_000,
        allow_insecure: bool = False,
    ) -> None:
        if url is not None:
            host = urlsplit(url)
            if host.scheme not in ("http", "https"):
                raise ConfigError("url: must start with https:// or http://")
            check_private(
                host.hostname,
                encrypted=host.scheme == "https",
                secret=api_key is not None,
                allow_insecure=allow_insecure,
            )
        store = QdrantStore(
            url,
            path=None if path is None else str(path),
            collection=collection,
            api_key=None if api_key is None else api_key.get_secret_value(),
            timeout_seconds=timeout_seconds,
        )
        policy = KeepPolicy(keep, novelty=novelty, at_least_every_seconds=at_least_every_seconds)
        super().__init__(store, policy=policy, max_waiting=max_waiting)


class LanceSink(VectorStoreSink):
    """Keeps embeddings in a folder of LanceDB tables, one per kind and model.

    Args:
        path: Folder, made when missing.
        keep: "all", "changed", "keyframe", "dense" or "novel": see `ovstream.store.KeepPolicy`.
        novelty: Cosine distance above which "novel" keeps.
        at_least_every_seconds: Longest pause between two that are kept of a stream.
        max_waiting: Most moments in memory while the disk refuses.

    Raises:
        MissingExtraError: Without the package `lancedb`.
        StoreError: The folder cannot be used.
    """

    def __init__(
        self,
        path: Path,
        *,
        keep: Keep = "novel",
        novelty: float = 0.01,
        at_least_every_seconds: float = 60.0,
        max_waiting: int = 10_000,
    ) -> None:
        policy = KeepPolicy(keep, novelty=novelty, at_least_every_seconds=at_least_every_seconds)
        super().__init__(LanceStore(path), policy=policy, max_waiting=max_waiting)
