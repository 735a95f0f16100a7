"""Moments for tests of stores."""

from __future__ import annotations

from typing import Any

import numpy as np

from ovstream.store import Moment

START_NS = 1_790_000_000 * 10**9
SECOND_NS = 10**9


def moment(seq: int = 0, **changes: Any) -> Moment:
    """A moment a second after the one before, with a vector of its own."""
    values: dict[str, Any] = {
        "stream_id": "door",
        "epoch": 1,
        "seq": seq,
        "kind": "scene",
        "time_ns": START_NS + seq * SECOND_NS,
        "pts_seconds": float(seq),
        "reason": "change",
        "keep_ratio": 0.125,
        "model_id": "small",
        "model_digest": "d" * 16,
        "vector": np.random.default_rng(seq).standard_normal(8).astype(np.float16).astype(np.float32),
    }
    return Moment(**{**values, **changes})
