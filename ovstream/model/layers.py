"""Blocks of the encoder. Attribute names are the keys of the released checkpoints.

B batch, N tokens, D width, H heads, h head width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from torch import Tensor, nn

from ovstream.model.config import VisionConfig
from ovstream.model.rope import frequencies


class Rope(nn.Module):
    """Cosines and sines of positions; no parameters. The mathematics, and its trap, stand in `rope.py`.

    The frequencies are no buffer, because `model.bfloat16()` would round them too, and a rounded frequency turns
    late frames by wrong angles.
    """

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self._frequencies = frequencies(config)
        self._kept: dict[tuple[torch.dtype, torch.device], Tensor] = {}  # a copy to a GPU waits for it

    def forward(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Makes the table of a sequence.

        Args:
            positions: (B, N, 3) integer, (t, h, w).
            dtype: Of the result; angles are computed in float32 at least, as in the released code.

        Returns:
            cos, sin: (B, 1, N, h), to broadcast over the heads.
        """
        exact = torch.promote_types(dtype, torch.float32)
        key = exact, positions.device
        if key not in self._kept:
            self._kept[key] = torch.as_tensor(self._frequencies, dtype=exact, device=positions.device)
        per_position = self._kept[key]
        # One product of three is not zero, so the sum is exact; a matrix product might use reduced precision.
        angles = (positions.to(exact).unsqueeze(-1) * per_position).sum(-2).unsqueeze(1)
        return angles.cos().to(dtype), angles.sin().to(dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turns queries or keys, (B, H, N, h), by the table of `Rope`, which may be more precise than they are."""
    partner = torch.stack((-x[..., 1::2], x[..., ::2]), dim=-1).flatten(-2)  # (x0, x1) -> (-x1, x0)
    return (x * cos + partner * sin).to(x.dtype)


class Attention(nn.Module):
    """Multi-head self-attention with turned queries and keys."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.k_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.v_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.out_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor, table: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        """(B, N, D) -> (B, N, D); `mask` is added to the scores, (B or 1, 1, N, N)."""
        q, k, v = (self._heads(p(x)) for p in (self.q_proj, self.k_proj, self.v_proj))  # (B, H, N, h)
        y = F.scaled_dot_product_attention(rotate(q, *table), rotate(k, *table), v, attn_mask=mask)
        return self.out_proj(y.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.num_heads, -1).transpose(1, 2)


class Mlp(nn.Module):
    """Two linear layers around the exact (erf) GELU."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return self.fc2(F.gelu(self.fc1(x)))  # type: ignore[no-any-return]


class Layer(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.self_attn = Attention(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = Mlp(config)

    def forward(self, x: Tensor, table: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        x = x + self.self_attn(self.layer_norm1(x), table, mask)
        return x + self.mlp(self.layer_norm2(x))  # type: ignore[no-any-return]


class Layers(nn.Module):
    """The stack of blocks."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))

    def forward(self, x: Tensor, table: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        for layer in self.layers:
            x = layer(x, table, mask)
        return x


class PoolingHead(nn.Module):
    """Multi-head attention pooling: a learnt probe looks at all tokens, then one MLP block."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.probe = nn.Parameter(torch.randn(1, 1, config.hidden_size))
        self.attention = nn.MultiheadAttention(
            config.hidden_size, config.num_attention_heads, batch_first=True
        )
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = Mlp(config)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, D) -> (B, D)."""
        probe = self.probe.expand(len(tokens), -1, -1)
        x, _ = self.attention(probe, tokens, tokens, need_weights=False)  # (B, 1, D); the probe is not added
        return (x + self.mlp(self.norm(x)))[:, 0]  # type: ignore[no-any-return]


class PatchEmbedding(nn.Module):
    """Linear map of patches; the released models have no bias."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.patch_embedding = nn.Conv2d(
            3, config.hidden_size, config.patch_size, stride=config.patch_size, bias=config.patch_bias
        )

    def forward(self, patches: Tensor) -> Tensor:
        """(B, N, 3 * patch * patch), in the order channel, row, column -> (B, N, D)."""
        return F.linear(patches, self.patch_embedding.weight.flatten(1), self.patch_embedding.bias)
