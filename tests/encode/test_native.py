"""The native core's int8: as good as the graph's, and independent of company."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ovstream._native import ffi, lib
from ovstream.encode import Encoder, Job, load_encoder
from ovstream.encode.native import NativeBackend
from ovstream.errors import ConfigError, ModelError
from ovstream.model import VisionConfig, export_model
from ovstream.model.export import random_model
from ovstream.types import Patches

from ..model.models import NANO
from .pictures import GRID, SLOTS, everything, patches

needs_kernels = pytest.mark.skipif(
    not lib.ovbits_encode_supported(), reason="this processor lacks AVX-512 VNNI, or the Rust compiler did"
)
SHAPES: dict[str, tuple[VisionConfig, tuple[str, ...]]] = {
    "released": (NANO, ()),
    "own": (dataclasses.replace(NANO, rope="rotary", pre_norm=False, patch_bias=True), ("out_proj", "head.")),
    "headless, patches of 16": (dataclasses.replace(NANO, use_head=False, patch_size=16), ()),
    "heads of 64": (VisionConfig(128, 2, 2, 272), ()),
    "heads of 96": (VisionConfig(192, 2, 2, 48), ("fc1",)),
}


def exported(folder: Path, name: str) -> VisionConfig:
    """Writes a model of one of `SHAPES`."""
    config, spare = SHAPES[name]
    export_model(
        random_model(config, seed=7), folder, model_id="nano", trained=False, weights="int8", spare=spare
    )
    return config


def noise(indices: list[int], seed: int, side: int) -> Patches:
    pixels = np.random.default_rng(seed).standard_normal((len(indices), 3, side, side), np.float32)
    return Patches(np.array(indices, np.int32), pixels, GRID)


def opened(folder: Path, **options: Any) -> Encoder:
    return load_encoder(folder, **({"mode": "fast", "probes": 0, "backend": "native"} | options))


def missed(found: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


@needs_kernels
@pytest.mark.parametrize("name", SHAPES)
def test_as_close_to_float32_as_the_graph(tmp_path: Path, name: str) -> None:
    """Dense and sparse calls of every size of tile, and a state whose slots fill no vector."""
    config = exported(tmp_path, name)
    exact, graph, native = (
        load_encoder(tmp_path, mode="exact", backend="onnx"),
        opened(tmp_path, backend="onnx"),
        opened(tmp_path),
    )
    assert isinstance(native.backend, NativeBackend)
    states = {encoder: encoder.new_state(GRID) for encoder in (exact, graph, native)}
    for seed, indices in enumerate(
        [[1, 5, 7], list(range(SLOTS)), [3], [0, 23], list(range(4, 11)), [9, 2, 4]]
    ):
        picture = noise(indices, seed, config.patch_size)
        scenes = {encoder: encoder.encode_patches(state, picture).scene for encoder, state in states.items()}
        assert missed(scenes[native], scenes[exact]) < max(1.3 * missed(scenes[graph], scenes[exact]), 0.01)
        for what in ("tokens", "keys", "values", "head_keys", "head_values"):
            found, told, wanted = (getattr(states[one], what) for one in (native, graph, exact))
            if wanted is not None:
                assert missed(found, wanted) < 1.3 * missed(told, wanted), (what, seed)
    assert not np.array_equal(scenes[native], scenes[graph])


@needs_kernels
@pytest.mark.parametrize("name", SHAPES)
def test_float32_equals_the_graph(tmp_path: Path, name: str) -> None:
    config = exported(tmp_path, name)
    graph, native = (load_encoder(tmp_path, mode="exact", backend=one) for one in ("onnx", "native"))
    states = {encoder: encoder.new_state(GRID) for encoder in (graph, native)}
    for seed, indices in enumerate([list(range(SLOTS)), [3], [9, 2, 4]]):
        picture = noise(indices, seed, config.patch_size)
        for encoder, state in states.items():
            encoder.encode_patches(state, picture)
        for what in ("scene", "tokens", "keys", "values", "head_keys", "head_values"):
            found, wanted = (getattr(states[one], what) for one in (native, graph))
            if wanted is not None:
                assert missed(found, wanted) < 3e-6, (what, seed)


@needs_kernels
@pytest.mark.parametrize("mode", ["fast", "exact"])
def test_company_makes_no_difference(folder: Path, mode: str) -> None:
    """Ragged streams in one run: the same bits as each alone."""
    encoder = opened(folder, mode=mode, streams=3)
    grids = [GRID, (3, 5), GRID]
    scripts = [[list(range(24)), [3, 4, 9]], [list(range(15)), [1]], [[2, 5], list(range(1, 20))]]
    alone = [encoder.new_state(grid) for grid in grids]
    shared = [encoder.new_state(grid) for grid in grids]
    for turn in range(2):
        jobs = []
        for number, grid in enumerate(grids):
            indices = np.array(scripts[number][turn], np.int32)
            pixels = np.random.default_rng(7 * number + turn).standard_normal(
                (len(indices), 3, 14, 14), np.float32
            )
            picture = Patches(indices, pixels, grid)
            encoder.encode_patches(alone[number], picture)
            values, places, slots = shared[number].locate(picture)
            shared[number].store(values, places, slots)
            jobs.append(Job(encoder.bound(shared[number]), values, places, slots))
        encoder.backend.run(jobs)
    for one, other in zip(alone, shared, strict=True):
        for what in ("keys", "values", "head_keys", "head_values", "tokens", "scene"):
            assert np.array_equal(getattr(one, what), getattr(other, what)), what


@needs_kernels
def test_dead_slots_have_no_weight(folder: Path) -> None:
    encoder = opened(folder)
    known = patches([1, 2, 8, 15, 22], 3)
    state, clean = encoder.new_state(GRID), encoder.new_state(GRID)
    state.keys[:] = 50
    state.values[:] = 1e4
    assert state.head_values is not None
    state.head_values[:] = 1e4
    assert np.array_equal(
        encoder.encode_patches(state, known).scene, encoder.encode_patches(clean, known).scene
    )


@needs_kernels
@pytest.mark.parametrize(
    ("what", "value"), [("slots", SLOTS), ("slots", -1), ("positions", 4096), ("positions", -1)]
)
def test_places_out_of_range_change_nothing(folder: Path, what: str, value: int) -> None:
    encoder = opened(folder)
    state = encoder.new_state(GRID)
    encoder.encode_patches(state, everything(0))
    before = state.snapshot()
    pixels, positions, slots = state.locate(patches([3, 4], 1))
    wrong = {"slots": slots.copy(), "positions": positions.copy()}
    wrong[what].flat[-1] = value
    with pytest.raises(ModelError, match="status 1"):
        encoder.backend.run([Job(encoder.bound(state), pixels, wrong["positions"], wrong["slots"])])
    assert state.snapshot() == before


@needs_kernels
def test_weights_of_another_length_are_refused(folder: Path) -> None:
    encoder = opened(folder)
    state = encoder.new_state(GRID)
    assert isinstance(encoder.backend, NativeBackend)
    encoder.backend._model.floats_count -= 1
    with pytest.raises(ModelError, match="native core"):
        encoder.encode_patches(state, everything(0))


def test_auto_takes_the_core_where_it_can(folder: Path) -> None:
    native = bool(lib.ovbits_encode_supported())
    assert isinstance(load_encoder(folder).backend, NativeBackend) == native
    for options in ({"threads": 2}, {"cache": "float16"}, {"backend": "onnx"}):
        assert not isinstance(load_encoder(folder, **options).backend, NativeBackend), options


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"threads": 2}, "one thread"),
        ({"cache": "float16"}, "cache is 'float16'"),
        ({"provider": "cuda"}, "provider is 'cuda'"),
    ],
)
def test_what_the_core_cannot_do_is_said(folder: Path, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=f"backend 'native' cannot run this: .*{reason}"):
        opened(folder, **options)


def test_other_processors_take_the_graph(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ovstream.encode.native.supported", lambda config: False)
    assert not isinstance(load_encoder(folder).backend, NativeBackend)
    with pytest.raises(ConfigError, match="AVX-512 VNNI"):
        opened(folder)


def test_the_abi_refuses_nonsense() -> None:
    """A model of no size, no streams: a status, no crash."""
    model = ffi.new("OvbitsModel *")
    assert lib.ovbits_encode(model, ffi.NULL, 0, ffi.NULL, ffi.NULL, ffi.NULL) == lib.OVBITS_INVALID
