"""The torch backend: the same results, also when the caches live elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ovstream.encode import Encoder, EncoderState, Job, load_encoder
from ovstream.encode.torch_backend import TorchBackend, read_weights
from ovstream.errors import ConfigError, MissingExtraError, ModelError
from ovstream.model import export_model
from ovstream.model.folder import ModelFolder

from ..model.models import nano
from .pictures import GRID, everything, patches

UPDATES = [[3, 4, 9], [4, 20], [0, 1, 2, 3, 23], [9]]


def away(encoder: Encoder) -> Encoder:
    """The same encoder with caches as on another device."""
    backend = encoder.backend
    assert isinstance(backend, TorchBackend)
    backend._in_place = False
    return encoder


def play(encoder: Encoder) -> EncoderState:
    state = encoder.new_state(GRID)
    encoder.encode_patches(state, patches(list(range(20)), 0))  # some slots are dead at first
    encoder.encode_patches(state, everything(1))
    for seed, slots in enumerate(UPDATES):
        picture = patches(slots, seed)
        encoder.encode_patches(state, picture, picture.positions(seed))
    if state.mirror is not None:
        state.mirror.pull()
    return state


def close(one: EncoderState, other: EncoderState, limit: float) -> None:
    for name in ("scene", "tokens", "keys", "values", "head_keys", "head_values"):
        a, b = getattr(one, name), getattr(other, name)
        assert (a is None) == (b is None)
        if a is not None:
            assert np.abs(a.astype(np.float32) - b).max() < limit, name
    assert np.array_equal(one.ages, other.ages)


@pytest.mark.parametrize("cache", ["float32", "float16"])
@pytest.mark.parametrize("place", ["here", "away"])
def test_torch_equals_onnxruntime(folder: Path, cache: str, place: str) -> None:
    encoder = load_encoder(folder, mode="exact", backend="torch", cache=cache)
    encoder = away(encoder) if place == "away" else encoder
    close(
        play(encoder),
        play(load_encoder(folder, mode="exact", cache=cache, backend="onnx")),
        1e-4 if cache == "float32" else 2e-2,
    )


@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_without_a_head_and_with_int8_rows(tmp_path: Path, weights: str) -> None:
    export_model(nano(use_head=False, rope="rotary"), tmp_path, model_id="n", trained=False, weights=weights)
    close(
        play(away(load_encoder(tmp_path, mode="exact", backend="torch"))),
        play(load_encoder(tmp_path, mode="exact", backend="onnx")),
        1e-4,
    )


def test_drift_is_corrected_where_the_caches_are(folder: Path) -> None:
    here, there = (load_encoder(folder, mode="fast", backend="torch", probes=4) for _ in range(2))
    one, other = play(here), play(away(there))
    close(one, other, 1e-4)
    assert one.drift == pytest.approx(other.drift, rel=1e-3)
    plain = play(load_encoder(folder, mode="fast", backend="torch", probes=0))
    assert np.abs(one.values - plain.values).max() > 1e-3


def test_a_snapshot_goes_on_in_the_other_backend(folder: Path) -> None:
    torch_encoder = away(load_encoder(folder, mode="exact", backend="torch"))
    onnx_encoder = load_encoder(folder, mode="exact", backend="onnx")
    start, state = play(torch_encoder), onnx_encoder.new_state(GRID)
    state.restore(start.snapshot())
    back = torch_encoder.new_state(GRID)
    back.restore(state.snapshot())
    assert back.snapshot() == state.snapshot() == start.snapshot()
    for encoder, one in ((onnx_encoder, state), (torch_encoder, back)):
        encoder.encode_patches(one, patches([5, 9], 2))
    back.snapshot()  # brings the caches home
    close(back, state, 1e-4)


def test_streams_share_a_run(folder: Path) -> None:
    encoder = load_encoder(folder, mode="exact", backend="torch", streams=3)
    pictures = [patches(slots, seed) for seed, slots in enumerate(UPDATES[:3])]
    alone, together = ([encoder.new_state(GRID) for _ in pictures] for _ in range(2))
    jobs = []
    for number, (picture, one, other) in enumerate(zip(pictures, alone, together, strict=True)):
        encoder.encode_patches(one, everything(number))
        encoder.encode_patches(other, everything(number))
        encoder.encode_patches(one, picture)
        found = other.locate(picture)
        other.store(*found)
        other.updated(found[2])
        jobs.append(Job(encoder.bound(other), *found))
    encoder.backend.run(jobs)
    for one, other in zip(alone, together, strict=True):
        close(one, other, 1e-5)


def test_a_device_that_is_not_there_is_named(folder: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has the device that must be missing")
    with pytest.raises(ConfigError, match=r"cannot use the device 'cuda:0'"):
        load_encoder(folder, backend="torch", device="cuda:0")
    with pytest.raises(ConfigError, match="cannot use the device 'toaster'"):
        load_encoder(folder, backend="torch", device="toaster")
    with pytest.raises(ConfigError, match="onnx, torch"):
        load_encoder(folder, backend="jax")  # type: ignore[arg-type]


def test_missing_torch_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ovstream.encode.torch_backend", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match="torch"):
        load_encoder(folder, backend="torch")


def test_a_damaged_weight_file_is_named(tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "weights.safetensors"
    for content in (b"", b"\xff" * 40, (folder / "weights.safetensors").read_bytes()[:-100]):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=r"weights\.safetensors"):
            read_weights(path)
    assert ModelFolder.read(folder).digest


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_equals_the_cpu(folder: Path) -> None:
    for mode, limit in (("exact", 1e-3), ("fast", 1e-3)):
        close(
            play(load_encoder(folder, mode=mode, backend="torch", device="cuda")),
            play(load_encoder(folder, mode=mode, backend="torch")),
            limit,
        )
