"""The published formulas of the OneVision-Encoder once more, in float64, straight from a dictionary of weights.

Nothing here is shared with the package: no module, no helper, other index arithmetic.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def layer_norm(x: Tensor, weights: dict[str, Tensor], key: str) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    variance = (centred * centred).mean(-1, keepdim=True)
    return centred / (variance + 1e-6).sqrt() * weights[f"{key}.weight"] + weights[f"{key}.bias"]


def linear(x: Tensor, weights: dict[str, Tensor], key: str) -> Tensor:
    return torch.einsum("...i,oi->...o", x, weights[f"{key}.weight"]) + weights[f"{key}.bias"]


def mlp(x: Tensor, weights: dict[str, Tensor], key: str) -> Tensor:
    hidden = linear(x, weights, f"{key}.fc1")
    return linear(hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2))), weights, f"{key}.fc2")


def rotation_table(position: tuple[int, int, int], head_dim: int, *, rope: str = "onevision") -> Tensor:
    """(head_dim,) angles of one position; frequencies rounded to float32 as released."""
    unit = head_dim // 32
    angles: list[float] = []
    for place, size in zip(position, (4 * unit, 6 * unit, 6 * unit), strict=True):
        exponents = torch.arange(size, dtype=torch.float32) / size
        angles += [float(place) * float(f) for f in 1.0 / (10000.0**exponents)]
    if rope == "rotary":
        return torch.tensor([a for a in angles for _ in range(2)], dtype=torch.float64)
    return torch.tensor(angles + angles, dtype=torch.float64)


def turn(x: Tensor, angles: Tensor) -> Tensor:
    """One head vector, (head_dim,): number by number, as the picture in the documentation draws it."""
    out = torch.empty_like(x)
    for i in range(0, len(x), 2):
        out[i] = x[i] * angles[i].cos() - x[i + 1] * angles[i].sin()
        out[i + 1] = x[i + 1] * angles[i + 1].cos() + x[i] * angles[i + 1].sin()
    return out


def turn_all(x: Tensor, positions: Tensor, rope: str) -> Tensor:
    """(n, heads, head_dim), each token by its position."""
    rows = []
    for tokens, place in zip(x, positions.tolist(), strict=True):
        angles = rotation_table(tuple(place), x.shape[-1], rope=rope)
        rows.append(torch.stack([turn(head, angles) for head in tokens]))
    return torch.stack(rows)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """(n, heads, h), (m, heads, h) twice -> (n, heads * h)."""
    scores = torch.einsum("nad,mad->anm", q, k) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores + mask
    shares = (scores - scores.amax(-1, keepdim=True)).exp()
    shares = shares / shares.sum(-1, keepdim=True)
    return torch.einsum("anm,mad->nad", shares, v).reshape(len(q), -1)


def encode(
    weights: dict[str, Tensor],
    patches: Tensor,
    positions: Tensor,
    *,
    heads: int,
    mask: Tensor | None = None,
    rope: str = "onevision",
) -> Tensor:
    """(n, 3 * 14 * 14) patches at (n, 3) positions -> (n, D) before the last norm."""
    x = patches @ weights["embeddings.patch_embedding.weight"].flatten(1).T
    x = layer_norm(x, weights, "layernorm_pre")
    layers = 1 + max(int(key.split(".")[2]) for key in weights if key.startswith("encoder.layers."))
    for layer in range(layers):
        key = f"encoder.layers.{layer}"
        y = layer_norm(x, weights, f"{key}.layer_norm1")
        q, k, v = (
            linear(y, weights, f"{key}.self_attn.{part}_proj").reshape(len(x), heads, -1) for part in "qkv"
        )
        y = attend(turn_all(q, positions, rope), turn_all(k, positions, rope), v, mask)
        x = x + linear(y, weights, f"{key}.self_attn.out_proj")
        x = x + mlp(layer_norm(x, weights, f"{key}.layer_norm2"), weights, f"{key}.mlp")
    return x


def finish(weights: dict[str, Tensor], x: Tensor, *, heads: int) -> tuple[Tensor, Tensor]:
    """Last norm and pooling head: (n, D) -> (n, D), (D,)."""
    tokens = layer_norm(x, weights, "layernorm_post")
    matrices = weights["head.attention.in_proj_weight"].chunk(3)
    biases = weights["head.attention.in_proj_bias"].chunk(3)
    sources = (weights["head.probe"][0], tokens, tokens)
    q, k, v = (
        (source @ matrix.T + bias).reshape(len(source), heads, -1)
        for source, matrix, bias in zip(sources, matrices, biases, strict=True)
    )
    y = linear(attend(q, k, v), weights, "head.attention.out_proj")[0]
    normal = y / ((y * y).mean() + 1e-6).sqrt() * weights["head.norm.weight"]
    return tokens, y + mlp(normal, weights, "head.mlp")


def cut(frames: Tensor) -> Tensor:
    """(3, T, H, W) -> (T * rows * cols, 588), patch after patch by slicing."""
    _, times, height, width = frames.shape
    return torch.stack(
        [
            frames[:, t, y : y + 14, x : x + 14].reshape(-1)
            for t in range(times)
            for y in range(0, height, 14)
            for x in range(0, width, 14)
        ]
    )


def places(times: list[int], rows: int, cols: int) -> Tensor:
    return torch.tensor([(t, h, w) for t in times for h in range(rows) for w in range(cols)])
