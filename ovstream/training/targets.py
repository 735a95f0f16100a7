"""What the student shall say of a picture: the teacher's features, reduced to the student's width."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """Centre, scale, turn: principal components of standardised features, as unit vectors.

    Attributes:
        centre: (F,) mean.
        deviation: (F,) what each feature is divided by.
        components: (F, D).
    """

    centre: Tensor
    deviation: Tensor
    components: Tensor

    @classmethod
    def fit(cls, features: Tensor, width: int) -> Projection:
        """Finds the components of (n, F) features; of fewer than D, the rest is zero."""
        centre, deviation = features.mean(0), features.std(0).clamp(min=1e-6)
        standard = ((features - centre) / deviation).double()
        vectors = torch.linalg.eigh(standard.T @ standard).eigenvectors.flip(1)[:, :width]
        gain = (width / (standard @ vectors).square().sum(1).mean()).sqrt()
        components = F.pad(vectors * gain, (0, max(0, width - vectors.shape[1])))
        return cls(centre, deviation, components.to(features.dtype))

    def __call__(self, features: Tensor) -> Tensor:
        """(B, F) -> (B, D) unit vectors."""
        standard = (features.to(self.centre.dtype) - self.centre) / self.deviation
        return F.normalize(standard @ self.components, dim=1)

    def turn(self, features: Tensor) -> Tensor:
        """(..., F) -> (..., D), of mean square one over what it was fitted on."""
        return (features.to(self.centre.dtype) - self.centre) / self.deviation @ self.components

    def to(self, device: torch.device | str) -> Projection:
        """The same on another device."""
        return Projection(self.centre.to(device), self.deviation.to(device), self.components.to(device))

    def tensors(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        return {"centre": self.centre, "deviation": self.deviation, "components": self.components}


def spread(places: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, h, w, D) features of places -> (B, N, D) of the patches of a grid."""
    if tuple(places.shape[1:3]) == grid:
        return places.flatten(1, 2)
    sized = F.interpolate(places.permute(0, 3, 1, 2), size=grid, mode="bilinear", align_corners=False)
    return sized.flatten(2).transpose(1, 2)
