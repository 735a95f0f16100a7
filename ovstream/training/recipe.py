"""What a training run is told."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ovstream.errors import TrainingError
from ovstream.model.config import PRESETS, VisionConfig

NANO = PRESETS["nano"]
"""Shape of the embedded default model."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides what a run does; the same recipe, data and seed give the same weights on one machine.

    Attributes:
        model: Shape.
        grids: (rows, cols) that take turns; the first is used for k-means.
        early_grids: Smaller ones, as much cheaper, that take turns in the first part of the run.
        early_share: That part.
        seed: Of weights, views and samples.
        steps: Updates of the weights.
        batch: Pictures of a step.
        film_share: Part of a step that are last pictures of films: codec patches, with the staleness mask.
        collage_share: Part that is put together of four.
        film_reuse: Steps that draw from one set of drawn films, twice as many as a step needs.
        versions: Tokens of a film on the largest grid, all versions together.
        masked: Films are also learnt along their history, with the staleness mask; without, a run to compare with.
        learning_rate: Peak.
        weight_decay: Of matrices.
        warmup: Steps until the learning rate is at its peak.
        clusters: Classes of the discrimination.
        cluster_views: Pictures that k-means sees.
        nearest: Centres that label a picture.
        drawn: Labels of a picture in a step.
        margin: CosFace m.
        scale: CosFace s.
        negatives: Share of the other classes that a step compares with.
        too_similar: Cosine above which another class is no negative.
        exclude_copositives: A picture's other labels are no negatives.
        scene_weight: Of the distance to the teacher's scene.
        token_weight: Of the distance to the teacher's tokens.
        cluster_weight: Of the discrimination.
        consistency_weight: Of the distance between incremental and dense.
        ema: Decay of the averaged weights, which are what the run delivers.
        rounds: Without a teacher: how often the model's own features are clustered.
        start: Digest of the model whose weights the run begins with; "" begins with random ones.
        checkpoint_seconds: Between checkpoints.
    """

    model: VisionConfig = NANO
    grids: tuple[tuple[int, int], ...] = ((16, 16), (12, 21))
    early_grids: tuple[tuple[int, int], ...] = ()
    early_share: float = 0.0
    seed: int = 0
    steps: int = 1500
    batch: int = 256
    film_share: float = 0.5
    collage_share: float = 0.125
    film_reuse: int = 8
    versions: int = 384
    masked: bool = True
    learning_rate: float = 7e-4
    weight_decay: float = 0.05
    warmup: int = 300
    clusters: int = 2048
    cluster_views: int = 24_576
    nearest: int = 10
    drawn: int = 8
    margin: float = 0.3
    scale: float = 64.0
    negatives: float = 0.1
    too_similar: float = 0.75
    exclude_copositives: bool = True
    scene_weight: float = 1.0
    token_weight: float = 0.5
    cluster_weight: float = 0.05
    consistency_weight: float = 1.0
    ema: float = 0.999
    rounds: int = 3
    start: str = ""
    checkpoint_seconds: float = 60.0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "clusters", "nearest", "drawn", "warmup", "rounds", "film_reuse"):
            if getattr(self, name) < 1:
                raise TrainingError(f"{name} must be positive")
        if not self.grids or any(min(grid) < 2 for grid in (*self.grids, *self.early_grids)):
            raise TrainingError("grids must name at least one (rows, cols), each of two at least")
        if not 0 <= self.early_share <= 1 or (self.early_share > 0 and not self.early_grids):
            raise TrainingError("early_share is a part of the run, and needs early_grids")
        if self._largest >= self.versions:
            raise TrainingError("versions must be more than the patches of every grid")
        if not self.drawn <= self.nearest <= self.clusters:
            raise TrainingError("drawn <= nearest <= clusters is needed")
        if self.cluster_views < 2 * self.clusters:
            raise TrainingError("cluster_views must be at least twice clusters")
        if self.films < 1 or self.films + self.collages > self.batch:
            raise TrainingError("film_share must give at least one film, and leave room for the collages")

    @property
    def films(self) -> int:
        """Films of a step."""
        return round(self.batch * self.film_share)

    @property
    def collages(self) -> int:
        """Collages of a step."""
        return round(self.batch * self.collage_share)

    @property
    def _largest(self) -> int:
        return max(rows * cols for rows, cols in self.grids)

    def grid_at(self, step: int) -> tuple[int, int]:
        """The grid of a step."""
        grids = self.early_grids if step < self.early_share * self.steps else self.grids
        return grids[step % len(grids)]

    def updates(self, grid: tuple[int, int]) -> int:
        """Versions of a film's tokens after its first picture: fewer on a grid that is smaller than all `grids`."""
        tokens = grid[0] * grid[1]
        if tokens in (rows * cols for rows, cols in self.grids):
            return self.versions - tokens
        return max(1, round(tokens * (self.versions - self._largest) / self._largest / 4) * 4)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Recipe:
        """Reads options; what is absent keeps its default.

        Raises:
            TrainingError: A name is unknown, or a value makes no sense.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(values.keys() - known)
        if unknown:
            raise TrainingError(
                f"unknown in a recipe: {', '.join(unknown)}; known are {', '.join(sorted(known))}"
            )
        changed: dict[str, Any] = dict(values)
        try:
            if "model" in changed:
                changed["model"] = VisionConfig(**(dataclasses.asdict(NANO) | dict(changed["model"])))
            for field in dataclasses.fields(cls):
                if isinstance(field.default, float) and isinstance(changed.get(field.name), str):
                    changed[field.name] = float(
                        changed[field.name]
                    )  # YAML takes 1e-4, without a point, for text
            for name in {"grids", "early_grids"} & changed.keys():
                changed[name] = tuple((int(rows), int(cols)) for rows, cols in changed[name])
            return cls(**changed)
        except (TypeError, ValueError) as error:
            raise TrainingError(f"the recipe makes no sense: {error}") from error

    def to_mapping(self) -> dict[str, Any]:
        """The options as plain data."""
        values = dataclasses.asdict(self)
        for name in ("grids", "early_grids"):
            values[name] = [list(grid) for grid in values[name]]
        return values


def read_recipe(path: Path) -> Recipe:
    """Reads a file of options: JSON, such as the `recipe.json` that each run writes, else YAML.

    Raises:
        TrainingError: It is missing or no recipe; names the file.
    """
    is_json = path.suffix.lower() == ".json"
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text) if is_json else yaml.safe_load(text)
    except OSError as error:
        raise TrainingError(f"{path}: {error.strerror or error}") from error
    except (ValueError, yaml.YAMLError) as error:
        raise TrainingError(f"{path} is no {'JSON' if is_json else 'YAML'}: {error}") from error
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise TrainingError(f"{path} must hold options by name")
    try:
        return Recipe.from_mapping(values)
    except TrainingError as error:
        raise TrainingError(f"{path}: {error}") from error
