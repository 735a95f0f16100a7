"""k-means over features, and what a picture is called after it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from torch import Tensor

from ovstream.errors import MissingExtraError, TrainingError


def find_centres(features: Tensor, *, clusters: int, seed: int) -> Tensor:
    """Clusters unit features with mini-batch k-means.

    Args:
        features: (n, D).
        clusters: K.
        seed: Same seed, same centres.

    Returns:
        (K, D) unit vectors on the device of `features`.

    Raises:
        TrainingError: There are fewer features than clusters.
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.cluster import MiniBatchKMeans
    except ImportError:
        raise MissingExtraError("sklearn", extra="training") from None
    if len(features) < clusters:
        raise TrainingError(
            f"{len(features)} pictures for {clusters} clusters: lower `clusters`, or bring more data"
        )
    points: npt.NDArray[np.float32] = F.normalize(features.float(), dim=1).cpu().numpy()
    found = MiniBatchKMeans(
        clusters, random_state=seed, batch_size=max(2048, clusters), n_init=1, max_iter=20, init="random"
    ).fit(points)
    centres = torch.from_numpy(found.cluster_centers_.astype(np.float32)).to(features.device)
    return F.normalize(centres, dim=1)


def nearest(features: Tensor, centres: Tensor, count: int) -> Tensor:
    """(B, count) int64: the classes of features, nearest first."""
    return (F.normalize(features.float(), dim=1) @ centres.T).topk(count, dim=1).indices
