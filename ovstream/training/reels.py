"""Keeps drawn films for some steps: a film costs more to draw than to learn from."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch

from ovstream.training.recipe import Recipe
from ovstream.training.views import Bank, Films, Views, joined

MOST_STEPS = 16
Grid = tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class _Reel:
    """Films of one grid, and which set of them it is."""

    number: int
    films: Films


class Reels:
    """Draws films; the same recipe and step give the same ones, also in a run that goes on.

    Args:
        bank: On the device.
        recipe: Seed, share and size of films, how long they are kept.
        generator: Of the device; chooses among those that are kept.
    """

    def __init__(self, bank: Bank, recipe: Recipe, *, generator: torch.Generator) -> None:
        self._recipe, self._choice = recipe, generator
        self._device = bank.photos.device
        self._generator = torch.Generator(self._device)
        self._views = Views(bank, patch=recipe.model.patch_size, generator=self._generator)
        self._kept: dict[Grid, _Reel] = {}

    def films(self, count: int, grid: Grid, step: int) -> Films:
        """`count` films of the set that this step belongs to."""
        number = step // (self._recipe.film_reuse * len(self._recipe.grids))
        reel = self._kept.get(grid)
        if reel is None or reel.number != number:
            reel = self._kept[grid] = _Reel(number, self._draw(count, grid, number))
        chosen = torch.randperm(len(reel.films.slots), device=self._device, generator=self._choice)[:count]
        films = reel.films
        return Films(films.patches[chosen], films.slots[chosen], films.born[chosen], films.last[chosen])

    def _draw(self, count: int, grid: Grid, number: int) -> Films:
        """Twice as many as a step needs, in two numbers of updates; or just as many where none is kept."""
        chance = random.Random(f"{self._recipe.seed} {grid} {number}")
        self._generator.manual_seed(chance.getrandbits(62))
        updates = self._recipe.updates(grid)
        possible = [
            steps
            for steps in range(1, MOST_STEPS + 1)
            if updates % steps == 0 and updates // steps <= grid[0] * grid[1]
        ]
        parts = [
            self._views.films(count, grid, steps=chance.choice(possible), updates=updates)
            for _ in range(2 if self._recipe.film_reuse > 1 else 1)
        ]
        return joined(*parts) if len(parts) == 2 else parts[0]
