"""Adapts a model to cameras: it teaches itself from stretches of their streams, with what it was as the anchor.

Three losses. *Consistency*: along the update history, under the staleness mask, the model shall say what it says of the
whole picture. *Anchor*: of whole pictures it shall say what the original says. *Clusters*: places of pictures are
labelled by their nearest centres among the original's features, and the model must tell them apart as a history too;
what collapses cannot.
"""

from __future__ import annotations

import copy
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from torch import Tensor

from ovstream.errors import TrainingError
from ovstream.model.encoder import OneVisionEncoder
from ovstream.model.folder import ModelFolder
from ovstream.training.clusters import find_centres, nearest
from ovstream.training.losses import ClusterDiscrimination
from ovstream.training.recipe import Recipe
from ovstream.training.stretches import Grid, Stretch
from ovstream.training.student import Average, Seen, normalised, see, see_history

STATE_NAME = "adapt.pt"
SAVE_SECONDS = 60.0
PLACES = (3, 4)
"""A picture's tokens are averaged over so many places: what is clustered."""
MOST_CLUSTERS = 64
NEAREST = 3
WARMUP = 10
CLIP_NORM = 1.0
FEWEST = 4


@dataclass(frozen=True, slots=True)
class AdaptOptions:
    """What an adaptation is told.

    Attributes:
        steps: Updates of the weights.
        minutes: Time after which it ends, however many steps were made.
        batch: Stretches of a step.
        learning_rate: Peak.
        anchor_weight: Of the distance to the original on whole pictures.
        cluster_weight: Of the discrimination of places.
        seed: Of the choice of stretches.
    """

    steps: int = 200
    minutes: float = 20.0
    batch: int = 4
    learning_rate: float = 1e-4
    anchor_weight: float = 1.0
    cluster_weight: float = 0.002
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    patches: Tensor
    slots: Tensor
    born: Tensor
    whole: Tensor
    grid: Grid


class Adapter:
    """One adaptation.

    Args:
        model: In float32, on the CPU or the device; not changed.
        manifest: Of its folder: how its pixels are normalised.
        stretches: To train with.
        options: What to do.
        folder: Gets `adapt.pt`, which holds weights and a number of steps, no pixels; a run stopped there goes on.

    Raises:
        TrainingError: There are too few stretches, or the folder holds the state of another model.
    """

    def __init__(
        self,
        model: OneVisionEncoder,
        manifest: ModelFolder,
        stretches: Sequence[Stretch],
        options: AdaptOptions,
        folder: Path,
    ) -> None:
        if len(stretches) < FEWEST:
            raise TrainingError(
                f"{len(stretches)} stretches of the streams are too few to adapt with, {FEWEST} are needed: watch longer"
            )
        self._original = copy.deepcopy(model).eval().requires_grad_(False)
        self._manifest, self._options, self._path = manifest, options, folder / STATE_NAME
        self._rng = np.random.default_rng(options.seed)
        self._generator = torch.Generator().manual_seed(options.seed)
        self._of: dict[Grid, list[Stretch]] = defaultdict(list)
        for stretch in stretches:
            self._of[stretch.grid].append(stretch)
        self.model = copy.deepcopy(model).train().requires_grad_(True)
        self.average = Average(self.model, copy.deepcopy(model).eval(), decay=0.98)
        self.step = 0
        self._restore()
        self._discrimination = ClusterDiscrimination(*self._clusters())
        matrices = [p for p in self.model.parameters() if p.dim() > 1]
        others = [p for p in self.model.parameters() if p.dim() <= 1]
        self._optimiser = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": 0.01},
                {"params": [*others, *self._discrimination.parameters()], "weight_decay": 0.0},
            ],
            lr=options.learning_rate,
            betas=(0.9, 0.98),
        )

    def run(self) -> Iterator[dict[str, float]]:
        """Optimises; yields the losses after every step, and saves once a minute."""
        started = saved = time.monotonic()
        first = self.step
        while self.step < self._options.steps:
            elapsed = (time.monotonic() - started) / (60 * self._options.minutes)
            done = max(self.step / self._options.steps, elapsed)
            if done >= 1 and self.step > first:
                break
            warm = min(1.0, (self.step - first + 1) / WARMUP)
            for group in self._optimiser.param_groups:
                factor = 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
                group["lr"] = self._options.learning_rate * warm * max(factor, 0.01)
            losses = self._one_step()
            self.step += 1
            self.average.update(self.step)
            if time.monotonic() - saved > SAVE_SECONDS:
                self.save()
                saved = time.monotonic()
            yield losses | {"step": self.step, "done": max(elapsed, self.step / self._options.steps)}

    def save(self) -> None:
        """Writes the weights; whoever reads meanwhile sees the old ones or the new ones."""
        state = {
            "digest": self._manifest.digest,
            "step": self.step,
            "model": self.model.state_dict(),
            "average": self.average.model.state_dict(),
        }
        partial = self._path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self._path)

    def _restore(self) -> None:
        if not self._path.is_file():
            return
        state = torch.load(self._path, map_location="cpu", weights_only=True)
        if state["digest"] != self._manifest.digest:
            raise TrainingError(f"{self._path} belongs to another model than {self._manifest.model_id}")
        self.model.load_state_dict(state["model"])
        self.average.model.load_state_dict(state["average"])
        self.step = int(state["step"])

    def _clusters(self) -> tuple[Tensor, Recipe]:
        """Centres of what the original says of places, and the options of their discrimination."""
        found = []
        for grid, stretches in self._of.items():
            for start in range(0, len(stretches), 8):
                with torch.no_grad():
                    seen = see(self._original, self._whole(stretches[start : start + 8]), grid)
                found.append(_places(seen, grid))
        features = torch.cat(found)
        self._centre = features.mean(0)
        clusters = max(NEAREST, min(MOST_CLUSTERS, len(features) // 8))
        centres = find_centres(features - self._centre, clusters=clusters, seed=self._options.seed)
        most = max(rows * cols for rows, cols in self._of)
        return centres, Recipe(
            model=self._manifest.architecture,
            grids=tuple(self._of),
            versions=most + 1,
            clusters=clusters,
            cluster_views=2 * clusters,
            nearest=NEAREST,
            drawn=NEAREST,
            negatives=1.0,
        )

    def _one_step(self) -> dict[str, float]:
        batch, options = self._draw(), self._options
        with torch.no_grad():
            truth = see(self._original, batch.whole, batch.grid)
        dense = see(self.model, batch.whole, batch.grid)
        history = see_history(self.model, batch.patches, batch.slots, batch.born, batch.grid)
        wanted = _places(truth, batch.grid) - self._centre
        labels = nearest(wanted, self._discrimination.centres.detach(), NEAREST)
        losses = {
            "consistency": _apart(history, Seen(dense.tokens.detach(), dense.scene.detach())),
            "anchor": _apart(dense, truth),
            "clusters": self._discrimination(
                _places(history, batch.grid) - self._centre, labels, self._generator
            ),
        }
        weights = {"anchor": options.anchor_weight, "clusters": options.cluster_weight}
        total = torch.stack([weights.get(key, 1.0) * value for key, value in losses.items()]).sum()
        if not torch.isfinite(total):
            raise TrainingError(
                f"the loss is {float(total)} in step {self.step + 1}: lower the learning rate"
            )
        self._optimiser.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP_NORM)
        self._optimiser.step()
        return {"loss": float(total.detach())} | {key: float(value.detach()) for key, value in losses.items()}

    def _draw(self) -> _Batch:
        grids = list(self._of)
        sizes = np.array([len(self._of[grid]) for grid in grids], np.float64)
        grid = grids[int(self._rng.choice(len(grids), p=sizes / sizes.sum()))]
        some = self._of[grid]
        chosen = self._rng.choice(len(some), size=min(self._options.batch, len(some)), replace=False)
        return batch_of([some[int(index)] for index in chosen], self._manifest)

    def _whole(self, stretches: Sequence[Stretch]) -> Tensor:
        return _pixels(np.stack([stretch.last() for stretch in stretches]), self._manifest)


def batch_of(stretches: Sequence[Stretch], manifest: ModelFolder) -> _Batch:
    """Stretches of one grid as normalised tensors."""
    return _Batch(
        _pixels(np.stack([stretch.pixels for stretch in stretches]), manifest),
        torch.from_numpy(np.stack([stretch.slots for stretch in stretches])),
        torch.from_numpy(np.stack([stretch.born for stretch in stretches])),
        _pixels(np.stack([stretch.last() for stretch in stretches]), manifest),
        stretches[0].grid,
    )


def _pixels(values: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], manifest: ModelFolder) -> Tensor:
    """(B, n, 3, p, p) uint8 -> (B, n, P)."""
    return normalised(torch.from_numpy(values).flatten(2).float() / 255, manifest.mean, manifest.std)


def _places(seen: Seen, grid: Grid) -> Tensor:
    """(B * places, D): tokens averaged over parts of the picture."""
    cells = seen.tokens.transpose(1, 2).reshape(len(seen.tokens), -1, *grid)
    return F.adaptive_avg_pool2d(cells, PLACES).flatten(2).transpose(1, 2).flatten(0, 1)


def _apart(found: Seen, truth: Seen) -> Tensor:
    """Distance of tokens, in units of their variance over pictures and places, and of scenes, of their size."""
    varies = (truth.tokens - truth.tokens.mean((0, 1))).square().mean().clamp(min=1e-6)
    tokens = (found.tokens - truth.tokens).square().mean() / varies
    scenes = (found.scene - truth.scene).square().sum(1) / truth.scene.square().sum(1).clamp(min=1e-6)
    return tokens + scenes.mean()
