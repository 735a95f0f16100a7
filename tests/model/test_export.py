"""Exported folders: reproducible, in-place safe, equal to torch."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from ovstream.encode import load_encoder
from ovstream.encode.images import image_patches
from ovstream.model import OneVisionEncoder, export_model
from ovstream.model.export import random_model, rebuild
from ovstream.model.folder import ModelFolder
from ovstream.model.graph import build_graph

from .models import NANO, nano

EMBEDDED = Path(__file__).parents[2] / "ovstream" / "models" / "ov-nano"


def test_the_graphs_of_the_embedded_default_can_be_made_again(tmp_path: Path) -> None:
    shipped = ModelFolder.read(EMBEDDED)
    assert shipped.trained
    for name in ("weights.safetensors", "config.json"):
        shutil.copy(EMBEDDED / name, tmp_path)
    manifest = rebuild(tmp_path)
    for name in ("float32.onnx", "int8.onnx"):
        assert (tmp_path / name).read_bytes() == (EMBEDDED / name).read_bytes(), name
    assert manifest.digest == shipped.digest
    assert np.allclose(manifest.golden, shipped.golden, atol=1e-4)


def test_the_embedded_default_is_small() -> None:
    assert sum(path.stat().st_size for path in EMBEDDED.iterdir()) < 9.5e6
    parameters = sum(p.numel() for p in OneVisionEncoder.from_pretrained(EMBEDDED).parameters())
    assert 5.0e6 < parameters < 6.0e6


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_cache_is_read_by_its_scatter_alone(precision: str) -> None:
    """Inputs and outputs share memory: another reader of an input would see it before or after the update."""
    graph = onnx.load(EMBEDDED / f"{precision}.onnx", load_external_data=False).graph
    outputs = {value.name for value in graph.output} - {"scene"}
    assert len(outputs) == 2 * 12 + 1 + 2
    for name in outputs:
        cache = name.removesuffix(".out")
        readers = [node for node in graph.node if cache in node.input]
        assert [node.op_type for node in readers] == ["ScatterND"], name
        assert readers[0].output[0] == name


@pytest.mark.parametrize(("lanes", "cache"), [(1, "float16"), (3, "float32"), (3, "float16")])
def test_variants_are_valid_and_safe_in_place(tmp_path: Path, lanes: int, cache: str) -> None:
    """Graphs that are built when a model is opened: several lanes, float16 caches."""
    export_model(nano(), tmp_path, model_id="nano", trained=False)
    file = tmp_path / "variant.onnx"
    weights = tmp_path / "int8.safetensors"
    file.write_bytes(build_graph(NANO, weights, precision="int8", lanes=lanes, cache=cache))
    onnx.checker.check_model(file)
    graph = onnx.load(file, load_external_data=False).graph
    outputs = {value.name for value in graph.output} - {"scene"}
    assert len(outputs) == lanes * (2 * 3 + 1 + 2)
    for name in outputs:
        cache_name = name.removesuffix(".out")
        readers = [node for node in graph.node if cache_name in node.input]
        assert [node.op_type for node in readers] == ["ScatterND"], name


def test_weights_are_not_copied_into_the_graph() -> None:
    for precision in ("float32", "int8"):
        assert (EMBEDDED / f"{precision}.onnx").stat().st_size < 150_000


@pytest.mark.parametrize("rope", ["onevision", "rotary"])
@pytest.mark.parametrize("use_head", [True, False])
@pytest.mark.parametrize("weights", ["float32", "int8"])
@pytest.mark.parametrize("backend", ["onnx", "auto"])
def test_onnx_equals_torch(tmp_path: Path, rope: str, use_head: bool, weights: str, backend: str) -> None:
    model = nano(rope=rope, use_head=use_head)
    export_model(model, tmp_path, model_id="nano", trained=False, weights=weights)
    encoder = load_encoder(tmp_path, mode="exact", backend=backend)
    positions = np.array([(t, h, w) for h, t in ((0, 0), (1, 40), (2, 63)) for w in range(5)])
    patches = np.random.default_rng(0).standard_normal((15, 3, 14, 14), np.float32)
    output = encoder.encode_patches(encoder.new_state((3, 5)), patches, positions)
    model = OneVisionEncoder.from_pretrained(tmp_path).double()
    with torch.no_grad():
        tokens, pooled = model.encode_tokens(
            torch.from_numpy(patches).double().flatten(1)[None], torch.from_numpy(positions)[None]
        )
    scene = tokens.mean(1) if pooled is None else pooled
    assert np.abs(output.tokens - tokens[0].numpy()).max() < 1e-4
    assert np.abs(output.scene - scene[0].numpy()).max() < 1e-4


@pytest.mark.parametrize("backend", ["auto", "onnx", "torch"])
def test_patches_with_a_bias_and_no_first_norm(tmp_path: Path, backend: str) -> None:
    config = dataclasses.replace(NANO, pre_norm=False, patch_bias=True)
    export_model(random_model(config, seed=3), tmp_path, model_id="nano", trained=False)
    encoder = load_encoder(tmp_path, mode="exact", backend=backend)
    image = np.random.default_rng(2).integers(0, 256, (56, 56, 3), np.uint8)
    patches = image_patches(image, encoder.info, max_tokens=16)
    model = OneVisionEncoder.from_pretrained(tmp_path)
    assert not any("layernorm_pre" in key for key in model.state_dict())
    with torch.no_grad():
        _, scene = model.encode_tokens(
            torch.from_numpy(patches.pixels).flatten(1)[None], torch.from_numpy(patches.positions())[None]
        )
    found = encoder.encode_patches(encoder.new_state(patches.grid), patches).scene
    assert np.abs(found - scene[0].numpy()).max() < 1e-4


def test_spared_matrices_are_not_rounded(tmp_path: Path) -> None:
    model = nano()
    export_model(model, tmp_path, model_id="nano", trained=False, weights="int8", spare=("head.",))
    kept = OneVisionEncoder.from_pretrained(tmp_path).state_dict()
    for key, value in model.state_dict().items():
        rounded = not torch.equal(kept[key], value)
        assert rounded == (key.endswith("weight") and value.dim() > 1 and "head." not in key), key


@pytest.mark.parametrize(("weights", "backend"), [("float32", "onnx"), ("int8", "onnx"), ("int8", "auto")])
def test_int8_is_close_to_float32(tmp_path: Path, weights: str, backend: str) -> None:
    """Errors in units of the distance between embeddings: cosines alone flatter."""
    export_model(nano(), tmp_path, model_id="nano", trained=False, weights=weights)
    scenes = {}
    for mode in ("exact", "fast"):
        encoder = load_encoder(tmp_path, mode=mode, backend=backend)
        images = np.random.default_rng(1).integers(0, 256, (3, 56, 56, 3), np.uint8)
        scenes[mode] = np.stack([encoder.encode_image(image).scene for image in images])
    spread = np.linalg.norm(scenes["exact"][0] - scenes["exact"][1])
    assert np.linalg.norm(scenes["fast"] - scenes["exact"], axis=1).max() < 0.2 * spread
    cosines = np.sum(scenes["fast"] * scenes["exact"], axis=1) / (
        np.linalg.norm(scenes["fast"], axis=1) * np.linalg.norm(scenes["exact"], axis=1)
    )
    assert cosines.min() > 0.998
    assert not np.array_equal(scenes["fast"], scenes["exact"])


def test_the_exported_model_is_not_changed(tmp_path: Path) -> None:
    model = nano().double()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    export_model(model, tmp_path, model_id="nano", trained=True, weights="int8")
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_the_self_test_is_as_strict_as_int8_allows(tmp_path: Path) -> None:
    """The export says what int8 costs this model, and a real run stays within it."""
    manifest = export_model(nano(), tmp_path, model_id="nano", trained=False)
    assert manifest == ModelFolder.read(tmp_path)
    assert manifest.tolerance("float32") == 1e-3
    found = load_encoder(tmp_path, mode="fast", backend="onnx").golden_error
    assert manifest.tolerance("int8") / 15 < found < manifest.tolerance("int8")
    assert manifest.tolerance("int8") < 0.6
    path = tmp_path / "config.json"
    old = {key: value for key, value in json.loads(path.read_text()).items() if "tolerance" not in key}
    path.write_text(json.dumps(old))  # as folders of earlier versions
    assert ModelFolder.read(tmp_path).tolerance("int8") == 0.6
