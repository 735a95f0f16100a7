"""Old tokens: probes, correction, and what they may not touch."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from ovstream.encode import Encoder, load_encoder
from ovstream.encode.drift import DriftCorrection
from ovstream.errors import ConfigError
from ovstream.model.config import PRESETS
from ovstream.types import Patches

from .pictures import GRID, SLOTS, everything, patches

STEPS = 6


@pytest.fixture(scope="module")
def plain(folder: Path) -> Encoder:
    return load_encoder(folder, mode="fast", probes=0)


def errors_of_old_tokens(encoder: Encoder, seed: int) -> float:
    """Mean error against dense passes, of tokens whose patch never changes while a part of the picture does."""
    rng = np.random.default_rng(seed)
    grid = (16, 16)
    busy = np.sort(rng.choice(256, 96, replace=False))
    current = everything(seed, grid=grid).pixels.copy()
    current *= 0.5
    state, dense = encoder.new_state(grid), encoder.new_state(grid)
    whole = np.arange(256, dtype=np.int32)
    encoder.encode_patches(state, Patches(whole, current, grid))
    found = []
    for step in range(STEPS):
        part = busy[step::3]
        # everything that moves brightens: context that all others see
        current[part] = 0.5 * rng.standard_normal(current[part].shape, np.float32) + 0.5 * step
        encoder.encode_patches(state, Patches(part.astype(np.int32), current[part], grid))
        old = np.setdiff1d(np.flatnonzero(state.ages > 0), busy)
        truth = encoder.encode_patches(dense, Patches(whole, current, grid)).tokens
        found.append(np.linalg.norm(state.tokens[old] - truth[old], axis=1).mean())
    return float(np.mean(found))


def test_probes_bring_old_tokens_nearer_to_a_dense_pass() -> None:
    ours, naive = (load_encoder(mode="fast", probes=probes) for probes in (8, 0))
    pairs = [(errors_of_old_tokens(ours, seed), errors_of_old_tokens(naive, seed)) for seed in range(4)]
    assert all(corrected < 0.9 * left for corrected, left in pairs)


def test_without_probes_nothing_but_the_given_slots_changes(plain: Encoder) -> None:
    state = plain.new_state(GRID)
    plain.encode_patches(state, everything(0))
    before = state.values.copy(), state.tokens.copy()
    output = plain.encode_patches(state, patches([3, 9], 1))
    assert (output.n_updated, output.drift) == (2, None)
    assert np.flatnonzero((state.values != before[0]).any(axis=(0, 1, 3))).tolist() == [3, 9]
    assert np.flatnonzero((state.tokens != before[1]).any(axis=1)).tolist() == [3, 9]


def test_correction_leaves_alone_what_is_new_or_dead(fast: Encoder) -> None:
    """Probes and given patches keep what the graph computed; slots that never lived stay zero."""
    state = fast.new_state(GRID)
    fast.encode_patches(state, patches(np.arange(16), 0))
    correction = DriftCorrection(PRESETS["tiny"], probes=8)
    probed = fast.choose_probes(state, np.array([2, 5]))
    old = np.setdiff1d(np.arange(16), [2, 5, *probed])
    before = state.values[:, :, old].copy()
    computed = {}
    spread = DriftCorrection.spread

    def spy(self: DriftCorrection, *args: object) -> float:
        computed["values"] = state.values.copy()
        return spread(self, *args)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DriftCorrection, "spread", spy)
        output = fast.encode_patches(state, patches([2, 5], 1))
    new = [2, 5, *probed]
    assert output.n_updated == len(new) == 10
    assert np.array_equal(state.values[:, :, new], computed["values"][:, :, new])
    assert np.array_equal(computed["values"][:, :, old], before)
    assert (state.values[-1][:, old] != before[-1]).any(axis=(0, 2)).all()
    assert not state.values[:, :, 16:].any()
    assert not state.tokens[16:].any()
    assert correction.flops(8, 256) < 0.01 * PRESETS["tiny"].flops(256, 256)


def test_drift_is_zero_after_a_dense_pass_and_then_grows(fast: Encoder, exact: Encoder) -> None:
    state = fast.new_state(GRID)
    found = [fast.encode_patches(state, everything(0)).drift]
    found += [fast.encode_patches(state, patches([seed], seed)).drift for seed in (1, 2, 3)]
    nothing = fast.encode_patches(state, patches([], 0))
    assert nothing.drift == found[-1]
    assert nothing.staleness == 3  # the patch and the probes of three calls were all 24 slots
    assert found[0] == 0
    assert all(b is not None and a is not None and b > a for a, b in pairwise(found))
    assert fast.encode_patches(state, everything(4)).drift == 0
    other = exact.new_state(GRID)
    exact.encode_patches(other, everything(0))
    assert exact.encode_patches(other, patches([1], 1)).drift is None


def test_every_slot_is_probed_in_turn(fast: Encoder) -> None:
    state = fast.new_state(GRID)
    fast.encode_patches(state, everything(0))
    seen: set[int] = set()
    for _ in range(-(-(SLOTS - 1) // 8)):
        seen |= set(fast.choose_probes(state, np.array([7])).tolist())
        fast.encode_patches(state, patches([7], 1))
    assert seen == set(range(SLOTS)) - {7}


def test_probes_bring_small_changes_along(fast: Encoder) -> None:
    picture = everything(0)
    state = fast.new_state(GRID)
    fast.encode_patches(state, picture)
    chosen = fast.choose_probes(state, np.array([7]))
    dimmer = Patches(chosen, 0.99 * picture.pixels[chosen], GRID)
    output = fast.encode_patches(state, patches([7], 1), probes=dimmer)
    assert np.array_equal(state.reference[chosen], dimmer.pixels.reshape(len(chosen), -1))
    assert output.event is not None
    assert np.array_equal(output.event, state.tokens[7])  # probes are no event


def test_wrong_probes_change_nothing(fast: Encoder) -> None:
    state = fast.new_state(GRID)
    fast.encode_patches(state, patches(np.arange(12), 0))
    before = state.snapshot()
    for wrong in ([7], [15]):  # among the patches; never encoded
        with pytest.raises(ConfigError, match="probe"):
            fast.encode_patches(state, patches([7], 1), probes=patches(wrong, 2))
    assert state.snapshot() == before


def test_only_mode_fast_has_probes(exact: Encoder, dense: Encoder, folder: Path) -> None:
    for encoder in (exact, dense):
        state = encoder.new_state(GRID)
        encoder.encode_patches(state, everything(0))
        assert encoder.choose_probes(state, np.array([1])).size == 0
    with pytest.raises(ConfigError, match="probes is -1"):
        load_encoder(folder, probes=-1)


def test_correction_grows_with_the_root_of_age() -> None:
    """What keeps errors from feeding on each other: young tokens have had no time to drift."""
    encoder = load_encoder(mode="fast")
    correction = DriftCorrection(PRESETS["tiny"], probes=8)
    grid = (8, 8)
    state = encoder.new_state(grid)
    encoder.encode_patches(state, everything(0, grid=grid))
    probed = np.arange(0, 64, 8)
    state.ages[:] = np.arange(64) % 8 + 1
    state.ages[probed] = 3
    state.tokens[:] = state.tokens[0]  # all alike, so that age alone decides
    before = correction.read(state, probed)
    values = state.values.copy()
    state.values[:, :, probed] += 1  # as if the call had found this
    state.ages[probed] = 0
    correction.spread(state, before)
    moved = (state.values - values)[-1, 0, :, 0]
    np.testing.assert_allclose(moved[probed], 1, rtol=1e-6)  # the difference of two float32
    expected = np.sqrt(np.minimum(state.ages / 4, 1)) * moved[3]  # slot 3 is as old as the probes were
    others = np.setdiff1d(np.arange(64), probed)
    assert np.allclose(moved[others], expected[others], rtol=1e-3)
    assert 0.5 < moved[3] <= 1
    assert np.array_equal(state.values[:3, :, others], values[:3, :, others])  # layers near the pixels
