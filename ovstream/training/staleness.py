"""The mask that turns incremental inference into one call: every version of a token sees what was alive then.

Row i is a version of a patch that was encoded at step `born[i]`. It sees version j where
`born[j] <= born[i] < died[j]`; a version dies when its slot is encoded again. The tokens that are alive at the end,
and the scene that the pooling head makes of them, are exactly those of `ovstream.encode` in mode "exact".
"""

from __future__ import annotations

import torch
from torch import Tensor

NEVER = 1 << 30


def deaths(slots: Tensor, born: Tensor) -> Tensor:
    """When each version is replaced.

    Args:
        slots: (B, V) int64.
        born: (B, V) int64, ascending along V; a slot occurs once a step.

    Returns:
        (B, V) int64; `NEVER` for those that are alive at the end.
    """
    same = slots.unsqueeze(2) == slots.unsqueeze(1)  # (B, V, V): i, j
    later = born.unsqueeze(1) > born.unsqueeze(2)  # j replaces i
    when = born.unsqueeze(1).expand_as(same).masked_fill(~(same & later), NEVER)
    return when.amin(2)


def staleness_mask(born: Tensor, died: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """(B, 1, V, V) to add to the scores: 0 where row sees column, -inf elsewhere; every row sees itself."""
    row, seen_from, seen_until = born.unsqueeze(2), born.unsqueeze(1), died.unsqueeze(1)
    sees = (seen_from <= row) & (row < seen_until)
    mask = torch.zeros(sees.shape, dtype=dtype, device=born.device)
    return mask.masked_fill_(~sees, float("-inf")).unsqueeze(1)


def alive_at_end(slots: Tensor, died: Tensor, tokens: int) -> Tensor:
    """(B, N) int64: for each slot 0 .. N - 1 the version that is alive at the end.

    Args:
        slots: (B, V) int64; each of the N slots occurs.
        died: From `deaths`.
        tokens: N.
    """
    order = torch.where(died == NEVER, slots, slots + tokens).argsort(dim=1)
    return order[:, :tokens]
