"""What features are worth: nearest neighbours, a linear probe, retrieval, separation, nearness to dense passes.

Pure functions of arrays. Each answer says how sure it is: errors come from drawing whole groups again (what belongs
together, say the clips of one camera, is no independent evidence), 1000 times from a fixed seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ovstream.errors import MissingExtraError, TrainingError
from ovstream.types import FloatArray

Names = npt.NDArray[Any]
Doubles = npt.NDArray[np.float64]

DRAWS = 1000
VOTE_WIDTH = 0.1  # of the cosine: how much more a nearer neighbour counts
PROBE_STRENGTH = 10.0  # inverse of the L2 penalty, for rows of unit length
PROBE_ROUNDS = 3
PROBE_FOLDS = 5


@dataclass(frozen=True, slots=True)
class Score:
    """A share with its uncertainty.

    Attributes:
        value: 0..1.
        error: Standard error.
        low: End of the 95 % interval.
        high: Likewise.
        items: That were judged.
        groups: Of items, drawn as a whole.
    """

    value: float
    error: float
    low: float
    high: float
    items: int
    groups: int

    def __str__(self) -> str:
        return f"{self.value:.1%} ± {self.error:.1%}"


def centred(features: FloatArray) -> FloatArray:
    """Takes the mean of all rows away and scales each to unit length, so that cosines compare what differs."""
    moved = features - features.mean(axis=0, keepdims=True)
    lengths = np.linalg.norm(moved, axis=1, keepdims=True)
    result: FloatArray = (moved / np.maximum(lengths, 1e-12)).astype(np.float32)
    return result


def joined(blocks: Sequence[FloatArray]) -> FloatArray:
    """Puts features of different kinds side by side so that each kind weighs the same.

    Args:
        blocks: (n, D) each; columns are standardised over the n and divided by the root of D.

    Returns:
        (n, sum of D).
    """
    scaled = []
    for block in blocks:
        deviation = block.std(axis=0)
        scale = np.where(deviation > 1e-6, deviation, np.inf) * np.sqrt(block.shape[1])
        scaled.append((block - block.mean(axis=0)) / scale)
    return np.concatenate(scaled, axis=1).astype(np.float32)


def over_time(values: FloatArray) -> FloatArray:
    """(f, D) features of the pictures of a clip to (2 D,): their mean and standard deviation."""
    return np.concatenate([values.mean(axis=0), values.std(axis=0)])


def nearest_neighbours(features: FloatArray, labels: Names, groups: Names, *, k: int = 5) -> Doubles:
    """Names each item by its neighbours of other groups.

    Args:
        features: (n, D).
        labels: (n,).
        groups: (n,), what must not help each other.
        k: Neighbours that vote, by cosine of centred features, nearer ones more: exp(cosine / 0.1).

    Returns:
        (n,) 1 where the name is right, else 0.

    Raises:
        TrainingError: There is one group only.
    """
    if len(np.unique(groups)) < 2:
        raise TrainingError("neighbours of other groups need at least two groups")
    names, numbers = np.unique(labels, return_inverse=True)
    unit = centred(features)
    similar = unit @ unit.T
    similar[groups[:, None] == groups[None, :]] = -np.inf
    k = min(k, len(features) - 1)
    nearest = np.argsort(-similar, axis=1, kind="stable")[:, :k]
    votes = np.exp(np.take_along_axis(similar, nearest, axis=1) / VOTE_WIDTH)
    sums = np.zeros((len(features), len(names)))
    np.add.at(sums, (np.arange(len(features))[:, None], numbers[nearest]), votes)
    hits: Doubles = (sums.argmax(axis=1) == numbers).astype(np.float64)
    return hits


def linear_probe(
    features: FloatArray, labels: Names, groups: Names, *, rounds: int = PROBE_ROUNDS, seed: int = 0
) -> Doubles:
    """Names each item by a logistic regression that has not seen its group.

    Features are standardised by what was trained on and divided by the root of their number, so that one penalty
    suits features of any length. Folds keep the classes as even as the groups allow.

    Args:
        features: (n, D).
        labels: (n,).
        groups: (n,), never divided between training and test.
        rounds: Divisions into folds.
        seed: Of the divisions.

    Returns:
        (n,) share of the rounds in which the name is right.

    Raises:
        TrainingError: A class has fewer than two groups.
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.model_selection import StratifiedGroupKFold
    except ImportError:
        raise MissingExtraError("sklearn", extra="training") from None
    folds = min([PROBE_FOLDS, *(len(np.unique(groups[labels == name])) for name in np.unique(labels))])
    if folds < 2:
        raise TrainingError("a probe needs at least two groups of each class")
    hits = np.zeros(len(features))
    for number in range(rounds):
        division = StratifiedGroupKFold(folds, shuffle=True, random_state=seed + number)
        for train, test in division.split(features, labels, groups):
            hits[test] += _fitted(features[train], labels[train], features[test]) == labels[test]
    return hits / rounds


def _fitted(known: FloatArray, labels: Names, asked: FloatArray) -> Names:
    """Labels of `asked`. Rows are turned into the span of `known`, which leaves the solution as it is."""
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(labels)) < 2:
        return np.full(len(asked), labels[0])
    mean, deviation = known.mean(axis=0), known.std(axis=0)
    scale = np.where(deviation > 1e-6 * max(float(deviation.max()), 1e-30), deviation, np.inf)
    scale = scale * np.sqrt(known.shape[1])
    known, asked = (known - mean) / scale, (asked - mean) / scale
    if known.shape[1] > len(known):
        _, _, axes = np.linalg.svd(known, full_matrices=False)
        known, asked = known @ axes.T, asked @ axes.T
    model = LogisticRegression(C=PROBE_STRENGTH, max_iter=1000).fit(known, labels)
    named: Names = model.predict(asked)
    return named


def retrieval(features: FloatArray, clips: Names) -> Doubles:
    """Whether the nearest other picture comes from the same clip: (n,) 0 or 1.

    Raises:
        TrainingError: There are fewer than two clips, or fewer than two pictures of one.
    """
    _, counts = np.unique(clips, return_counts=True)
    if len(counts) < 2 or counts.min() < 2:
        raise TrainingError("retrieval needs at least two clips with two pictures each")
    hits: Doubles = (clips[_nearest(centred(features))] == clips).astype(np.float64)
    return hits


def moments(features: FloatArray, clips: Names, order: npt.NDArray[np.integer]) -> Doubles:
    """Whether the nearest other picture of the same clip is a neighbour in time: (n,) 0 or 1.

    Args:
        features: (n, D).
        clips: (n,).
        order: (n,) number of the picture among those of its clip; neighbours differ by 1.

    Raises:
        TrainingError: A clip has fewer than four pictures.
    """
    hits, unit = np.zeros(len(features)), centred(features)
    for clip in np.unique(clips):
        mine = np.flatnonzero(clips == clip)
        if len(mine) < 4:
            raise TrainingError(f"{clip} has {len(mine)} pictures: neighbours in time need four")
        found = mine[_nearest(unit[mine])]
        hits[mine] = np.abs(order[found] - order[mine]) == 1
    return hits


def _nearest(unit: FloatArray) -> npt.NDArray[np.int64]:
    """(n,) row of the nearest other row, by cosine."""
    similar = unit @ unit.T
    np.fill_diagonal(similar, -np.inf)
    result: npt.NDArray[np.int64] = similar.argmax(axis=1)
    return result


def separation(scores: npt.NDArray[Any], positive: npt.NDArray[np.bool_]) -> float:
    """Area under the ROC curve: how often a positive scores above a negative, ties counting half.

    Raises:
        TrainingError: There are no positives, or no negatives.
    """
    high, low = np.sort(scores[positive]), np.sort(scores[~positive])
    if not len(high) or not len(low):
        raise TrainingError("separation needs positives and negatives")
    below = np.searchsorted(low, high, side="left")
    up_to = np.searchsorted(low, high, side="right")
    return float((below + up_to).sum() / (2 * len(high) * len(low)))


def cosines(found: FloatArray, true: FloatArray) -> Doubles:
    """(n,) row by row."""
    lengths = np.linalg.norm(found, axis=-1) * np.linalg.norm(true, axis=-1)
    result: Doubles = (found * true).sum(-1) / np.maximum(lengths, 1e-12)
    return result


def unexplained(found: FloatArray, true: FloatArray) -> float:
    """FVU, sum |e - e*|^2 / sum |e* - mean|^2; NaN where `true` never changes."""
    spread = float(((true - true.mean(axis=0)) ** 2).sum())
    return float(((found - true) ** 2).sum()) / spread if spread > 0 else float("nan")


def scored(hits: Doubles, groups: Names, *, seed: int = 0) -> Score:
    """The mean of hits, and what it would be for other groups of the same kind.

    Args:
        hits: (n,) 0..1.
        groups: (n,), drawn again as a whole.
        seed: Of the draws.
    """
    _, numbers = np.unique(groups, return_inverse=True)
    sums, counts = np.bincount(numbers, hits), np.bincount(numbers)
    drawn = np.random.default_rng(seed).integers(0, len(sums), (DRAWS, len(sums)))
    return _score(float(hits.mean()), sums[drawn].sum(1) / counts[drawn].sum(1), len(hits), len(sums))


def separated(
    scores: npt.NDArray[Any], positive: npt.NDArray[np.bool_], groups: Names, *, seed: int = 0
) -> Score:
    """`separation` with its uncertainty; draws that hold one kind alone do not count."""
    names, numbers = np.unique(groups, return_inverse=True)
    members = [np.flatnonzero(numbers == number) for number in range(len(names))]
    rng, found = np.random.default_rng(seed), []
    for _ in range(DRAWS):
        rows = np.concatenate([members[number] for number in rng.integers(0, len(names), len(names))])
        if 0 < positive[rows].sum() < len(rows):
            found.append(separation(scores[rows], positive[rows]))
    return _score(separation(scores, positive), np.array(found), len(scores), len(names))


def _score(value: float, draws: Doubles, items: int, groups: int) -> Score:
    if groups < 2 or not len(draws):
        return Score(value, float("nan"), float("nan"), float("nan"), items, groups)
    low, high = np.quantile(draws, [0.025, 0.975])
    return Score(value, float(draws.std(ddof=1)), float(low), float(high), items, groups)
