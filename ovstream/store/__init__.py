"""Keeps embeddings on disk, and finds the moments that resemble one."""

from ovstream.store.base import Match, Moment, Query, VectorStore
from ovstream.store.keeping import Keep, KeepPolicy
from ovstream.store.sqlite import SqliteStore, open_store

__all__ = ["Keep", "KeepPolicy", "Match", "Moment", "Query", "SqliteStore", "VectorStore", "open_store"]
