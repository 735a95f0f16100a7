"""Update histories of real streams, as the codec and our planner made them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ovstream.errors import TrainingError
from ovstream.training.packs import History
from ovstream.training.views import Films

FEWEST_UPDATES = 4
STRETCHES = 1024  # of a grid; a stretch is four rows of numbers, its pixels are shared
REFRESHED = 16  # slots at once, once a stream has ended
Grid = tuple[int, int]
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class _Stretches:
    """Stretches of the streams of one grid.

    Attributes:
        pixels: (m, P) uint8, patches of all streams.
        versions: (S, V) int64 into `pixels`.
        slots: (S, V) int64.
        born: (S, V) int64.
        last: (S, N) int64 into `pixels`: the canvas at the end.
    """

    pixels: Tensor
    versions: Tensor
    slots: Tensor
    born: Tensor
    last: Tensor


class Records:
    """Draws stretches of recorded streams.

    The stretches are chosen when this is made, and everything lies on the device: a draw copies nothing to it.

    Args:
        histories: Those nearly without updates are left out.
        patch: Side of a patch in pixels, which must be theirs.
        updates: Of a grid: versions of tokens after the first picture.
        device: Where the films shall be.
        generator: Of that device; chooses among the stretches.
        seed: Same seed, same stretches.
        stretches: Of a grid.

    Raises:
        TrainingError: Patches are of another size.
    """

    def __init__(
        self,
        histories: Iterable[History],
        *,
        patch: int,
        updates: Callable[[Grid], int],
        device: torch.device,
        generator: torch.Generator,
        seed: int,
        stretches: int = STRETCHES,
    ) -> None:
        self._device, self._generator = device, generator
        found: dict[Grid, list[History]] = {}
        for history in histories:
            if history.pixels.shape[-1] != patch:
                side = history.pixels.shape[-1]
                raise TrainingError(f"recorded streams have patches of {side} px, the model of {patch} px")
            if len(history) >= FEWEST_UPDATES:
                found.setdefault(history.grid, []).append(history)
        rng = np.random.default_rng(seed)
        self._of = {
            grid: self._choose(some, updates(grid), stretches, rng)
            for grid, some in found.items()
            if updates(grid) > 0
        }

    def __contains__(self, grid: Grid) -> bool:
        return grid in self._of

    def films(self, count: int, grid: Grid) -> Films:
        """Draws histories of a grid that is `in` these; the result is as that of `Views.films`."""
        known = self._of[grid]
        drawn = torch.randint(len(known.slots), (count,), device=self._device, generator=self._generator)
        return Films(
            known.pixels[known.versions[drawn]].float() / 255,
            known.slots[drawn],
            known.born[drawn],
            known.pixels[known.last[drawn]].float() / 255,
        )

    def _choose(
        self, histories: list[History], updates: int, stretches: int, rng: np.random.Generator
    ) -> _Stretches:
        starts = np.cumsum([0, *(len(history.slots) for history in histories)])
        rows: list[tuple[Numbers, ...]] = []
        for _ in range(stretches):
            which = int(rng.integers(len(histories)))
            versions, slots, born, last = _stretch(histories[which], updates, rng)
            rows.append((versions + starts[which], slots, born, last + starts[which]))
        tables = [torch.from_numpy(np.stack(column)).to(self._device) for column in zip(*rows, strict=True)]
        pixels = torch.from_numpy(np.concatenate([history.pixels for history in histories]))
        return _Stretches(pixels.flatten(1).to(self._device), *tables)


def _stretch(history: History, updates: int, rng: np.random.Generator) -> tuple[Numbers, ...]:
    """Patches and slots of the versions, their steps, and the patches of the last canvas."""
    tokens = history.grid[0] * history.grid[1]
    start = int(rng.integers(1, max(2, len(history) - 1)))
    latest = np.zeros(tokens, np.int64)
    before = int(history.offsets[start])
    latest[history.slots[:before]] = np.arange(before)  # of equal slots the last one stays
    age = latest.copy()
    versions, slots, born = [latest.copy()], [np.arange(tokens)], [np.zeros(tokens, np.int64)]
    left, step = updates, 0
    for index in range(start, len(history)):
        part = np.arange(history.offsets[index], history.offsets[index + 1])[:left]
        if len(part) == 0 or len(part) > tokens // 2:
            continue
        step += 1
        where = history.slots[part].astype(np.int64)
        latest[where], age[where] = part, before + step + len(history.slots)
        versions.append(part)
        slots.append(where)
        born.append(np.full(len(part), step))
        left -= len(part)
        if left == 0:
            break
    while left:  # the stream ended: the oldest patches once more, as a rolling refresh would
        step += 1
        where = age.argsort(kind="stable")[: min(left, REFRESHED)]
        age[where] = before + step + len(history.slots)
        versions.append(latest[where])
        slots.append(where)
        born.append(np.full(len(where), step))
        left -= len(where)
    return np.concatenate(versions), np.concatenate(slots), np.concatenate(born), latest
