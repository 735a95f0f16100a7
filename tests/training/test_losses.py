"""The loss against a restatement by loops, and what labels it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ovstream.errors import TrainingError
from ovstream.training.clusters import find_centres, nearest
from ovstream.training.losses import ClusterDiscrimination, _sample
from ovstream.training.recipe import Recipe

from .tiny import recipe


def unit(*shape: int, seed: int) -> Tensor:
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(drawn, dim=-1)


def plainly(embeddings: Tensor, labels: Tensor, centres: Tensor, options: Recipe) -> float:
    """Every label of every picture: a softmax of its own against all classes that are negatives."""
    losses = []
    for embedding, own in zip(embeddings.double(), labels.tolist(), strict=True):
        cosines = (centres.double() @ (embedding / embedding.norm())).tolist()
        for label in own:
            positive = math.exp(options.scale * (cosines[label] - options.margin))
            negatives = 0.0
            for other, cosine in enumerate(cosines):
                alike = float(centres[other].double() @ centres[label].double()) > options.too_similar
                copositive = options.exclude_copositives and other in own
                if other != label and not alike and not copositive:
                    negatives += math.exp(options.scale * cosine)
            losses.append(-math.log(positive / (positive + negatives)))
    return sum(losses) / len(losses)


@given(
    seed=st.integers(0, 10_000), margin=st.floats(0, 0.6), exclude=st.booleans(), similar=st.floats(0.1, 1.1)
)
@settings(max_examples=40, deadline=None)
def test_with_all_classes_and_all_labels_it_is_the_plain_sum(
    seed: int, margin: float, exclude: bool, similar: float
) -> None:
    options = recipe(
        nearest=4,
        drawn=4,
        negatives=1.0,
        margin=margin,
        scale=8.0,
        too_similar=similar,
        exclude_copositives=exclude,
    )
    centres, embeddings = unit(12, 5, seed=seed), 3 * unit(6, 5, seed=seed + 1)
    labels = nearest(embeddings, centres, 4)
    found = ClusterDiscrimination(centres, options)(embeddings, labels)
    assert found.item() == pytest.approx(plainly(embeddings, labels, centres, options), rel=1e-4, abs=1e-5)


@given(seed=st.integers(0, 10_000), share=st.floats(0.0, 1.0))
@settings(max_examples=30, deadline=None)
def test_fewer_negatives_never_cost_more(seed: int, share: float) -> None:
    centres, embeddings = unit(40, 6, seed=seed), unit(5, 6, seed=seed + 1)
    labels = nearest(embeddings, centres, 3)
    some = recipe(nearest=3, drawn=3, negatives=share)
    everything = recipe(nearest=3, drawn=3, negatives=1.0)
    generator = torch.Generator().manual_seed(seed)
    less = ClusterDiscrimination(centres, some)(embeddings, labels, generator)
    assert less <= ClusterDiscrimination(centres, everything)(embeddings, labels) + 1e-4


@given(seed=st.integers(0, 10_000), share=st.floats(0.0, 1.0))
@settings(max_examples=30, deadline=None)
def test_the_sample_has_all_labels_and_a_share_of_the_others(seed: int, share: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(50, (4, 3), generator=generator)
    kept = _sample(labels, 50, share, generator)
    own = set(labels.flatten().tolist())
    assert own <= set(kept.tolist())
    assert kept.tolist() == sorted(set(kept.tolist()))
    assert len(kept) == min(50, 12 + max(1, round(share * 38)))


def test_the_nearest_label_always_counts() -> None:
    centres, embeddings = unit(12, 5, seed=3), unit(6, 5, seed=4)
    labels = nearest(embeddings, centres, 4)
    one = recipe(nearest=4, drawn=1, negatives=1.0)
    found = ClusterDiscrimination(centres, one)(embeddings, labels)
    first = recipe(nearest=4, drawn=1, negatives=1.0, exclude_copositives=False)
    alone = ClusterDiscrimination(centres, first)(embeddings, labels[:, :1])
    assert found <= alone  # its own other labels are no negatives
    shuffled = ClusterDiscrimination(centres, first)(embeddings, labels)
    assert shuffled.item() == pytest.approx(alone.item(), rel=1e-5)


def test_the_loss_moves_pictures_towards_their_centres() -> None:
    centres = unit(12, 5, seed=3)
    embeddings = unit(6, 5, seed=4).requires_grad_()
    labels = nearest(embeddings.detach(), centres, 1)
    loss = ClusterDiscrimination(centres, recipe(nearest=1, drawn=1, negatives=1.0))
    before = loss(embeddings, labels)
    (gradient,) = torch.autograd.grad(before, embeddings)
    assert loss(embeddings - 1e-3 * gradient, labels) < before


def test_k_means_finds_clusters_that_are_there() -> None:
    truth = unit(4, 16, seed=9)
    features = (
        truth.repeat(50, 1) + 0.05 * torch.randn(200, 16, generator=torch.Generator().manual_seed(2))
    ) * 7
    centres = find_centres(features, clusters=4, seed=0)
    again = find_centres(features, clusters=4, seed=0)
    assert torch.equal(centres, again)
    assert torch.allclose(centres.norm(dim=1), torch.ones(4))
    spread = (truth @ centres.T).max(0).values
    assert spread.min() > 0.5
    with pytest.raises(TrainingError, match="lower `clusters`"):
        find_centres(features[:3], clusters=4, seed=0)
