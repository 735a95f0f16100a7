"""What a step sees: films, photos and collages, for the student and for the teacher."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ovstream.model.folder import CLIP_MEAN, CLIP_STD
from ovstream.training.packs import History
from ovstream.training.recipe import Recipe
from ovstream.training.records import Records
from ovstream.training.reels import Reels
from ovstream.training.student import normalised
from ovstream.training.teachers import Teacher
from ovstream.training.views import Bank, Films, Views, joined

CHUNK = 256
DISTURBANCE = 0.25  # of a unit deviation: what a student without teacher must see through


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Normalised patches of one step.

    Attributes:
        films: Histories, `patches` normalised for the student.
        whole: (B, N, P) for the student: last pictures of the films first.
        taught: The same for the teacher.
        grid: (rows, cols).
    """

    films: Films
    whole: Tensor
    taught: Tensor
    grid: tuple[int, int]


class Batches:
    """Draws the batches of a run.

    Args:
        recipe: Shares, grids and sizes.
        bank: On the device.
        histories: Of real streams; they make half of the films on their grids.
        generator: Of the device.
    """

    def __init__(
        self, recipe: Recipe, bank: Bank, histories: Iterable[History], *, generator: torch.Generator
    ) -> None:
        self._recipe, self._generator, self._device = recipe, generator, bank.photos.device
        patch = recipe.model.patch_size
        self._views = Views(bank, patch=patch, generator=generator)
        self._reels = Reels(bank, recipe, generator=generator)
        fitting = [history for history in histories if history.grid in recipe.grids]
        self._records = Records(
            fitting,
            patch=patch,
            updates=recipe.updates,
            device=self._device,
            generator=generator,
            seed=recipe.seed,
        )

    def label_views(self) -> Iterator[Tensor]:
        """Chunks of (b, N, P) views in 0..1 on the first grid: photos and collages, mixed as in the steps."""
        recipe, grid = self._recipe, self._recipe.grids[0]
        for start in range(0, recipe.cluster_views, CHUNK):
            size = min(CHUNK, recipe.cluster_views - start)
            collages = round(size * recipe.collage_share)
            yield torch.cat([self._views.photos(size - collages, grid), self._views.collages(collages, grid)])

    def draw(self, step: int, teacher: Teacher, *, disturbed: bool) -> Batch:
        """The batch of a step.

        Args:
            step: Decides the grid, and the films that are kept for some steps.
            teacher: Says how its pixels are normalised.
            disturbed: The student sees other contrast and brightness than the teacher.
        """
        recipe = self._recipe
        grid = recipe.grid_at(step)
        recorded = recipe.films // 2 if grid in self._records else 0
        films = self._reels.films(recipe.films - recorded, grid, step)
        if recorded:
            films = joined(self._records.films(recorded, grid), films)
        others = recipe.batch - recipe.films - recipe.collages
        whole = torch.cat(
            [films.last, self._views.photos(others, grid), self._views.collages(recipe.collages, grid)]
        )
        taught = normalised(whole, teacher.mean, teacher.std)
        shown = normalised(whole, CLIP_MEAN, CLIP_STD)
        history = normalised(films.patches, CLIP_MEAN, CLIP_STD)
        if disturbed:
            shown, history = self._disturbed(shown), self._disturbed(history)
        return Batch(Films(history, films.slots, films.born, films.last), shown, taught, grid)

    def _disturbed(self, x: Tensor) -> Tensor:
        gain, shift = (
            DISTURBANCE * torch.randn((len(x), 1, 1), device=self._device, generator=self._generator)
            for _ in range(2)
        )
        return x * (1 + gain) + shift
