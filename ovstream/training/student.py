"""The model as the training runs it: dense, or along an update history in one call."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ovstream.model.encoder import OneVisionEncoder, grid_positions
from ovstream.training.staleness import alive_at_end, deaths, staleness_mask

Grid = tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What the model says: tokens (B, N, D) in the order of the slots, and the scene (B, D)."""

    tokens: Tensor
    scene: Tensor


def normalised(patches: Tensor, mean: tuple[float, float, float], std: tuple[float, float, float]) -> Tensor:
    """(..., P) patches in 0..1, channel first -> zero mean, unit deviation."""
    per = patches.shape[-1] // 3
    centre = torch.tensor(mean, device=patches.device).repeat_interleave(per)
    scale = torch.tensor(std, device=patches.device).repeat_interleave(per)
    return (patches - centre) / scale


def see(model: OneVisionEncoder, patches: Tensor, grid: Grid) -> Seen:
    """Encodes whole pictures, (B, N, P) normalised."""
    positions = grid_positions(torch.zeros(1, dtype=torch.int64, device=patches.device), *grid)
    tokens, scene = model.encode_tokens(patches, positions.expand(len(patches), -1, -1))
    return Seen(tokens, tokens.mean(1) if scene is None else scene)


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
    kind = patches.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else patches.dtype
    mask = staleness_mask(born, died, dtype)
    everywhere = grid_positions(torch.zeros(1, dtype=torch.int64, device=patches.device), *grid)
    x = model.layernorm_pre(model.embeddings(patches))
    x = model.layernorm_post(model.encoder(x, model.rope(everywhere[slots], x.dtype), mask))
    alive = alive_at_end(slots, died, grid[0] * grid[1])
    tokens = x.gather(1, alive.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
    return Seen(tokens, tokens.mean(1) if model.head is None else model.head(tokens))


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
