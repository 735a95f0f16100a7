"""A model folder: what its `config.json` says, and where its files are. Needs numpy alone.

```
config.json            ModelFolder, written by the export
weights.safetensors    official key names; float32, or int8 rows with their scales (`<key>_scale`)
float32.onnx           the graph of the modes "exact" and "dense"
int8.onnx              the graph of the mode "fast"
int8.safetensors       its weights, where weights.safetensors holds float32
```
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, cast, get_args

import numpy as np
import numpy.typing as npt

from ovstream.errors import ModelError
from ovstream.model.config import VisionConfig

FORMAT = "ovstream-model-1"
CONFIG_NAME = "config.json"
WEIGHTS_NAME = "weights.safetensors"
INT8_WEIGHTS_NAME = "int8.safetensors"

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
GOLDEN_GRID = (4, 4)
OWN_GRAPH = "onevision"
"""Graphs that `ovstream.model.graph` builds, so that it can build their variants as well."""


SCALE_SUFFIX = "_scale"

Precision = Literal["float32", "int8"]
CacheType = Literal["float32", "float16"]
_TOLERANCE: Mapping[Precision, float] = {"float32": 1e-3, "int8": 0.6}  # of folders that do not tell


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """The content of `config.json`.

    Attributes:
        model_id: Name that subscribers see.
        digest: First 16 hex digits of the SHA-256 over `weights.safetensors`.
        trained: False for random weights.
        licence: Of the weights, one sentence.
        max_tokens: Most patches that a state may hold.
        mean: RGB mean of the normalisation, in 0..1.
        std: RGB standard deviation, in 0..1.
        storage: How `weights.safetensors` holds the linear layers.
        architecture: Shape of the model.
        golden: Scene embeddings of the two `golden_patches`, computed in float32 by torch.
        graph: What made the graphs.
        tolerance_float32: Largest error of the self-test in float32, in units of the distance of the golden vectors.
        tolerance_int8: The same in int8; the export derives it from what int8 costs this very model.
    """

    model_id: str
    digest: str
    trained: bool
    licence: str
    max_tokens: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    storage: Precision
    architecture: VisionConfig
    golden: tuple[tuple[float, ...], tuple[float, ...]]
    graph: str = OWN_GRAPH
    tolerance_float32: float = _TOLERANCE["float32"]
    tolerance_int8: float = _TOLERANCE["int8"]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Reads and checks `config.json`.

        Raises:
            ModelError: There is no such folder or file, it is not JSON, or a key is missing or wrong.
        """
        values = read_json(folder / CONFIG_NAME)
        if values.get("format") != FORMAT:
            raise ModelError(
                f"{folder / CONFIG_NAME}: format is {values.get('format')!r}, not {FORMAT!r}: not an exported model "
                "folder (an official checkpoint needs `ovstream export` first)"
            )
        names = [field.name for field in dataclasses.fields(cls) if field.default is dataclasses.MISSING]
        missing = [name for name in names if name not in values]
        if missing:
            raise ModelError(f"{folder / CONFIG_NAME} lacks {', '.join(missing)}")
        try:
            return cls(
                model_id=str(values["model_id"]),
                digest=str(values["digest"]),
                trained=bool(values["trained"]),
                licence=str(values["licence"]),
                max_tokens=int(values["max_tokens"]),
                mean=_triple(values["mean"]),
                std=_triple(values["std"]),
                storage=_precision(values["storage"]),
                architecture=VisionConfig.from_mapping(values["architecture"]),
                golden=_pair(values["golden"], values["architecture"]["hidden_size"]),
                graph=str(values.get("graph", OWN_GRAPH)),
                tolerance_float32=float(values.get("tolerance_float32", _TOLERANCE["float32"])),
                tolerance_int8=float(values.get("tolerance_int8", _TOLERANCE["int8"])),
            )
        except (TypeError, ValueError, KeyError) as error:
            raise ModelError(f"{folder / CONFIG_NAME}: {error}") from error

    def write(self, folder: Path) -> None:
        """Writes `config.json`; the same content gives the same bytes."""
        values = {"format": FORMAT, **dataclasses.asdict(self)}
        (folder / CONFIG_NAME).write_text(json.dumps(values, indent=1) + "\n")

    def tolerance(self, precision: Precision) -> float:
        """Largest error of the self-test of a graph."""
        return self.tolerance_int8 if precision == "int8" else self.tolerance_float32

    def weights_name(self, precision: Precision) -> str:
        """File with the weights of a graph."""
        return INT8_WEIGHTS_NAME if precision == "int8" and self.storage == "float32" else WEIGHTS_NAME


def graph_name(precision: Precision) -> str:
    """File of a graph."""
    return f"{precision}.onnx"


def read_json(path: Path) -> Mapping[str, Any]:
    """Reads a JSON object.

    Raises:
        ModelError: The file is missing or does not hold one.
    """
    try:
        values = json.loads(path.read_text())
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise ModelError(f"{path} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ModelError(f"{path} does not hold a JSON object")
    return values


def digest_files(paths: Iterable[Path]) -> str:
    """First 16 hex digits of the SHA-256 over the bytes of some files.

    Raises:
        ModelError: A file cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise ModelError(f"{path}: {error.strerror or error}") from error
    return digest.hexdigest()[:16]


def golden_patches(config: VisionConfig) -> npt.NDArray[np.float32]:
    """Two fixed inputs of the self-test, the same on every machine and for every version of numpy.

    Returns:
        (2, 16, 3 * patch * patch) float32 in -1..1, for the grid `GOLDEN_GRID` at t = 0.
    """
    rows, cols = GOLDEN_GRID
    shape = (2, rows * cols, config.patch_values)
    state = np.arange(np.prod(shape), dtype=np.uint32)
    for _ in range(3):  # rounds of an integer hash; products wrap at 32 bits
        state = (state ^ (state >> np.uint32(15))) * np.uint32(0x2C1B3C6D)
    noise = (state >> np.uint32(8)).astype(np.float32) / np.float32(1 << 23) - np.float32(1)
    return noise.reshape(shape)


def _triple(values: Any) -> tuple[float, float, float]:
    first, second, third = (float(value) for value in values)
    return first, second, third


def _precision(value: Any) -> Precision:
    if value not in get_args(Precision):
        raise ValueError(f"storage is {value!r}: must be one of {', '.join(get_args(Precision))}")
    return cast(Precision, value)


def _pair(values: Any, size: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    first, second = (tuple(float(value) for value in vector) for vector in values)
    if len(first) != size or len(second) != size:
        raise ValueError(f"golden vectors must have {size} numbers")
    return first, second
