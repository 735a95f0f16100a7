"""Cluster discrimination: multi-label CosFace with sampled negatives (arXiv 2602.08683, section 3; arXiv 1801.09414).

A picture is labelled with its nearest cluster centres. Some of them are drawn; each is a softmax of its own, against
a sample of the other classes, and the mean is the loss.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from torch import Tensor, nn

from ovstream.training.recipe import Recipe


class ClusterDiscrimination(nn.Module):
    """Class centres and the loss over them.

    Args:
        centres: (K, D) where k-means found them; they move with the training.
        recipe: Margin, scale and samples.
    """

    def __init__(self, centres: Tensor, recipe: Recipe) -> None:
        super().__init__()
        self.centres = nn.Parameter(F.normalize(centres.float(), dim=1))
        self._recipe = recipe

    def forward(self, embeddings: Tensor, labels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Loss of a batch.

        Args:
            embeddings: (B, D).
            labels: (B, nearest) int64, classes of each picture, nearest first.
            generator: Of the samples.
        """
        recipe, classes = self._recipe, len(self.centres)
        kept = _sample(labels, classes, recipe.negatives, generator)  # (n,) sorted
        centres = F.normalize(self.centres[kept], dim=1)
        cosines = F.normalize(embeddings.float(), dim=1) @ centres.T  # (B, n)
        places = torch.searchsorted(kept, labels.contiguous())  # (B, nearest)
        # the nearest label always counts; the others are drawn
        chosen = torch.rand(labels.shape, device=labels.device, generator=generator)
        chosen[:, 0] = 2.0
        drawn = places.gather(1, chosen.topk(recipe.drawn, dim=1).indices)  # (B, drawn)
        excluded = torch.zeros_like(cosines, dtype=torch.bool)
        if recipe.exclude_copositives:
            excluded = excluded.scatter(1, places, True)
        similar = (centres.detach() @ centres.detach().T) > recipe.too_similar  # (n, n)
        losses = [self._one(cosines, drawn[:, index], excluded, similar) for index in range(recipe.drawn)]
        return torch.stack(losses).mean()

    def _one(self, cosines: Tensor, label: Tensor, excluded: Tensor, similar: Tensor) -> Tensor:
        own = cosines.gather(1, label.unsqueeze(1))
        out = excluded | similar[label]
        out = out.scatter(1, label.unsqueeze(1), True)
        others = (self._recipe.scale * cosines).masked_fill(out, float("-inf"))
        logits = torch.cat([self._recipe.scale * (own - self._recipe.margin), others], dim=1)
        return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64, device=logits.device))


def _sample(labels: Tensor, classes: int, share: float, generator: torch.Generator | None) -> Tensor:
    """All labels of the batch and a share of the other classes, sorted."""
    order = torch.rand(classes, device=labels.device, generator=generator)
    order[labels.flatten()] = 2.0
    present = int((order == 2.0).sum())
    count = min(classes, present + max(1, round(share * (classes - present))))
    return order.topk(count).indices.sort().values
