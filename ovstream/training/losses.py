"""Cluster discrimination: multi-label CosFace with sampled negatives (arXiv 2602.08683, section 3; arXiv 1801.09414).

A picture is labelled with its nearest cluster centres. Some of them are drawn; each is a softmax of its own, against
a sample of the other classes, and the mean is the loss.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from torch import Tensor, nn

from ovstream.training.recipe import Recipe
from ovstream.training.student import Seen


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
        own = cosines.gather(1, drawn)  # (B, drawn)
        similar = (centres.detach() @ centres.detach().T) > recipe.too_similar  # (n, n)
        out = similar[drawn]  # (B, drawn, n)
        out = out.scatter(2, drawn.unsqueeze(2), True)
        if recipe.exclude_copositives:
            out = out | torch.zeros_like(cosines, dtype=torch.bool).scatter(1, places, True).unsqueeze(1)
        others = (recipe.scale * cosines).unsqueeze(1).masked_fill(out, float("-inf"))
        wanted = recipe.scale * (own - recipe.margin)
        against = torch.cat([wanted.unsqueeze(2), others], dim=2).logsumexp(2)
        return (against - wanted).mean()


def apart(old: Seen, new: Seen, count: int) -> Tensor:
    """How far an incremental pass is from the dense one on the same picture; the dense one is the truth."""
    scene, truth = old.scene.float(), new.scene[:count].float().detach()
    distance = (scene - truth).square().sum(1) / truth.square().sum(1)
    tokens = F.mse_loss(old.tokens.float(), new.tokens[:count].float().detach())
    return distance.mean() + 0.25 * tokens


def _sample(labels: Tensor, classes: int, share: float, generator: torch.Generator | None) -> Tensor:
    """All labels of the batch and at least a share of the other classes, sorted; how many, no label decides."""
    order = torch.rand(classes, device=labels.device, generator=generator)
    order[labels.flatten()] = 2.0
    most = min(classes, labels.numel())
    count = min(classes, most + max(1, round(share * (classes - most))))
    return order.topk(count).indices.sort().values
