"""Who says what is alike: any feature extractor in an ONNX file, or the student's own average."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from torch import Tensor

from ovstream.encode.ort import onnxruntime
from ovstream.errors import TrainingError
from ovstream.model.encoder import OneVisionEncoder
from ovstream.model.folder import CLIP_MEAN, CLIP_STD
from ovstream.training.graph import TorchGraph
from ovstream.training.student import Grid, see

Triple = tuple[float, float, float]
IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)


class Teacher(Protocol):
    """Gives features of pictures.

    Attributes:
        mean: Of the pixels it wants, RGB in 0..1.
        std: Likewise.
    """

    mean: Triple
    std: Triple

    def __call__(self, patches: Tensor, grid: Grid) -> tuple[Tensor, Tensor | None]:
        """(B, N, P) normalised patches -> pooled (B, F), and a map (B, h, w, E) where there is one."""
        ...


class OnnxTeacher:
    """A feature extractor in an ONNX file: pictures (B, 3, H, W) in, (B, F), (B, F, h, w) or (B, n, F) out.

    Pictures are scaled to the size that the file states; where it states none, they stay as large as the student's.
    A map (B, F, h, w) also teaches the tokens. On the CPU onnxruntime computes, elsewhere torch, in half precision.

    Args:
        path: The file.
        device: Of the computation.
        mean: Of its pixels, RGB in 0..1.
        std: Likewise.

    Attributes:
        digest: Of the file.

    Raises:
        TrainingError: There is no such file, or it is no such model.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        device: str | torch.device = "cpu",
        mean: Triple = IMAGENET_MEAN,
        std: Triple = IMAGENET_STD,
    ) -> None:
        if not Path(path).is_file():
            raise TrainingError(f"there is no teacher {path}")
        try:
            session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common ancestor of their own
            raise TrainingError(f"{path} is no ONNX model: {error}") from error
        inputs = session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[1] not in (3, None, "3"):
            shapes = ", ".join(f"{one.name} {one.shape}" for one in inputs)
            raise TrainingError(f"{path} takes {shapes}: a teacher takes pictures (B, 3, H, W)")
        self.mean, self.std = mean, std
        self._path, self._name, self._session = path, inputs[0].name, session
        self._graph: TorchGraph | None = None
        if (elsewhere := torch.device(device)).type != "cpu":
            self._graph = TorchGraph(path, device=elsewhere, dtype=torch.float16)
        self.digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
        batch, _, height, width = inputs[0].shape
        self._batch = batch if isinstance(batch, int) else 0
        self._size = tuple(side if isinstance(side, int) else None for side in (height, width))

    @torch.no_grad()
    def __call__(self, patches: Tensor, grid: Grid) -> tuple[Tensor, Tensor | None]:
        """As `Teacher`; features per place are averaged for the picture."""
        images = pictures(patches, grid)
        size = tuple(stated or shown for stated, shown in zip(self._size, images.shape[2:], strict=True))
        if tuple(images.shape[2:]) != size:
            images = F.interpolate(images.float(), size=size, mode="bicubic", antialias=True)
        found = self._padded(images)
        if found.dim() not in (2, 3, 4) or len(found) != len(patches):
            raise TrainingError(
                f"{self._path} gives {tuple(found.shape)} for {len(patches)} pictures: no features"
            )
        if found.dim() == 4:
            return found.mean((2, 3)), found.permute(0, 2, 3, 1)
        return (found.mean(1) if found.dim() == 3 else found), None

    def _padded(self, images: Tensor) -> Tensor:
        """All pictures, in as many runs as a file of a fixed batch needs."""
        size = self._batch or len(images)
        if lacking := -len(images) % size:
            images = torch.cat([images, images[:1].expand(lacking, -1, -1, -1)])
        parts = [self._run(part) for part in torch.split(images, size)]
        return torch.cat(parts)[: len(images) - lacking]

    def _run(self, images: Tensor) -> Tensor:
        if self._graph is not None:
            return self._graph(images)
        given = np.ascontiguousarray(images.float().cpu().numpy())
        return torch.from_numpy(self._session.run(None, {self._name: given})[0]).to(
            images.device, torch.float32
        )


class SelfTeacher:
    """The averaged student as its own teacher."""

    mean, std = CLIP_MEAN, CLIP_STD

    def __init__(self, model: OneVisionEncoder) -> None:
        self._model = model

    @torch.no_grad()
    def __call__(self, patches: Tensor, grid: Grid) -> tuple[Tensor, None]:
        """As `Teacher`, without tokens: there is nothing to gain from one's own."""
        half = patches.device.type == "cuda"
        with torch.autocast(patches.device.type, dtype=torch.bfloat16, enabled=half):
            return see(self._model, patches, grid).scene.float(), None


def pictures(patches: Tensor, grid: Grid) -> Tensor:
    """(B, N, P) -> (B, 3, H, W)."""
    rows, cols = grid
    side = round((patches.shape[2] / 3) ** 0.5)
    cells = patches.view(len(patches), rows, cols, 3, side, side).permute(0, 3, 1, 4, 2, 5)
    return cells.reshape(len(patches), 3, rows * side, cols * side)
