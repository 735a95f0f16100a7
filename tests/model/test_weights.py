"""Checkpoints in and out: official keys, every shape checked, int8 rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from ovstream.errors import ModelError
from ovstream.model import OneVisionEncoder
from ovstream.model.weights import dequantise, quantise

from .models import nano, waves


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A folder as the released ones are: official configuration and keys."""
    write(tmp_path, dict(nano().state_dict()))
    return tmp_path


def write(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    config = {
        "model_type": "onevision_encoder",
        "hidden_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 128,
        "patch_size": 14,
        "num_channels": 3,
        "hidden_act": "gelu",
        "layer_norm_type": "layer_norm",
        "attention_dropout": 0.0,
        "use_head": True,
    }
    (folder / "config.json").write_text(json.dumps(config))
    safetensors.torch.save_file(tensors, folder / "model.safetensors")


def test_round_trip_with_official_keys(checkpoint: Path) -> None:
    loaded = OneVisionEncoder.from_pretrained(checkpoint)
    image = waves(1, 3, 28, 28).float()
    assert torch.equal(loaded(image)[0], nano()(image)[0])
    assert not loaded.training
    assert len(loaded.digest) == 16


def test_a_checkpoint_in_several_pieces(checkpoint: Path) -> None:
    tensors = safetensors.torch.load_file(checkpoint / "model.safetensors")
    (checkpoint / "model.safetensors").unlink()
    keys = sorted(tensors)
    for number, part in enumerate((keys[:20], keys[20:]), start=1):
        name = f"model-0000{number}-of-00002.safetensors"
        safetensors.torch.save_file({key: tensors[key] for key in part}, checkpoint / name)
    assert torch.equal(
        OneVisionEncoder.from_pretrained(checkpoint).state_dict()["head.probe"], tensors["head.probe"]
    )


def test_bfloat16_weights_become_float32(checkpoint: Path) -> None:
    write(checkpoint, {key: value.bfloat16() for key, value in nano().state_dict().items()})
    assert {p.dtype for p in OneVisionEncoder.from_pretrained(checkpoint).parameters()} == {torch.float32}


def test_all_wrong_keys_are_named(checkpoint: Path) -> None:
    tensors = dict(nano().state_dict())
    del tensors["head.norm.weight"]
    tensors["encoder.layers.9.mlp.fc1.bias"] = torch.zeros(128)
    tensors["encoder.layers.1.mlp.fc1.weight"] = torch.zeros(128, 65)
    write(checkpoint, tensors)
    with pytest.raises(ModelError) as caught:
        OneVisionEncoder.from_pretrained(checkpoint)
    text = str(caught.value)
    assert str(checkpoint) in text
    assert "missing: head.norm.weight" in text
    assert "unexpected: encoder.layers.9.mlp.fc1.bias" in text
    assert "'encoder.layers.1.mlp.fc1.weight' is (128, 65), must be (128, 64)" in text


def test_absent_or_damaged_files_are_named(tmp_path: Path, checkpoint: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere.*neither a folder"):
        OneVisionEncoder.from_pretrained(tmp_path / "nowhere")
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        OneVisionEncoder.from_pretrained(checkpoint)
    weights.unlink()
    with pytest.raises(ModelError, match="no \\*"):
        OneVisionEncoder.from_pretrained(checkpoint)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("hidden_act", "silu", "hidden_act"),
        ("layer_norm_type", "rms_norm", "layer_norm_type"),
        ("num_attention_heads", 3, "multiple of 32"),
        ("rope", "alibi", "onevision, rotary"),
        ("patch_size", 0, "patch_size"),
    ],
)
def test_other_architectures_are_refused(checkpoint: Path, key: str, value: object, message: str) -> None:
    path = checkpoint / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(ModelError, match=message):
        OneVisionEncoder.from_pretrained(checkpoint)


def test_int8_rows_are_within_half_a_step() -> None:
    tensors = {key: value.numpy() for key, value in nano().state_dict().items()}
    tensors["encoder.layers.0.mlp.fc1.weight"][7] = 0
    rounded = quantise(tensors)
    back = dequantise({key: torch.from_numpy(value) for key, value in rounded.items()})
    assert back.keys() == tensors.keys()
    for key, value in tensors.items():
        step = rounded.get(f"{key}_scale")
        if step is None:
            assert np.array_equal(back[key].numpy(), value)
        else:
            assert rounded[key].dtype == np.int8
            error = np.abs(back[key].numpy() - value).reshape(len(value), -1).max(axis=1)
            assert np.all(error <= 0.5001 * step)


def test_an_int8_tensor_without_scale_is_an_error() -> None:
    with pytest.raises(ModelError, match="a_scale"):
        dequantise({"a": torch.zeros(2, 2, dtype=torch.int8)})
