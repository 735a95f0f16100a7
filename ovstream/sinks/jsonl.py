"""Writes embeddings as lines of JSON."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np

from ovstream.errors import ConfigError
from ovstream.sinks.base import Sink
from ovstream.types import Embedding, FloatArray, SinkCounts

VectorFormat = Literal["base64", "list"]


class JsonlSink(Sink):
    """Appends one JSON object per embedding to a file, each line written out at once.

    The keys are the fields of `Embedding`; `changed` holds flat patch numbers beside `grid`.

    Args:
        path: File to append to; its folder must exist.
        vectors: "base64": little-endian float16, row by row, with its shape under `vector_shape`, small;
            "list": numbers.

    Raises:
        ConfigError: The file cannot be opened, or `vectors` is neither.
    """

    def __init__(self, path: str | Path, *, vectors: VectorFormat = "base64") -> None:
        if vectors not in get_args(VectorFormat):
            raise ConfigError(f"vectors={vectors!r}; choose {', '.join(map(repr, get_args(VectorFormat)))}")
        self._vectors = vectors
        self._sent = 0
        try:
            self._file = Path(path).open("a", encoding="utf-8", buffering=1)  # noqa: SIM115 - closed by close()
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror}") from None

    def publish(self, embedding: Embedding) -> None:
        """Appends one line."""
        self._file.write(as_json(embedding, vectors=self._vectors) + "\n")
        self._sent += 1

    @property
    def counts(self) -> SinkCounts:
        """Lines written."""
        return SinkCounts(sent=self._sent)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def as_json(embedding: Embedding, *, vectors: VectorFormat) -> str:
    """One line for programs; see `JsonlSink` for the keys and `vectors`."""
    record = {
        "stream_id": embedding.stream_id,
        "epoch": embedding.epoch,
        "seq": embedding.seq,
        "pts_seconds": embedding.pts_seconds,
        "capture_time_ns": embedding.capture_time_ns,
        "publish_time_ns": embedding.publish_time_ns,
        "kind": embedding.kind,
        "action": embedding.action,
        "reason": embedding.reason,
        "grid": embedding.grid,
        "changed": np.flatnonzero(embedding.changed).tolist(),
        "keep_ratio": embedding.keep_ratio,
        "decoded": embedding.decoded,
        "drift": embedding.drift,
        "staleness_frames": embedding.staleness_frames,
        "n_updated": embedding.n_updated,
        "flops": embedding.flops,
        "model_id": embedding.model_id,
        "model_digest": embedding.model_digest,
        "trained": embedding.trained,
        "counters": embedding.counters,
        "vector_shape": embedding.vector.shape,
        "vector": _vector(embedding.vector, vectors),
    }
    return json.dumps(record, allow_nan=False, separators=(",", ":"))


def _vector(vector: FloatArray, form: VectorFormat) -> str | list[Any]:
    if form == "list":
        numbers: list[Any] = vector.tolist()
        return numbers
    return base64.b64encode(vector.astype("<f2").tobytes()).decode("ascii")
