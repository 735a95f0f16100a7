"""Embeddings for tests of the wire and of what travels on it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ovstream.types import Embedding

COUNTERS = {
    "frames_parsed": 75,
    "frames_decoded": 3,
    "frames_encoded": 12,
    "patches_encoded": 640,
    "patches_total": 14700,
    "source_lost": 0,
    "parse_errors": 1,
    "dropped": 0,
}


def embedding(seq: int = 0, **changes: Any) -> Embedding:
    """An embedding whose vector starts with its number."""
    vector = np.zeros(8, np.float32)
    vector[0] = seq % 2048  # exact in float16
    values: dict[str, Any] = {
        "stream_id": "door",
        "epoch": 0,
        "seq": seq,
        "pts_seconds": seq / 25,
        "capture_time_ns": None,
        "publish_time_ns": 1_790_000_000_000_000_000 + seq,
        "kind": "scene",
        "vector": vector,
        "changed": np.zeros((3, 5), np.bool_),
        "action": "skip",
        "reason": "quiet",
        "keep_ratio": 0.0,
        "decoded": False,
        "drift": None,
        "staleness_frames": seq,
        "model_id": "ovstream-tiny",
        "model_digest": "0123456789abcdef",
        "trained": False,
        "counters": COUNTERS,
        "n_updated": 0,
        "flops": 0,
    }
    return Embedding(**{**values, **changes})


def example() -> Embedding:
    """The message that docs/wire-format.md takes apart."""
    changed = np.zeros((3, 5), np.bool_)
    changed[0, 1] = changed[2, 4] = True
    return embedding(
        74,
        epoch=2,
        pts_seconds=2.96,
        capture_time_ns=1_790_000_000_000_000_000,
        publish_time_ns=1_790_000_000_040_000_000,
        vector=np.array([0.5, -1.0, 0.25, 2.0], np.float32),
        changed=changed,
        action="sparse",
        reason="change",
        keep_ratio=0.125,
        decoded=True,
        drift=0.0625,
        staleness_frames=9,
        counters={"frames_parsed": 75, "frames_decoded": 3},
        n_updated=10,
        flops=120_000_000,
    )


def assert_same(left: Embedding, right: Embedding) -> None:
    """Compares all fields, arrays by value and dtype."""
    for name in Embedding.__dataclass_fields__:
        one, other = getattr(left, name), getattr(right, name)
        if isinstance(one, np.ndarray):
            assert one.dtype == other.dtype, name
            np.testing.assert_array_equal(one, other, err_msg=name)
        else:
            assert one == other, name
            assert type(one) is type(other), name
