"""Checkpoints by name: the hub's cache, errors, and names of tensors by other hands."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

from ovstream.errors import MissingExtraError, ModelError
from ovstream.model import OneVisionEncoder, VisionConfig
from ovstream.model.export import random_model
from ovstream.model.naming import TIMM_NAMES, renamed

from .models import nano, waves

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """The hub's cache as it lies on disk after a download of `lab/nano`."""
    top = tmp_path / "models--lab--nano"
    snapshot = top / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (top / "refs").mkdir()
    (top / "refs" / "main").write_text(COMMIT)
    config = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 128}
    (snapshot / "config.json").write_text(json.dumps(config))
    safetensors.torch.save_file(dict(nano().state_dict()), snapshot / "model.safetensors")
    return tmp_path


@pytest.mark.parametrize("revision", [None, "main", COMMIT])
def test_a_cached_repository_loads_offline(cache: Path, revision: str | None) -> None:
    model = OneVisionEncoder.from_pretrained("lab/nano", cache_dir=cache, offline=True, revision=revision)
    image = waves(1, 3, 28, 28).float()
    assert torch.equal(model(image)[0], nano()(image)[0])
    assert len(model.digest) == 16


@pytest.mark.parametrize(
    ("name", "revision", "message"),
    [
        ("lab/other", None, "'lab/other' is not in the cache: fetch it once while online"),
        ("lab/nano", "v2", "'lab/nano' at revision 'v2' is not in the cache"),
        ("nano", None, "neither a folder nor the name of a hub repository"),
        ("/no/such/folder", None, "neither a folder nor the name"),
        ("lab/nano/extra", None, "neither a folder nor the name"),
    ],
)
def test_what_is_not_there_is_named(cache: Path, name: str, revision: str | None, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        OneVisionEncoder.from_pretrained(name, cache_dir=cache, offline=True, revision=revision)


def test_a_hub_out_of_reach_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9"
    )  # the discard port: refused
    with pytest.raises(ModelError, match="'lab/other' cannot be reached, nor is it cached"):
        OneVisionEncoder.from_pretrained("lab/other", cache_dir=cache)


def test_a_folder_goes_before_the_hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(cache)
    snapshot = cache / "models--lab--nano" / "snapshots" / COMMIT
    (cache / "lab").mkdir()
    snapshot.rename(cache / "lab" / "nano")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert OneVisionEncoder.from_pretrained("lab/nano").config.hidden_size == 64
    with pytest.raises(MissingExtraError, match=r"ovstream-edge\[torch\]"):
        OneVisionEncoder.from_pretrained("lab/other")


def test_a_checkpoint_with_joined_matrices_and_other_names(tmp_path: Path) -> None:
    """Patch 16, a true rotation, no head, the usual names of vision transformers."""
    config = VisionConfig(64, 2, 2, 128, patch_size=16, rope="rotary", use_head=False)
    model = random_model(config, seed=1)
    own = model.state_dict()
    foreign = {
        "encoder.patch_embed.proj.weight": own["embeddings.patch_embedding.weight"],
        "encoder.rope.freqs": torch.zeros(3),
    }
    for kind in ("weight", "bias"):
        foreign[f"encoder.norm_pre.{kind}"] = own[f"layernorm_pre.{kind}"]
        for layer in range(2):
            ours, theirs = f"encoder.layers.{layer}.", f"encoder.blocks.{layer}."
            joined = [own[f"{ours}self_attn.{part}_proj.{kind}"] for part in "qkv"]
            foreign[f"{theirs}attn.qkv.{kind}"] = torch.cat(joined)
            foreign[f"{theirs}attn.proj.{kind}"] = own[f"{ours}self_attn.out_proj.{kind}"].clone()
            for number in "12":
                foreign[f"{theirs}norm{number}.{kind}"] = own[f"{ours}layer_norm{number}.{kind}"].clone()
                foreign[f"{theirs}mlp.fc{number}.{kind}"] = own[f"{ours}mlp.fc{number}.{kind}"].clone()
    safetensors.torch.save_file(foreign, tmp_path / "model.safetensors")
    loaded = OneVisionEncoder.from_pretrained(tmp_path, names=TIMM_NAMES, config=config)
    image = waves(1, 3, 32, 48).float()
    assert torch.equal(loaded(image)[0], model(image)[0])
    with pytest.raises(ModelError, match=r"missing: .*unexpected: encoder\.blocks\.0\.attn\.proj\.bias"):
        OneVisionEncoder.from_pretrained(tmp_path, config=config)


def test_a_table_that_cannot_be_right_is_refused() -> None:
    with pytest.raises(ModelError, match="as another tensor does"):
        renamed({"a": torch.zeros(1), "b": torch.zeros(1)}, {"a": "b"})
    with pytest.raises(ModelError, match="'a' has 4 rows"):
        renamed({"a": torch.zeros(4)}, {"a": "{q,k,v}"})
