"""Window mode: patches of several pictures, each with its time, and what dies when slots run out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from ovstream.encode import Encoder, EncoderState, load_encoder
from ovstream.errors import ConfigError, ModelError
from ovstream.model import OneVisionEncoder
from ovstream.types import FloatArray, Patches

from .pictures import GRID, SLOTS, everything, patches

ROOM = 30
UPDATES = [[3, 4, 9], [4, 20], [0, 1, 2, 3, 23], [9], [4], [4, 5], [4, 3, 9, 20, 21]]


@dataclass(slots=True)
class Version:
    """A patch as it was at a time."""

    place: int
    t: int
    pixels: FloatArray


class Memory:
    """What a window must hold, said again: a list in order of time, from which the oldest followed patches go."""

    def __init__(self) -> None:
        self.all: list[Version] = []
        self.sees: list[list[int]] = []  # of each version: those alive when it was encoded
        self.alive: list[int] = []

    def add(self, picture: Patches, t: int) -> None:
        self.alive += range(len(self.all), len(self.all) + len(picture))
        self.all += [
            Version(int(i), t, p.ravel()) for i, p in zip(picture.indices, picture.pixels, strict=True)
        ]
        while len(self.alive) > ROOM:
            newest = {self.all[i].place: i for i in self.alive}
            self.alive.remove(next(i for i in self.alive if newest[self.all[i].place] != i))
        self.sees += [list(self.alive)] * len(picture)

    def tensors(self, which: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        versions = [self.all[i] for i in which]
        pixels = torch.tensor(np.stack([one.pixels for one in versions])[None], dtype=torch.float64)
        places = [(one.t, *divmod(one.place, GRID[1])) for one in versions]
        return pixels, torch.tensor(places)[None]


def play(encoder: Encoder, updates: list[list[int]] = UPDATES) -> tuple[EncoderState, Memory]:
    state, memory = encoder.new_state(GRID, window_tokens=ROOM), Memory()
    encoder.encode_patches(state, everything(0))
    memory.add(everything(0), 0)
    for number, slots in enumerate(updates, start=1):
        encoder.encode_patches(state, patches(slots, number))
        memory.add(patches(slots, number), number)
    return state, memory


def held(state: EncoderState) -> set[tuple[int, int]]:
    """(place, time) of all that lives."""
    return {(int(h * GRID[1] + w), int(t)) for t, h, w in state.positions[state.alive]}


def test_the_oldest_followed_patches_die(exact: Encoder) -> None:
    for count in range(len(UPDATES) + 1):
        state, memory = play(exact, UPDATES[:count])
        assert held(state) == {(memory.all[i].place, memory.all[i].t) for i in memory.alive}
    assert len(memory.all) > ROOM + 5  # several have died
    assert np.array_equal(state.mask[0] == 0, state.alive)


def test_dense_mode_is_the_model_on_what_is_visible(dense: Encoder, folder: Path) -> None:
    """The codec input of the paper: all visible patches with their times, each seeing all others."""
    state, memory = play(dense)
    model = OneVisionEncoder.from_pretrained(folder).double()
    with torch.no_grad():
        tokens, scene = model.encode_tokens(*memory.tensors(memory.alive))
    assert scene is not None
    assert np.abs(state.scene - scene[0].numpy()).max() < 5e-5
    newest = {memory.all[i].place: row for row, i in enumerate(memory.alive)}
    wanted = tokens[0, [newest[place] for place in range(SLOTS)]].numpy()
    assert np.abs(state.newest_tokens() - wanted).max() < 5e-5


def test_exact_mode_is_one_call_with_a_staleness_mask(exact: Encoder, folder: Path) -> None:
    state, memory = play(exact)
    count = len(memory.all)
    mask = torch.full((count, count), -torch.inf, dtype=torch.float64)
    for row, seen in enumerate(memory.sees):
        mask[row, seen] = 0
    model = OneVisionEncoder.from_pretrained(folder).double()
    with torch.no_grad():
        tokens, _ = model.encode_tokens(*memory.tensors(list(range(count))), mask[None, None])
        assert model.head is not None
        scene = model.head(tokens[:, memory.alive])[0].numpy()
    assert np.abs(state.scene - scene).max() < 5e-5
    # and the past matters: a canvas, with the newest patches alone, is another result
    canvas = exact.new_state(GRID)
    exact.encode_patches(canvas, everything(0))
    for number, slots in enumerate(UPDATES, start=1):
        exact.encode_patches(canvas, patches(slots, number))
    assert np.abs(canvas.scene - state.scene).max() > 0.05


@pytest.mark.parametrize("mode", ["exact", "dense"])
def test_a_clip_may_come_in_one_call(mode: str, folder: Path, request: pytest.FixtureRequest) -> None:
    encoder: Encoder = request.getfixturevalue(mode)
    memory = Memory()
    for t, picture in ((0, everything(0)), (9, patches([4, 5], 1)), (27, patches([4, 22], 2))):
        memory.add(picture, t)
    pixels, positions = memory.tensors(memory.alive)
    state = encoder.new_state(GRID, window_tokens=ROOM)
    given = pixels[0].float().numpy().reshape(-1, 3, 14, 14)
    output = encoder.encode_patches(state, given, positions[0].numpy())
    with torch.no_grad():
        _, scene = OneVisionEncoder.from_pretrained(folder).double().encode_tokens(pixels, positions)
    assert scene is not None
    assert np.abs(output.scene - scene[0].numpy()).max() < 5e-5


def test_the_picture_after_the_last_time_begins_a_window(exact: Encoder) -> None:
    """Places that it leaves out go on with their kept pixels; nothing of the past remains."""
    state, _ = play(exact, [[number % SLOTS] for number in range(63)])
    assert int(state.positions[:, 0].max()) == 63
    pixels = everything(0).pixels.copy()
    for number in range(63):
        pixels[number % SLOTS] = patches([number % SLOTS], number + 1).pixels[0]
    last = patches([2, 7], 99)
    pixels[[2, 7]] = last.pixels
    output = exact.encode_patches(state, last)
    whole = exact.new_state(GRID, window_tokens=ROOM)
    wanted = exact.encode_patches(whole, Patches(np.arange(SLOTS, dtype=np.int32), pixels, GRID))
    assert held(state) == {(place, 0) for place in range(SLOTS)}
    assert np.abs(output.scene - wanted.scene).max() < 1e-5  # slots, and so sums, have another order
    assert output.event is not None
    assert np.abs(output.event - whole.newest_tokens()[[2, 7]].mean(axis=0)).max() < 1e-5


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_a_long_life_keeps_every_place_within_constant_memory(
    mode: str, request: pytest.FixtureRequest
) -> None:
    encoder: Encoder = request.getfixturevalue(mode)
    state, rng = encoder.new_state(GRID, window_tokens=ROOM), np.random.default_rng(0)
    encoder.encode_patches(state, everything(0))
    before, address = state.memory_bytes, state.keys.ctypes.data
    for seed in range(150):
        slots = np.sort(rng.choice(SLOTS, rng.integers(1, 9), replace=False))
        output = encoder.encode_patches(state, patches(slots, seed))
        living = held(state)
        assert {place for place, _ in living} == set(range(SLOTS))
        assert len(living) == state.alive.sum() <= ROOM
        assert np.isfinite(output.scene).all()
        newest = {place: max(t for p, t in living if p == place) for place in slots.tolist()}
        assert len(set(newest.values())) == 1  # what was given is the newest
    assert (state.memory_bytes, state.keys.ctypes.data) == (before, address)


@pytest.mark.parametrize("mode", ["exact", "fast", "dense"])
def test_a_restored_snapshot_goes_on_bit_for_bit(mode: str, folder: Path) -> None:
    encoder, elsewhere = load_encoder(folder, mode=mode), load_encoder(folder, mode=mode)  # type: ignore[arg-type]
    state, _ = play(encoder)
    successor = elsewhere.new_state(GRID, window_tokens=ROOM)
    successor.restore(state.snapshot())
    for memory, owner in ((state, encoder), (successor, elsewhere)):
        owner.encode_patches(memory, patches([5, 9], 20))
    assert successor.snapshot() == state.snapshot()
    with pytest.raises(ModelError, match="snapshot"):
        encoder.new_state(GRID).restore(state.snapshot())
    with pytest.raises(ModelError, match="snapshot"):
        encoder.new_state(GRID, window_tokens=ROOM + 1).restore(state.snapshot())


def test_change_is_measured_against_the_newest(exact: Encoder) -> None:
    state, _ = play(exact, [[3], [3]])
    assert not state.changed(patches([3], 2), 0.1).any()
    assert state.changed(patches([3], 1), 0.1).all()
    empty = exact.new_state(GRID, window_tokens=ROOM)
    assert empty.changed(patches([3, 4], 1), 1e9).all()


def test_fast_mode_probes_the_past_and_ends_drift_with_the_window(fast: Encoder) -> None:
    state, _ = play(fast)
    assert state.drift
    assert fast.choose_probes(state, np.array([1])).size == 0
    times = state.positions[:, 0].copy()
    output = fast.encode_patches(state, patches([7], 50))
    assert output.n_updated == 1 + 8
    assert sorted(state.positions[:, 0]) != sorted(times)
    assert (np.sort(state.positions[state.alive, 0])[:-1] <= times.max()).all()  # probes kept their times
    assert fast.encode_patches(state, everything(5)).drift == 0


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_refresh_is_a_dense_pass_over_what_is_remembered(mode: str, folder: Path) -> None:
    encoder = load_encoder(folder, mode=mode)  # type: ignore[arg-type]
    state, memory = play(encoder)
    before = held(state)
    output = encoder.refresh(state)
    with torch.no_grad():
        _, scene = (
            OneVisionEncoder.from_pretrained(folder).double().encode_tokens(*memory.tensors(memory.alive))
        )
    assert scene is not None
    assert held(state) == before
    assert np.abs(output.scene - scene[0].numpy()).max() < (5e-5 if mode == "exact" else 0.2)
    assert (output.drift, output.n_updated, output.staleness) == (0, ROOM, 0)


def test_torch_holds_the_same_window(folder: Path) -> None:
    one, _ = play(load_encoder(folder, mode="exact"))
    other, _ = play(load_encoder(folder, mode="exact", backend="torch"))
    assert np.abs(one.scene - other.scene).max() < 1e-4
    assert np.array_equal(one.positions, other.positions)


def test_what_does_not_fit_changes_nothing(exact: Encoder, fast: Encoder) -> None:
    state, _ = play(exact)
    before = state.snapshot()
    late = everything(1).positions(9)
    for wrong, positions, message in (
        (patches([4], 1), patches([4], 1).positions(3), "times of a window grow"),
        (patches([4, 4], 1), None, "share a slot"),
    ):
        with pytest.raises(ConfigError, match=message):
            exact.encode_patches(state, wrong, positions)
    many = np.concatenate([everything(1).pixels, everything(2).pixels])
    with pytest.raises(ConfigError, match="do not fit"):
        exact.encode_patches(state, many, np.concatenate([late, late + np.array([1, 0, 0])]))
    assert state.snapshot() == before
    probing, _ = play(fast)
    with pytest.raises(ConfigError, match="probes"):
        fast.encode_patches(probing, patches([4], 1), probes=patches([5], 1))
    for tokens in (SLOTS - 1, 4096):
        with pytest.raises(ConfigError, match="window_tokens"):
            exact.new_state(GRID, window_tokens=tokens)
