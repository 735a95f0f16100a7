"""Hundreds of updates in a row: no error that grows, no memory that grows, no leak. Longer: benchmarks/endurance.py."""

from __future__ import annotations

import pytest

from benchmarks.endurance import endure
from ovstream.encode import Encoder


@pytest.mark.parametrize("window_tokens", [None, 96])
def test_a_long_life_neither_drifts_nor_grows_nor_leaks(fast: Encoder, window_tokens: int | None) -> None:
    """250 pictures of two streams in turns, never encoded whole again."""
    done = endure(fast, pictures=250, window_tokens=window_tokens)
    assert done.alike
    assert done.state_bytes[0] == done.state_bytes[1]
    assert done.process_bytes[1] - done.process_bytes[0] < 2**20
    first, *later = done.missed
    assert max(later[-2:]) < 1.5 * max(first, *later[:2])
