"""Looks at a run, on views that stay the same: does the student group pictures as its teacher does, and keep step?

The views are drawn from the pictures of the training; they tell how a run goes, not how good its model is.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from torch import Tensor

from ovstream.model.encoder import OneVisionEncoder
from ovstream.model.folder import CLIP_MEAN, CLIP_STD
from ovstream.training.clusters import find_centres, nearest
from ovstream.training.labels import Labels
from ovstream.training.recipe import Recipe
from ovstream.training.student import normalised, see, see_history
from ovstream.training.teachers import Teacher
from ovstream.training.views import Bank, Views

VIEWS, FILMS, CHUNK = 256, 32, 32
GROUPS, NEIGHBOURS = 16, 5
MOST_STEPS = 16
SEED = 90_001  # beside the recipe's


class Looks:
    """Measures a model in the making.

    Args:
        recipe: Grid, seed and size of films.
        bank: On the device.
        teacher: Groups the views; None leaves purity and neighbours out.
        labels: The teacher's components.
    """

    def __init__(self, recipe: Recipe, bank: Bank, teacher: Teacher | None, labels: Labels) -> None:
        self._seed, self._grid = recipe.seed, recipe.grids[0]
        generator = torch.Generator(bank.photos.device).manual_seed(recipe.seed + SEED)
        views = Views(bank, patch=recipe.model.patch_size, generator=generator)
        self._groups: Tensor | None = None
        if teacher is not None:
            whole = views.photos(VIEWS, self._grid)
            self._shown = normalised(whole, CLIP_MEAN, CLIP_STD)
            taught = normalised(whole, teacher.mean, teacher.std)
            parts = [teacher(part, self._grid)[0].float() for part in torch.split(taught, CHUNK)]
            self._groups = self._grouped(labels.scene_of(torch.cat(parts)))
        updates = recipe.updates(self._grid)
        steps = max(steps for steps in range(1, MOST_STEPS + 1) if updates % steps == 0)
        self._films = views.films(FILMS, self._grid, steps=steps, updates=updates)

    @torch.no_grad()
    def look(self, model: OneVisionEncoder) -> dict[str, float]:
        """Measures.

        Args:
            model: In float32.

        Returns:
            purity: Of the student's clusters: share of views that lie in a cluster with most of their group.
            knn: Share of views whose nearest others are of their group, by majority.
            fvu: Variance of dense embeddings at the end of films that incremental ones do not explain.
        """
        films = self._films
        history, last = (normalised(x, CLIP_MEAN, CLIP_STD) for x in (films.patches, films.last))
        old = see_history(model, history, films.slots, films.born, self._grid).scene
        new = see(model, last, self._grid).scene
        fvu = (old - new).square().sum() / (new - new.mean(0)).square().sum()
        if self._groups is None:
            return {"fvu": float(fvu)}
        parts = [see(model, part, self._grid).scene for part in torch.split(self._shown, CHUNK)]
        scenes = torch.cat(parts)
        scenes = F.normalize(scenes - scenes.mean(0), dim=1)
        return {
            "purity": purity(self._grouped(scenes), self._groups),
            "knn": neighbours(scenes, self._groups),
            "fvu": float(fvu),
        }

    def _grouped(self, scenes: Tensor) -> Tensor:
        centres = find_centres(scenes, clusters=GROUPS, seed=self._seed)
        return nearest(scenes, centres, 1)[:, 0]


def purity(clusters: Tensor, groups: Tensor) -> float:
    """Share of those that belong to the largest group of their cluster; both (n,) int64."""
    table = torch.zeros(int(clusters.max()) + 1, int(groups.max()) + 1, device=groups.device)
    table.index_put_((clusters, groups), torch.ones(len(groups), device=groups.device), accumulate=True)
    return float(table.max(1).values.sum() / len(groups))


def neighbours(features: Tensor, groups: Tensor) -> float:
    """Share of (n, D) unit vectors whose `NEIGHBOURS` nearest others are, by majority, of their group."""
    alike = (features @ features.T).fill_diagonal_(-2.0)
    votes = F.one_hot(groups[alike.topk(NEIGHBOURS, dim=1).indices]).sum(1)
    return float((votes.argmax(1) == groups).float().mean())
