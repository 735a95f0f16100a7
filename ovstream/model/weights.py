"""Checkpoints: safetensors files in and out, int8 rows, random weights. Needs torch's extra for safetensors."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ovstream.errors import ModelError
from ovstream.model.config import VisionConfig
from ovstream.model.folder import (
    CONFIG_NAME,
    FORMAT,
    SCALE_SUFFIX,
    WEIGHTS_NAME,
    digest_files,
    read_json,
)
from ovstream.model.naming import renamed

Shapes = dict[str, tuple[int, ...]]
Arrays = dict[str, npt.NDArray[np.generic]]


def load_checkpoint(
    folder: Path,
    *,
    expected: Callable[[VisionConfig], Shapes],
    names: Mapping[str, str],
    config: VisionConfig | None = None,
) -> tuple[VisionConfig, dict[str, Tensor], str]:
    """Reads configuration and weights, and checks every shape.

    Args:
        folder: Official (`config.json`, `*.safetensors`, in one piece or several) or exported by us.
        expected: Gives the shape of every tensor by key.
        names: Table of names: see `naming.renamed`.
        config: Replaces that of the folder.

    Returns:
        config: Shape of the model.
        tensors: float32, by official key.
        digest: First 16 hex digits of the SHA-256 over the weight files.

    Raises:
        ModelError: As `OneVisionEncoder.from_pretrained` says.
    """
    exported = False
    if config is None:
        values = read_json(folder / CONFIG_NAME)
        exported = values.get("format") == FORMAT
        config = VisionConfig.from_mapping(values["architecture"] if exported else values)
    files = [folder / WEIGHTS_NAME] if exported else sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(f"{folder}: no *.safetensors file")
    import safetensors.torch

    stored: dict[str, Tensor] = {}
    for file in files:
        try:
            stored |= safetensors.torch.load_file(file)
        except (OSError, safetensors.SafetensorError) as error:
            raise ModelError(f"{file}: {error}") from error
    tensors = renamed(dequantise(stored), names)
    _check_shapes(folder, {key: tuple(value.shape) for key, value in tensors.items()}, expected(config))
    return config, tensors, digest_files(files)


def dequantise(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Undoes `quantise`: float32 tensors by official key.

    Raises:
        ModelError: An int8 tensor has no fitting scale.
    """
    tensors: dict[str, Tensor] = {}
    for key, value in stored.items():
        if key.endswith(SCALE_SUFFIX):
            continue
        tensors[key] = value.float()
        if value.dtype == torch.int8:
            scale = stored.get(key + SCALE_SUFFIX)
            if scale is None or len(scale) != len(value):
                raise ModelError(f"'{key}' is int8 without a fitting '{key + SCALE_SUFFIX}'")
            tensors[key] *= scale.view(-1, *[1] * (value.dim() - 1))
    return tensors


def _check_shapes(folder: Path, found: Shapes, expected: Shapes) -> None:
    problems = [f"missing: {', '.join(sorted(expected.keys() - found))}"] if expected.keys() - found else []
    if found.keys() - expected:
        problems.append(f"unexpected: {', '.join(sorted(found.keys() - expected))}")
    problems += [
        f"'{key}' is {found[key]}, must be {expected[key]}"
        for key in sorted(found.keys() & expected)
        if found[key] != expected[key]
    ]
    if problems:
        raise ModelError(f"{folder}: the weights do not fit {CONFIG_NAME}: " + "; ".join(problems))


def is_linear(key: str, shape: tuple[int, ...]) -> bool:
    """Whether a tensor is the matrix of a linear layer, which may be held as int8."""
    return key.endswith("weight") and len(shape) > 1


def quantise(tensors: Mapping[str, npt.NDArray[np.float32]], *, spare: Collection[str] = ()) -> Arrays:
    """Holds the matrices as int8 rows with one float32 scale a row; the rest stays float32.

    Symmetric, without zero point: w = q * scale, q in -127..127, scale = max|row| / 127.

    Args:
        tensors: By official key.
        spare: Parts of keys whose matrices stay float32 too.
    """
    out: Arrays = {}
    for key, value in tensors.items():
        if not is_linear(key, value.shape) or any(part in key for part in spare):
            out[key] = value
            continue
        rows = value.reshape(len(value), -1)
        scale = (np.abs(rows).max(axis=1) / np.float32(127)).astype(np.float32)
        scale[scale == 0] = 1  # a row of zeros
        out[key] = np.rint(rows / scale[:, None]).astype(np.int8).reshape(value.shape)
        out[key + SCALE_SUFFIX] = scale
    return out


def write_tensors(path: Path, tensors: Mapping[str, npt.NDArray[np.generic]]) -> None:
    """Writes a safetensors file; the same tensors give the same bytes."""
    import safetensors.numpy

    arrays = {key: np.ascontiguousarray(tensors[key]) for key in sorted(tensors)}
    path.write_bytes(safetensors.numpy.save(arrays))  # save_file would make it readable by its owner alone


def random_weights(shapes: Shapes, *, seed: int) -> dict[str, npt.NDArray[np.float32]]:
    """Draws weights for a model that nobody trained.

    Plain initialisation (std 0.02) would make attention uniform and all embeddings nearly equal. Here queries and
    keys are larger, so that scores have a standard deviation of about two and tokens look at chosen others, and the
    other matrices keep the variance of their input.

    Args:
        shapes: Of every tensor, by official key.
        seed: Same seed, same weights.

    Returns:
        float32 arrays by key.
    """
    rng = np.random.default_rng(seed)
    out: dict[str, npt.NDArray[np.float32]] = {}
    for key in sorted(shapes):
        shape = shapes[key]
        noise = rng.standard_normal(shape)
        if key.endswith("bias"):
            value = 0.02 * noise
        elif "norm" in key:
            value = 1 + 0.05 * noise
        elif key == "head.probe":
            value = noise
        else:
            fan_in = float(np.prod(shape[1:]))
            value = noise * (_gain(key) / fan_in) ** 0.5
        out[key] = value.astype(np.float32)
    return out


def _gain(key: str) -> float:
    """Variance that a matrix gives to an output, for inputs of variance one."""
    return 2.0 if "q_proj" in key or "k_proj" in key or "in_proj" in key else 1.0
