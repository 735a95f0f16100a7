"""Keeps embeddings on disk, and finds the moments that resemble one."""

from ovstream.store.ann import require_index
from ovstream.store.base import Match, Moment, Query, StoredModel, VectorStore
from ovstream.store.keeping import Keep, KeepPolicy
from ovstream.store.neighbours import search_occasions, thin_out
from ovstream.store.sqlite import SqliteStore, open_store

__all__ = [
    "Keep",
    "KeepPolicy",
    "Match",
    "Moment",
    "Query",
    "SqliteStore",
    "StoredModel",
    "VectorStore",
    "open_store",
    "require_index",
    "search_occasions",
    "thin_out",
]
