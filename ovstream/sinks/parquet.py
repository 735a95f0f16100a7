"""Writes embeddings into Parquet files."""

from __future__ import annotations

import base64
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from ovstream.errors import ConfigError, MissingExtraError
from ovstream.sinks.delivering import AwayError, DeliveringSink, Delivery
from ovstream.sinks.spool import Parcel

if TYPE_CHECKING:
    import pyarrow


class ParquetSink(DeliveringSink):
    """Fills a folder with Parquet files; each appears under its name when it is whole.

    Embeddings wait in the spool until a file is full or `rotate_seconds` are over, so a crash loses none and
    leaves no half file. Files are named by the publishing time of their first embedding, and never deleted.

    Args:
        path: Folder; made when missing.
        spool: File that holds what is not in a Parquet file yet; not in `path`.
        rows: Most embeddings of a file.
        rotate_seconds: Longest wait for a file to fill.
        **delivery: See `Delivery`.

    Raises:
        MissingExtraError: Without the package `pyarrow`.
        ConfigError: The folder cannot be made.
    """

    def __init__(
        self,
        path: Path,
        *,
        spool: Path,
        rows: int = 10_000,
        rotate_seconds: float = 300.0,
        **delivery: Unpack[Delivery],
    ) -> None:
        try:
            import pyarrow.parquet  # noqa: F401 - told at the start, not at the first file
        except ImportError:
            raise MissingExtraError("pyarrow", extra="sinks") from None
        self._path = Path(path)
        try:
            self._path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot make {path}: {error.strerror}") from None
        super().__init__(
            name=f"parquet {path}",
            spool=spool,
            batch=rows,
            linger_seconds=rotate_seconds,
            **delivery,
        )

    def deliver(self, parcels: list[Parcel]) -> None:
        """Writes one file. Tried again after a crash it has the same name, so no embedding is there twice."""
        import pyarrow.parquet

        rows = [_row(one.payload) for one in parcels]
        started = datetime.fromtimestamp(rows[0]["publish_time_ns"] // 10**9, UTC)
        whole = self._path / f"{started:%Y%m%dT%H%M%SZ}-{parcels[0].number:012}.parquet"
        partial = whole.with_suffix(".partial")
        try:
            with partial.open("wb") as file:
                table = pyarrow.Table.from_pylist(rows, schema=_schema())
                pyarrow.parquet.write_table(table, file, compression="zstd")
                file.flush()
                os.fsync(file.fileno())
            partial.replace(whole)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise AwayError(str(error)) from None


def _row(payload: str) -> dict[str, Any]:
    """One embedding, its vector as float16 numbers, row by row, and its counters as JSON."""
    record: dict[str, Any] = json.loads(payload)
    record["vector"] = np.frombuffer(base64.b64decode(record["vector"]), "<f2")
    record["counters"] = json.dumps(record["counters"])
    return record


def _schema() -> pyarrow.Schema:
    import pyarrow as pa

    return pa.schema(
        {
            "stream_id": pa.string(),
            "epoch": pa.int64(),
            "seq": pa.int64(),
            "pts_seconds": pa.float64(),
            "capture_time_ns": pa.int64(),
            "publish_time_ns": pa.int64(),
            "kind": pa.string(),
            "action": pa.string(),
            "reason": pa.string(),
            "grid": pa.list_(pa.int32()),
            "changed": pa.list_(pa.int32()),
            "keep_ratio": pa.float64(),
            "decoded": pa.bool_(),
            "drift": pa.float64(),
            "staleness_frames": pa.int64(),
            "n_updated": pa.int64(),
            "flops": pa.int64(),
            "model_id": pa.string(),
            "model_digest": pa.string(),
            "trained": pa.bool_(),
            "counters": pa.string(),
            "vector_shape": pa.list_(pa.int32()),
            "vector": pa.list_(pa.float16()),
        }
    )
