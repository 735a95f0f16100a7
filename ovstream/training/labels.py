"""What a teacher makes of the data before the first step: the components of its features, and cluster centres."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ovstream.training.clusters import find_centres
from ovstream.training.recipe import Recipe
from ovstream.training.student import normalised
from ovstream.training.targets import Projection
from ovstream.training.teachers import Teacher

TOKEN_CHUNKS = 8  # of views: enough for the components of tokens
TOKEN_STEP = 3  # odd: all columns of a map


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """What the student is taught.

    Attributes:
        scene_of: Pooled features of the teacher -> unit vectors of the student's width.
        tokens_of: Features of places -> tokens; None with a teacher that has no places.
        centres: (K, D) unit vectors.
    """

    scene_of: Projection
    tokens_of: Projection | None
    centres: Tensor

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {
            "scene_of": self.scene_of.tensors(),
            "tokens_of": self.tokens_of.tensors() if self.tokens_of else {},
            "centres": self.centres,
        }

    def to(self, device: torch.device | str) -> Labels:
        """The same on another device."""
        tokens = self.tokens_of and self.tokens_of.to(device)
        return Labels(self.scene_of.to(device), tokens, self.centres.to(device))

    @classmethod
    def restored(cls, state: dict[str, Any]) -> Labels:
        """From a checkpoint."""
        tokens = Projection(**state["tokens_of"]) if state["tokens_of"] else None
        return cls(Projection(**state["scene_of"]), tokens, state["centres"])


@torch.no_grad()
def find_labels(recipe: Recipe, teacher: Teacher, views: Iterable[Tensor], *, seed: int) -> Labels:
    """Lets the teacher look at pictures, and clusters what it says.

    Args:
        recipe: Number of clusters, width, grids.
        teacher: On the device of the views.
        views: Chunks (b, N, P) in 0..1 on the recipe's first grid.
        seed: Of k-means.
    """
    features: list[Tensor] = []
    tokens: list[Tensor] = []
    for chunk in views:
        pooled, places = teacher(normalised(chunk, teacher.mean, teacher.std), recipe.grids[0])
        features.append(pooled.float())
        if places is not None and len(tokens) < TOKEN_CHUNKS:
            tokens.append(places.flatten(0, 2)[::TOKEN_STEP].float())
    everything, width = torch.cat(features), recipe.model.hidden_size
    scene_of = Projection.fit(everything, width)
    tokens_of = Projection.fit(torch.cat(tokens), width) if tokens else None
    centres = find_centres(scene_of(everything), clusters=recipe.clusters, seed=seed)
    return Labels(scene_of, tokens_of, centres)
