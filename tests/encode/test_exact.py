"""Incremental encoding: what it must equal, and what must make no difference."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from ovstream.encode import Encoder, EncoderState, Output
from ovstream.model import OneVisionEncoder
from ovstream.types import Patches

from .pictures import GRID, SLOTS, everything, patches

UPDATES = [([3, 4, 9], 5), ([4, 20], 12), ([0, 1, 2, 3, 23], 40), ([9], 63)]  # slots, time


def run(encoder: Encoder, pictures: list[Patches]) -> tuple[EncoderState, list[Output]]:
    state = encoder.new_state(GRID)
    return state, [encoder.encode_patches(state, picture) for picture in pictures]


@pytest.mark.parametrize("encoder", ["exact", "graph"])
def test_exact_mode_is_one_call_with_a_staleness_mask(
    encoder: str, folder: Path, request: pytest.FixtureRequest
) -> None:
    """All versions of all tokens at once, each seeing those that were alive when it was encoded."""
    exact: Encoder = request.getfixturevalue(encoder)
    state = exact.new_state(GRID)
    pictures = [(everything(0), 0)] + [(patches(slots, 7 + t), t) for slots, t in UPDATES]
    owner = np.zeros(SLOTS, np.int64)  # version living in each slot
    pixels, positions, sees = [], [], []
    for picture, t in pictures:
        output = exact.encode_patches(state, picture, picture.positions(t))
        owner[picture.indices] = np.arange(len(pixels), len(pixels) + len(picture))
        pixels += list(picture.pixels.reshape(len(picture), -1))
        positions += list(picture.positions(t))
        sees += [owner.copy()] * len(picture)
    mask = torch.full((len(pixels), len(pixels)), -torch.inf, dtype=torch.float64)
    for row, versions in enumerate(sees):
        mask[row, versions] = 0
    model = OneVisionEncoder.from_pretrained(folder).double()
    with torch.no_grad():
        tokens, _ = model.encode_tokens(
            torch.tensor(np.stack(pixels)[None], dtype=torch.float64),
            torch.tensor(np.stack(positions)[None]),
            mask[None, None],
        )
        assert model.head is not None
        scene = model.head(tokens[:, owner])[0].numpy()
    assert np.abs(output.tokens - tokens[0, owner].numpy()).max() < 5e-5
    assert np.abs(output.scene - scene).max() < 5e-5
    assert output.event is not None
    assert np.abs(output.event - tokens[0, -1].numpy()).max() < 5e-5
    # and the mask matters: everybody seeing everybody alive is another result
    with torch.no_grad():
        unmasked = model.encode_tokens(
            torch.tensor(np.stack(pixels)[owner][None], dtype=torch.float64),
            torch.tensor(np.stack(positions)[owner][None]),
        )[0][0].numpy()
    assert np.abs(output.tokens - unmasked).max() > 0.1


@pytest.mark.parametrize("mode", ["exact", "fast", "graph", "fast_graph"])
def test_all_patches_equal_a_dense_pass_bit_for_bit(mode: str, request: pytest.FixtureRequest) -> None:
    encoder: Encoder = request.getfixturevalue(mode)
    history = [everything(0), *(patches(slots, t) for slots, t in UPDATES)]
    state, _ = run(encoder, [*history, everything(99)])
    fresh, outputs = run(encoder, [everything(99)])
    assert np.array_equal(state.scene, outputs[0].scene)
    assert np.array_equal(state.tokens, fresh.tokens)
    assert np.array_equal(state.keys, fresh.keys)


def test_dense_mode_equals_exact_mode_with_all_patches(exact: Encoder, dense: Encoder) -> None:
    """Also after sparse calls: dense mode has kept the pixels of the patches it was not given."""
    first, second = everything(0), patches([3, 17], 1)
    pixels = first.pixels.copy()
    pixels[second.indices] = second.pixels
    whole = Patches(first.indices, pixels, GRID)
    _, wanted = run(exact, [whole])
    state, found = run(dense, [first, second])
    assert np.array_equal(found[1].scene, wanted[0].scene)
    assert np.array_equal(found[1].tokens, wanted[0].tokens)
    assert found[1].n_updated == SLOTS
    assert found[1].event is not None
    assert np.array_equal(found[1].event, state.tokens[[3, 17]].mean(axis=0))


@pytest.mark.parametrize("mode", ["exact", "fast", "dense", "graph"])
def test_no_patches_no_work_same_bits(
    mode: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder: Encoder = request.getfixturevalue(mode)
    state, outputs = run(encoder, [everything(0), patches([5], 1)])
    before = state.tokens.copy()

    def fail(*_: object) -> None:
        raise AssertionError("the graph ran")

    monkeypatch.setattr("ovstream.encode.session.Binding.run", fail)
    monkeypatch.setattr("ovstream.encode.native.NativeBackend.run", fail)
    again = encoder.encode_patches(state, patches([], 0))
    assert np.array_equal(again.scene, outputs[-1].scene)
    assert np.array_equal(again.tokens, before)
    assert (again.event, again.n_updated, again.flops) == (None, 0, 0)


@pytest.mark.parametrize("mode", ["exact", "fast", "graph", "fast_graph"])
def test_order_of_patches_makes_no_difference(mode: str, request: pytest.FixtureRequest) -> None:
    encoder: Encoder = request.getfixturevalue(mode)
    picture = patches([2, 5, 11, 20, 21], 1)
    mixed = [3, 0, 4, 1, 2]
    shuffled = Patches(picture.indices[mixed], picture.pixels[mixed], GRID)
    one, _ = run(encoder, [everything(0), picture])
    other, _ = run(encoder, [everything(0), shuffled])
    assert one.snapshot() == other.snapshot()


@pytest.mark.parametrize("mode", ["exact", "fast", "graph", "fast_graph"])
@pytest.mark.parametrize("threads", [1, 2])
def test_streams_do_not_leak_into_each_other(mode: str, threads: int, request: pytest.FixtureRequest) -> None:
    encoder: Encoder = request.getfixturevalue(mode)
    scripts = [
        [everything(stream), *(patches(slots, 100 * stream + t) for slots, t in UPDATES)]
        for stream in range(3)
    ]
    alone = [run(encoder, script)[0].snapshot() for script in scripts]
    states = [encoder.new_state(GRID) for _ in scripts]
    with ThreadPoolExecutor(threads) as pool:
        for pictures in zip(*scripts, strict=True):
            jobs = [
                pool.submit(encoder.encode_patches, state, picture)
                for state, picture in zip(states, pictures, strict=True)
            ]
            for job in jobs:
                job.result()
    assert [state.snapshot() for state in states] == alone
    assert len(set(alone)) == 3


@pytest.mark.parametrize("encoder", ["exact", "graph"])
def test_dead_slots_are_masked(encoder: str, folder: Path, request: pytest.FixtureRequest) -> None:
    """A state that knows some patches equals the model on these alone, whatever lies in the other slots."""
    exact: Encoder = request.getfixturevalue(encoder)
    known = patches([1, 2, 8, 15, 22], 3)
    state = exact.new_state(GRID)
    state.keys[:] = 50
    state.values[:] = 1e4
    assert state.head_values is not None
    state.head_values[:] = 1e4
    output = exact.encode_patches(state, known)
    _, clean = run(exact, [known])
    assert np.array_equal(output.scene, clean[0].scene)
    with torch.no_grad():
        _, scene = OneVisionEncoder.from_pretrained(folder).encode_tokens(
            torch.from_numpy(known.pixels).flatten(1)[None], torch.from_numpy(known.positions())[None]
        )
    assert scene is not None
    assert np.abs(output.scene - scene[0].numpy()).max() < 5e-5


def test_update_in_place_equals_update_of_copies(graph: Encoder, folder: Path) -> None:
    """Inputs and outputs of a cache share memory; a plain run with memory of its own must agree bit for bit."""
    import onnxruntime

    state, _ = run(graph, [everything(0)])
    assert state.head_keys is not None
    assert state.head_values is not None
    names = {
        "tokens": state.tokens,
        "head_keys": state.head_keys[None],
        "head_values": state.head_values[None],
    }
    names |= {f"keys_{i}": part[None] for i, part in enumerate(state.keys)}
    names |= {f"values_{i}": part[None] for i, part in enumerate(state.values)}
    picture = patches([0, 7, 23], 1)
    feeds = {name: array.copy() for name, array in names.items()}
    feeds |= {"patches": picture.pixels.reshape(3, -1), "positions": picture.positions(), "mask": state.mask}
    feeds["slots"] = picture.indices.astype(np.int64)
    session = onnxruntime.InferenceSession(str(folder / "float32.onnx"), providers=["CPUExecutionProvider"])
    outputs = dict(zip((o.name for o in session.get_outputs()), session.run(None, feeds), strict=True))
    graph.encode_patches(state, picture)
    for name, array in names.items():
        assert np.array_equal(outputs[f"{name}.out"], array), name
        changed = np.any(array != feeds[name], axis=-1).reshape(-1, SLOTS).any(axis=0)
        assert np.flatnonzero(changed).tolist() == [0, 7, 23], name
    assert np.array_equal(outputs["scene"], state.scene)


def test_flops_follow_the_number_of_patches(exact: Encoder) -> None:
    _, (full, sparse) = run(exact, [everything(0), patches([5], 1)])
    assert sparse.n_updated == 1
    assert full.flops / SLOTS < sparse.flops < full.flops / 4
    # 2 x multiply-adds of one token: embedding, 3 layers of 12 D^2 and attention over 24, head and its probe
    d = 64
    layers = 3 * (2 * 4 * d * d + 2 * 2 * d * 128 + 2 * 2 * SLOTS * d)
    head = 2 * 2 * d * d + 2 * 2 * SLOTS * d + 2 * d * d + 2 * 2 * d * 128
    assert sparse.flops == 2 * 588 * d + layers + head
