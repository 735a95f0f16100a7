"""Who says what is alike: any feature extractor in an ONNX file, or the student's own average."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime
import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from torch import Tensor

from ovstream.errors import TrainingError
from ovstream.model.encoder import OneVisionEncoder
from ovstream.model.folder import CLIP_MEAN, CLIP_STD
from ovstream.training.student import Grid, see
from ovstream.types import FloatArray

Triple = tuple[float, float, float]
IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)
SIDE_PX = 224


class Teacher(Protocol):
    """Gives features of pictures.

    Attributes:
        mean: Of the pixels it wants, RGB in 0..1.
        std: Likewise.
    """

    mean: Triple
    std: Triple

    def __call__(self, patches: Tensor, grid: Grid) -> tuple[Tensor, Tensor | None]:
        """(B, N, P) normalised patches -> pooled (B, F), and (B, N, E) of the patches where there are such."""
        ...


class OnnxTeacher:
    """A feature extractor in an ONNX file: pictures (B, 3, H, W) in, (B, F), (B, F, h, w) or (B, n, F) out.

    Pictures are scaled to the size that the file states, 224 x 224 where it states none. A map (B, F, h, w) also
    teaches the tokens.

    Args:
        path: The file.
        mean: Of its pixels, RGB in 0..1.
        std: Likewise.

    Attributes:
        digest: Of the file.

    Raises:
        TrainingError: There is no such file, or it is no such model.
    """

    def __init__(self, path: str | Path, *, mean: Triple = IMAGENET_MEAN, std: Triple = IMAGENET_STD) -> None:
        if not Path(path).is_file():
            raise TrainingError(f"there is no teacher {path}")
        try:
            self._session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common ancestor of their own
            raise TrainingError(f"{path} is no ONNX model: {error}") from error
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[1] not in (3, None, "3"):
            shapes = ", ".join(f"{one.name} {one.shape}" for one in inputs)
            raise TrainingError(f"{path} takes {shapes}: a teacher takes pictures (B, 3, H, W)")
        self.mean, self.std = mean, std
        self._path, self._name = path, inputs[0].name
        self.digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
        batch, _, height, width = inputs[0].shape
        self._batch = batch if isinstance(batch, int) else 0
        self._size = tuple(side if isinstance(side, int) else SIDE_PX for side in (height, width))

    @torch.no_grad()
    def __call__(self, patches: Tensor, grid: Grid) -> tuple[Tensor, Tensor | None]:
        """As `Teacher`; features per place are averaged for the picture."""
        images = pictures(patches.float(), grid)
        if tuple(images.shape[2:]) != self._size:
            images = F.interpolate(images, size=self._size, mode="bicubic", antialias=True)
        found = torch.from_numpy(self._run(images.cpu().numpy())).to(patches.device, torch.float32)
        if found.dim() not in (2, 3, 4) or len(found) != len(patches):
            raise TrainingError(
                f"{self._path} gives {tuple(found.shape)} for {len(patches)} pictures: no features"
            )
        if found.dim() == 4:
            places = F.interpolate(found, size=grid, mode="bilinear", align_corners=False)
            return found.mean((2, 3)), places.flatten(2).transpose(1, 2)
        return (found.mean(1) if found.dim() == 3 else found), None

    def _run(self, images: FloatArray) -> FloatArray:
        size = self._batch or len(images)
        if lacking := -len(images) % size:  # a file of a fixed batch
            padded = np.concatenate([images, images[:1].repeat(lacking, 0)])
        else:
            padded = images
        parts = [
            self._session.run(None, {self._name: np.ascontiguousarray(padded[start : start + size])})[0]
            for start in range(0, len(padded), size)
        ]
        return np.concatenate(parts)[: len(images)]


class SelfTeacher:
    """The averaged student as its own teacher."""

    mean, std = CLIP_MEAN, CLIP_STD

    def __init__(self, model: OneVisionEncoder) -> None:
        self._model = model

    @torch.no_grad()
    def __call__(self, patches: Tensor, grid: Grid) -> tuple[Tensor, None]:
        """As `Teacher`, without tokens: there is nothing to gain from one's own."""
        return see(self._model, patches, grid).scene, None


def pictures(patches: Tensor, grid: Grid) -> Tensor:
    """(B, N, P) -> (B, 3, H, W)."""
    rows, cols = grid
    side = round((patches.shape[2] / 3) ** 0.5)
    cells = patches.view(len(patches), rows, cols, 3, side, side).permute(0, 3, 1, 4, 2, 5)
    return cells.reshape(len(patches), 3, rows * side, cols * side)
