"""The model as the training runs it: dense, or along an update history in one call."""

from __future__ import annotations

import copy
import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from ovstream.model.encoder import OneVisionEncoder, grid_positions
from ovstream.training.staleness import alive_at_end, deaths, staleness_mask

Grid = tuple[int, int]
SHAPES = 64  # that layers may be compiled for


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What the model says: tokens (B, N, D) in the order of the slots, and the scene (B, D)."""

    tokens: Tensor
    scene: Tensor


def normalised(patches: Tensor, mean: tuple[float, float, float], std: tuple[float, float, float]) -> Tensor:
    """(..., P) patches in 0..1, channel first -> zero mean, unit deviation."""
    per = patches.shape[-1] // 3
    return (patches - _repeated(mean, per, patches.device)) / _repeated(std, per, patches.device)


@functools.lru_cache(32)
def _repeated(values: tuple[float, float, float], times: int, device: torch.device) -> Tensor:
    """Kept on the device: a copy to a GPU waits for it."""
    return torch.tensor(values).repeat_interleave(times).to(device)


@functools.lru_cache(32)
def _positions(grid: Grid, device: torch.device) -> Tensor:
    """(N, 3), kept likewise."""
    return grid_positions(torch.zeros(1, dtype=torch.int64), *grid).to(device)


def see(model: OneVisionEncoder, patches: Tensor, grid: Grid) -> Seen:
    """Encodes whole pictures, (B, N, P) normalised."""
    positions = _positions(grid, patches.device)
    x = model.layernorm_pre(model.embeddings(patches))
    tokens = model.layernorm_post(model.encoder(x, model.rope(positions.unsqueeze(0), torch.float32), None))
    return Seen(tokens, tokens.mean(1) if model.head is None else model.head(tokens))


def see_history(model: OneVisionEncoder, patches: Tensor, slots: Tensor, born: Tensor, grid: Grid) -> Seen:
    """Encodes update histories: what the engine would have at their end, in mode "exact".

    Args:
        model: Of the training.
        patches: (B, V, P) normalised.
        slots: (B, V) int64.
        born: (B, V) int64, see `staleness`.
        grid: (rows, cols).
    """
    died = deaths(slots, born)
    mask = staleness_mask(born, died, patches.dtype)
    everywhere = _positions(grid, patches.device)
    x = model.layernorm_pre(model.embeddings(patches))
    x = model.layernorm_post(model.encoder(x, model.rope(everywhere[slots], torch.float32), mask))
    alive = alive_at_end(slots, died, grid[0] * grid[1])
    tokens = x.gather(1, alive.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
    return Seen(tokens, tokens.mean(1) if model.head is None else model.head(tokens))


class Working:
    """The model that steps compute with: on a GPU a copy in bfloat16, whose gradients go to the float32 one.

    Args:
        model: In float32; what the optimiser changes.
        half: Whether to compute in bfloat16.
        compiled: The layers are compiled, once for each shape that they meet.
    """

    def __init__(self, model: OneVisionEncoder, *, half: bool, compiled: bool) -> None:
        self.model = copy.deepcopy(model).bfloat16() if half else model
        self.dtype = torch.bfloat16 if half else torch.float32
        self._pairs = list(zip(model.parameters(), self.model.parameters(), strict=True)) if half else []
        if compiled:
            torch._dynamo.config.recompile_limit = SHAPES
            for layer in self.model.encoder.layers:
                layer.compile(dynamic=False)

    @torch.no_grad()
    def refresh(self) -> None:
        """Takes over the weights, before a step."""
        for _, mine in self._pairs:
            mine.grad = None
        if self._pairs:
            torch._foreach_copy_([mine for _, mine in self._pairs], [theirs for theirs, _ in self._pairs])

    @torch.no_grad()
    def hand_over(self) -> None:
        """Gives the gradients to the float32 model, after the backward pass."""
        for theirs, mine in self._pairs:
            theirs.grad = None if mine.grad is None else mine.grad.float()


class Average:
    """Weights averaged over the steps: what a run delivers."""

    def __init__(self, model: OneVisionEncoder, average: OneVisionEncoder, *, decay: float) -> None:
        self.model, self._source, self._decay = average, model, decay
        self.model.load_state_dict(model.state_dict())
        self.model.requires_grad_(False)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes in one step; early ones forget faster."""
        decay = min(self._decay, (1 + step) / (10 + step))
        mine: list[Tensor] = list(self.model.parameters())
        new: list[Tensor] = list(self._source.parameters())
        torch._foreach_lerp_(mine, new, 1 - decay)
