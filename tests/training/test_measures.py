"""Measures against values worked out by hand, and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from ovstream.errors import TrainingError
from ovstream.training.measures import (
    PROBE_STRENGTH,
    centred,
    cosines,
    joined,
    linear_probe,
    moments,
    nearest_neighbours,
    over_time,
    retrieval,
    scored,
    separated,
    separation,
    unexplained,
)


def two_clouds(count: int, dim: int, *, gap: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    points = rng.standard_normal((count, dim)) + gap * labels[:, None] * rng.standard_normal(dim)
    return points.astype(np.float32), labels


def test_neighbours_of_the_own_group_do_not_vote() -> None:
    # two cameras along x, two classes along y: the nearest is of the same camera and the other class
    features = np.array([[9, 1], [9, -1], [-9, 1], [-9, -1]], np.float32)
    labels, cameras = np.array(["up", "down", "up", "down"]), np.array(["a", "a", "b", "b"])
    assert nearest_neighbours(features, labels, np.arange(4), k=1).tolist() == [0, 0, 0, 0]
    apart = np.array([[9, 8], [9, -8], [-9, 8], [-9, -8]], np.float32)
    assert nearest_neighbours(apart, labels, cameras, k=1).tolist() == [1, 1, 1, 1]


def test_one_neighbour_is_that_of_scikit_learn() -> None:
    features, labels = two_clouds(60, 5, gap=0.7)
    unit = centred(features)
    expected = []
    for number in range(60):
        others = np.arange(60) != number
        found = KNeighborsClassifier(1, metric="cosine").fit(unit[others], labels[others])
        expected.append(float(found.predict(unit[[number]])[0] == labels[number]))
    assert nearest_neighbours(features, labels, np.arange(60), k=1).tolist() == expected
    assert 0.5 < np.mean(expected) < 1


def test_nearer_neighbours_count_more() -> None:
    # cosines to the first: .98 of "a"; .5 and .5 of "b": e^9.8 > 2 e^5
    angles = np.arccos([1, 0.98, 0.5, 0.5])
    features = np.stack([np.cos(angles), np.sin(angles) * [1, 1, 1, -1]], axis=1).astype(np.float32)
    labels = np.array(["a", "a", "b", "b"])
    mirrored = np.concatenate([features, -features])  # so that the mean is zero
    groups = np.array([0, 1, 2, 3, 0, 0, 0, 0])
    assert nearest_neighbours(mirrored, np.tile(labels, 2), groups, k=3)[0] == 1


@pytest.mark.parametrize("dim", [4, 90])
def test_the_probe_is_a_logistic_regression(dim: int) -> None:
    """Also where there are more features than items, and rows are turned into their span."""
    features, labels = two_clouds(48, dim, gap=0.4)
    groups = np.arange(48) // 3
    expected = np.zeros(48)
    for train, test in StratifiedGroupKFold(5, shuffle=True, random_state=0).split(features, labels, groups):
        scaler = StandardScaler().fit(features[train])
        model = LogisticRegression(C=PROBE_STRENGTH / dim, max_iter=1000)
        model.fit(scaler.transform(features[train]), labels[train])
        expected[test] = model.predict(scaler.transform(features[test])) == labels[test]
    found = linear_probe(features, labels, groups, rounds=1)
    assert np.mean(found == expected) > 0.95  # a border case may fall either way
    assert expected.mean() > 0.6


def test_the_probe_cannot_learn_groups_by_heart() -> None:
    """Each group lies somewhere of its own and has one label: nothing about other groups follows from it."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 5)
    features = (10 * rng.standard_normal((40, 6))[groups] + rng.standard_normal((200, 6))).astype(np.float32)
    labels = rng.permutation(np.arange(40) % 2)[groups]
    assert linear_probe(features, labels, groups).mean() < 0.65
    assert linear_probe(features, labels, np.arange(200)).mean() > 0.65


def test_what_a_probe_needs() -> None:
    features, labels = two_clouds(6, 2, gap=1)
    with pytest.raises(TrainingError, match="two groups of each class"):
        linear_probe(features, labels, labels)
    with pytest.raises(TrainingError, match="two groups"):
        nearest_neighbours(features, labels, np.zeros(6))


def test_retrieval_and_moments_by_hand() -> None:
    # clip a turns by 10 degrees a picture, clip b likewise, far away; its third picture looks like a's first
    angles = np.radians([0, 10, 20, 30, 180, 190, 2, 210])
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    clips, order = np.repeat(["a", "b"], 4), np.tile(np.arange(4), 2)
    balanced = np.concatenate([features, -features])  # so that the mean is zero
    hits = retrieval(balanced, np.concatenate([clips, np.repeat(["c", "d"], 4)]))
    assert hits[6] == 0
    steady = np.radians([0, 10, 21, 33, 46])
    line = np.stack([np.cos(steady), np.sin(steady)], axis=1).astype(np.float32)
    assert moments(line, np.repeat("a", 5), np.arange(5)).mean() == 1
    shuffled = np.array([0, 2, 4, 1, 3])
    assert moments(line, np.repeat("a", 5), shuffled).mean() < 0.5
    with pytest.raises(TrainingError, match="need four"):
        moments(line[:3], np.repeat("a", 3), np.arange(3))
    with pytest.raises(TrainingError, match="two clips"):
        retrieval(features[:4], clips[:4])
    assert order.shape == (8,)


def test_separation_is_the_area_under_the_curve() -> None:
    assert separation(np.array([1.0, 2, 3]), np.array([False, False, True])) == 1
    assert separation(np.array([1.0, 1, 1, 0]), np.array([True, False, True, False])) == 0.75
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(0, 9, 200), rng.random(200) < 0.3
    assert separation(scores, positive) == pytest.approx(roc_auc_score(positive, scores))
    with pytest.raises(TrainingError, match="negatives"):
        separation(scores, np.ones(200, bool))


def test_nearness_to_the_truth() -> None:
    rng = np.random.default_rng(0)
    true = rng.standard_normal((30, 4)).astype(np.float32)
    found = true + 0.3 * rng.standard_normal((30, 4)).astype(np.float32)
    assert unexplained(found, true) == pytest.approx(
        1 - r2_score(true, found, multioutput="variance_weighted"), abs=1e-5
    )
    assert cosines(true, 3 * true) == pytest.approx(np.ones(30))
    assert cosines(np.eye(2, dtype=np.float32), np.array([[0, 1], [0, -1]], np.float32)).tolist() == [0, -1]
    assert np.isnan(unexplained(true[:3], np.ones((3, 4), np.float32)))


def test_errors_are_those_of_groups() -> None:
    hits = np.random.default_rng(1).random(400) < 0.7
    alone = scored(hits.astype(float), np.arange(400))
    assert alone.error == pytest.approx((0.7 * 0.3 / 400) ** 0.5, rel=0.15)
    assert alone.low < alone.value < alone.high
    # 20 copies of 20 items are 20 items
    together = scored(np.repeat(hits[:20], 20).astype(float), np.repeat(np.arange(20), 20))
    share = hits[:20].mean()
    assert together.error == pytest.approx((share * (1 - share) / 20) ** 0.5, rel=0.15)
    assert (together.items, together.groups) == (400, 20)
    assert np.isnan(scored(np.ones(5), np.zeros(5)).error)


def test_separation_with_errors() -> None:
    rng = np.random.default_rng(2)
    positive = np.arange(200) % 2 == 0
    found = separated(rng.standard_normal(200) + positive, positive, np.arange(200))
    assert found.value == pytest.approx(0.76, abs=0.08)  # of unit normals one deviation apart
    assert found.error == pytest.approx(0.034, abs=0.008)  # Hanley and McNeil, 1982


def test_joined_blocks_weigh_the_same() -> None:
    rng = np.random.default_rng(0)
    small, large = rng.standard_normal((40, 3)), 1000 + 50 * rng.standard_normal((40, 300))
    dead = np.ones((40, 5))
    found = joined([small.astype(np.float32), np.concatenate([large, dead], axis=1).astype(np.float32)])
    assert found.shape == (40, 308)
    assert found.mean(axis=0) == pytest.approx(np.zeros(308), abs=1e-5)
    lengths = (found[:, :3] ** 2).sum() / 40, (found[:, 3:] ** 2).sum() / 40
    assert lengths == pytest.approx((1, 300 / 305), rel=1e-3)
    assert over_time(np.array([[1, 2], [3, 2]], np.float32)).tolist() == [2, 2, 1, 0]
