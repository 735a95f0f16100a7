"""Writes the folder that `ovstream.encode` runs.

As a program it writes the graphs of an exported folder again from its weights, bit for bit the same wherever it runs:

```
python -m ovstream.model.export ovstream/models/ov-nano
```
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor

from ovstream.model.config import VisionConfig
from ovstream.model.encoder import OneVisionEncoder, grid_positions
from ovstream.model.folder import (
    CLIP_MEAN,
    CLIP_STD,
    GOLDEN_GRID,
    INT8_WEIGHTS_NAME,
    WEIGHTS_NAME,
    ModelFolder,
    Precision,
    digest_files,
    golden_patches,
    graph_name,
)
from ovstream.model.graph import build_graph
from ovstream.model.layers import PatchEmbedding, PoolingHead
from ovstream.model.weights import dequantise, quantise, random_weights, write_tensors

STAGES = ("rounding the weights", "writing the weights", "computing golden vectors", "writing the graphs")


def export_model(
    model: OneVisionEncoder,
    folder: str | Path,
    *,
    model_id: str,
    trained: bool,
    licence: str = "as the checkpoint it was exported from",
    weights: Precision = "float32",
    spare: Collection[str] = (),
    max_tokens: int = 1024,
    mean: tuple[float, float, float] = CLIP_MEAN,
    std: tuple[float, float, float] = CLIP_STD,
    on_stage: Callable[[str], None] = lambda _: None,
) -> ModelFolder:
    """Writes a model folder: graphs, weights, configuration.

    Args:
        model: What to export; it is not changed.
        folder: Made if absent; files of the same names are replaced.
        model_id: Name that subscribers will see.
        trained: Whether the vectors mean something.
        licence: Of the weights, one sentence.
        weights: "float32" keeps the weights and adds int8 ones for the mode "fast"; "int8" holds the matrices of
            all modes as int8 rows, a quarter of the size, and so rounds what "exact" computes with.
        spare: Parts of keys whose matrices no mode rounds, such as "head.".
        max_tokens: Most patches that a state may hold.
        mean: RGB mean of the normalisation, in 0..1.
        std: RGB standard deviation, in 0..1.
        on_stage: Told what begins, once for each of `STAGES`.

    Returns:
        What `config.json` says.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    on_stage(STAGES[0])
    tensors = {key: value.detach().float().cpu().numpy() for key, value in model.state_dict().items()}
    rounded = quantise(tensors, spare=spare)
    coarse = dequantise({key: torch.from_numpy(value) for key, value in rounded.items()})
    kept = {key: torch.from_numpy(value) for key, value in tensors.items()}
    on_stage(STAGES[1])
    if weights == "int8":
        kept = coarse
        write_tensors(target / WEIGHTS_NAME, rounded)
    else:
        write_tensors(target / WEIGHTS_NAME, tensors)
        write_tensors(target / INT8_WEIGHTS_NAME, rounded)
    on_stage(STAGES[2])
    golden = _golden(model_from(model.config, kept))
    manifest = ModelFolder(
        model_id=model_id,
        digest=digest_files([target / WEIGHTS_NAME]),
        trained=trained,
        licence=licence,
        max_tokens=max_tokens,
        mean=mean,
        std=std,
        storage=weights,
        architecture=model.config,
        golden=golden,
        tolerance_int8=_int8_tolerance(model_from(model.config, coarse), golden),
    )
    on_stage(STAGES[3])
    _write(manifest, target)
    return manifest


def model_from(config: VisionConfig, tensors: dict[str, Tensor]) -> OneVisionEncoder:
    """Makes a model of tensors with official keys, in evaluation mode."""
    model = OneVisionEncoder(config)
    model.load_state_dict(tensors)
    return model.eval()


def random_model(config: VisionConfig, *, seed: int) -> OneVisionEncoder:
    """Makes an untrained model whose embeddings tell inputs apart: see `random_weights`."""
    drawn = random_weights(OneVisionEncoder.shapes(config), seed=seed)
    return model_from(config, {key: torch.from_numpy(value) for key, value in drawn.items()})


def rebuild(folder: str | Path) -> ModelFolder:
    """Writes the graphs and the configuration of an exported folder again; its weights stay as they are.

    Raises:
        ModelError: It is no exported folder.
    """
    target = Path(folder)
    known = ModelFolder.read(target)
    manifest = dataclasses.replace(known, golden=_golden(OneVisionEncoder.from_pretrained(target)))
    _write(manifest, target)
    return manifest


def _write(manifest: ModelFolder, target: Path) -> None:
    """Graphs over the weights that lie there, and `config.json`."""
    precisions: tuple[Precision, Precision] = ("float32", "int8")
    for precision in precisions:
        weights = target / manifest.weights_name(precision)
        (target / graph_name(precision)).write_bytes(
            build_graph(manifest.architecture, weights, precision=precision)
        )
        onnx.checker.check_model(target / graph_name(precision))
    manifest.write(target)


@torch.no_grad()
def _golden(model: OneVisionEncoder) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Scene embeddings of the golden inputs, to six digits."""
    positions = grid_positions(torch.zeros(1, dtype=torch.int64), *GOLDEN_GRID).expand(2, -1, -1)
    patches = torch.from_numpy(golden_patches(model.config))
    tokens, scene = model.encode_tokens(patches, positions)
    first, second = (tokens.mean(1) if scene is None else scene).numpy().astype(np.float64)
    return _digits(first), _digits(second)


INT8_MARGIN = 3.0
"""Times the error that int8 costs, what a self-test may show: kernels round in different places."""

LEAST_TOLERANCE = 0.05


def _int8_tolerance(model: OneVisionEncoder, golden: tuple[tuple[float, ...], tuple[float, ...]]) -> float:
    """What int8 costs a model on the golden inputs, with a margin: its matrices are rounded, here its activations too.

    Args:
        model: With the weights of the int8 graph; its linear layers get a hook that rounds what they are given.
        golden: What float32 gives.
    """
    for layer in model.modules():
        if isinstance(layer, (torch.nn.Linear, PatchEmbedding, PoolingHead)):
            layer.register_forward_pre_hook(lambda _, inputs: (_rounded(inputs[0]), *inputs[1:]))
    exact, found = np.array(golden), np.array(_golden(model))
    error = np.linalg.norm(found - exact, axis=1).max() / np.linalg.norm(exact[0] - exact[1])
    return float(f"{max(INT8_MARGIN * error, LEAST_TOLERANCE):.3g}")


def _rounded(x: Tensor) -> Tensor:
    """To 8 bits with one scale and offset, as the graph does when it runs."""
    low, high = x.min().clamp(max=0), x.max().clamp(min=0)
    scale = ((high - low) / 255).clamp(min=1e-12)
    return ((x - low) / scale).round() * scale + low


def _digits(vector: npt.NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(f"{value:.6g}") for value in vector)


def main() -> None:
    """Writes the graphs of the folder on the command line again."""
    parser = argparse.ArgumentParser(description="Writes the graphs of an exported model folder again.")
    parser.add_argument("folder", type=Path)
    manifest = rebuild(parser.parse_args().folder)
    print(f"{manifest.model_id} {manifest.digest}")


if __name__ == "__main__":
    main()
