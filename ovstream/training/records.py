"""Update histories of real streams, as the codec and our planner made them."""

from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch

from ovstream.errors import TrainingError
from ovstream.training.packs import History
from ovstream.training.views import Films

FEWEST_UPDATES = 4


class Records:
    """Draws stretches of recorded streams.

    Args:
        histories: Those nearly without updates are left out.
        patch: Side of a patch in pixels, which must be theirs.
        device: Where the films shall be.
        seed: Same seed, same stretches.

    Raises:
        TrainingError: Patches are of another size.
    """

    def __init__(self, histories: Iterable[History], *, patch: int, device: torch.device, seed: int) -> None:
        self._device = device
        self._rng = np.random.default_rng(seed)
        self._of: dict[tuple[int, int], list[History]] = {}
        for history in histories:
            if history.pixels.shape[-1] != patch:
                side = history.pixels.shape[-1]
                raise TrainingError(f"recorded streams have patches of {side} px, the model of {patch} px")
            if len(history) >= FEWEST_UPDATES:
                self._of.setdefault(history.grid, []).append(history)

    def __contains__(self, grid: tuple[int, int]) -> bool:
        return grid in self._of

    @property
    def state(self) -> str:
        """Of the random choice, for a checkpoint."""
        return json.dumps(self._rng.bit_generator.state)

    @state.setter
    def state(self, value: str) -> None:
        self._rng.bit_generator.state = json.loads(value)

    def films(self, count: int, grid: tuple[int, int], *, updates: int) -> Films:
        """Draws histories of a grid that is `in` these; arguments and result as `Views.films`."""
        drawn = [self._one(grid, updates) for _ in range(count)]
        pixels = torch.from_numpy(np.stack([one[0] for one in drawn])).to(self._device)
        slots = torch.from_numpy(np.stack([one[1] for one in drawn])).to(self._device)
        born = torch.from_numpy(np.stack([one[2] for one in drawn])).to(self._device)
        last = torch.from_numpy(np.stack([one[3] for one in drawn])).to(self._device)
        return Films(pixels.flatten(2).float() / 255, slots, born, last.flatten(2).float() / 255)

    def _one(self, grid: tuple[int, int], updates: int) -> tuple[npt.NDArray[np.generic], ...]:
        """Pixels and slots of the versions, their steps, and the last canvas."""
        histories = self._of[grid]
        history = histories[int(self._rng.integers(len(histories)))]
        tokens = grid[0] * grid[1]
        start = int(self._rng.integers(1, max(2, len(history) - 1)))
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
            where = age.argsort(kind="stable")[: min(left, 16)]
            age[where] = before + step + len(history.slots)
            versions.append(latest[where])
            slots.append(where)
            born.append(np.full(len(where), step))
            left -= len(where)
        chosen = np.concatenate(versions)
        return history.pixels[chosen], np.concatenate(slots), np.concatenate(born), history.pixels[latest]
