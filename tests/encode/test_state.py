"""The memory of one stream."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest

from ovstream.encode import Encoder, load_encoder
from ovstream.errors import ConfigError, ModelError
from ovstream.types import Patches

from .pictures import GRID, SLOTS, everything, patches


@pytest.mark.parametrize("mode", ["exact", "fast", "dense"])
def test_a_restored_snapshot_goes_on_bit_for_bit(mode: str, folder: Path) -> None:
    encoder, elsewhere = load_encoder(folder, mode=mode), load_encoder(folder, mode=mode)
    state, successor = encoder.new_state(GRID), elsewhere.new_state(GRID)
    encoder.encode_patches(state, everything(0))
    encoder.encode_patches(state, patches([4, 5], 1))
    successor.restore(state.snapshot())
    assert successor.output is not None
    assert np.array_equal(successor.output.scene, state.scene)
    for memory, owner in ((state, encoder), (successor, elsewhere)):
        owner.encode_patches(memory, patches([5, 9], 2))
    assert successor.snapshot() == state.snapshot()


def test_foreign_or_damaged_snapshots_are_refused(exact: Encoder) -> None:
    state = exact.new_state(GRID)
    exact.encode_patches(state, everything(0))
    before = state.snapshot()
    turned = exact.new_state((GRID[1], GRID[0])).snapshot()
    for wrong in (b"", before[:-1], before + b"\0", turned, before.replace(b"ovstate1", b"ovstate0")):
        with pytest.raises(ModelError, match="snapshot"):
            state.restore(wrong)
    assert state.snapshot() == before


def test_change_is_measured_against_what_was_encoded(exact: Encoder) -> None:
    """A slow fade: every step is small, their sum is not."""
    state = exact.new_state(GRID)
    start = everything(0)
    exact.encode_patches(state, start)
    noticed = [
        bool(state.changed(Patches(start.indices, start.pixels + 0.02 * step, GRID), 0.1).any())
        for step in range(8)
    ]
    assert noticed == [False] * 6 + [True] * 2  # RMS 0.02 * step > 0.1 from step 6 on


def test_change_comes_in_the_order_of_the_patches(exact: Encoder) -> None:
    state = exact.new_state(GRID)
    exact.encode_patches(state, patches([1, 2, 3], 0))
    known = patches([1, 2, 3], 0)
    pixels = known.pixels[[2, 0, 1, 1]].copy()
    pixels[1] += 1
    assert state.changed(Patches(np.array([3, 1, 2, 7], np.int32), pixels, GRID), 0.5).tolist() == [
        False,
        True,
        False,
        True,  # never encoded
    ]


def test_ages_count_calls(exact: Encoder) -> None:
    state = exact.new_state(GRID)
    exact.encode_patches(state, everything(0))
    exact.encode_patches(state, patches([4], 1))
    exact.encode_patches(state, patches([], 1))
    assert state.ages[4] == 1
    assert np.all(np.delete(state.ages, 4) == 2)


def test_memory_is_stated_and_does_not_grow(exact: Encoder) -> None:
    state = exact.new_state(GRID)
    exact.encode_patches(state, everything(0))
    before = state.memory_bytes
    address = state.keys.ctypes.data
    for seed in range(5):
        exact.encode_patches(state, patches([seed, seed + 9], seed))
    assert (state.memory_bytes, state.keys.ctypes.data) == (before, address)
    caches = 4 * SLOTS * 64 * (2 * 3 + 2 + 1)
    assert caches + 4 * SLOTS * 588 <= before < caches + 4 * SLOTS * 588 + 4096
    assert len(state.snapshot()) < before + 64


def test_a_state_is_freed_with_its_last_user(exact: Encoder) -> None:
    state = exact.new_state(GRID)
    exact.encode_patches(state, everything(0))
    gone = weakref.ref(state)
    del state
    gc.collect()
    assert gone() is None


def test_tokens_must_be_read_before_the_next_call(exact: Encoder) -> None:
    state = exact.new_state(GRID)
    first = exact.encode_patches(state, everything(0))
    kept = first.tokens
    second = exact.encode_patches(state, patches([4], 1))
    assert not np.array_equal(kept[4], second.tokens[4])
    assert np.array_equal(kept[5], second.tokens[5])
    with pytest.raises(ConfigError, match="gone"):
        _ = first.tokens


def test_scenes_of_the_past_stay(exact: Encoder) -> None:
    state = exact.new_state(GRID)
    first = exact.encode_patches(state, everything(0))
    kept = first.scene.copy()
    exact.encode_patches(state, everything(1))
    assert np.array_equal(first.scene, kept)
    with pytest.raises(ValueError, match="read-only"):
        first.scene[0] = 0


@pytest.mark.parametrize(
    ("pixels", "positions", "message"),
    [
        ((2, 3, 14, 14), [(0, 0, 0), (0, 0, 0)], "share a slot"),
        ((2, 3, 14, 14), [(0, 0, 0), (1, 0, 0)], "share a slot"),
        ((1, 3, 14, 14), [(0, 4, 0)], "inside"),
        ((1, 3, 14, 14), [(0, 0, -1)], "inside"),
        ((1, 3, 14, 14), [(64, 0, 0)], "inside"),
        ((1, 3, 16, 16), [(0, 0, 0)], "588"),
        ((2, 3, 14, 14), [(0, 0, 0)], "position"),
        ((1, 3, 14, 14), None, "positions"),
    ],
)
def test_wrong_arguments_change_nothing(
    exact: Encoder, pixels: tuple[int, ...], positions: list[tuple[int, int, int]] | None, message: str
) -> None:
    state = exact.new_state(GRID)
    exact.encode_patches(state, everything(0))
    before = state.snapshot()
    where = None if positions is None else np.array(positions)
    with pytest.raises(ConfigError, match=message):
        exact.encode_patches(state, np.zeros(pixels, np.float32), where)
    assert state.snapshot() == before


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_never_enter_the_caches(exact: Encoder, value: float) -> None:
    state = exact.new_state(GRID)
    exact.encode_patches(state, everything(0))
    before = state.snapshot()
    bad = patches([3, 4], 1)
    bad.pixels[1, 0, 0, 0] = value
    with pytest.raises(ConfigError, match="NaN"):
        exact.encode_patches(state, bad)
    assert state.snapshot() == before


def test_states_belong_to_their_encoder_and_grid(exact: Encoder, fast: Encoder) -> None:
    state = exact.new_state(GRID)
    with pytest.raises(ConfigError, match="another encoder"):
        fast.encode_patches(state, everything(0))
    with pytest.raises(ConfigError, match="grid"):
        exact.encode_patches(state, everything(0, grid=(6, 4)))
    with pytest.raises(ConfigError, match="empty"):
        exact.encode_patches(state, patches([], 0))
    for grid in ((0, 4), (40, 40)):
        with pytest.raises(ConfigError, match="1024"):
            exact.new_state(grid)
