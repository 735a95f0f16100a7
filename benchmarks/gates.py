"""Another way to encode what changed: token gates, as in Eventful Transformers (Dutson, Li, Gupta; ICCV 2023).

Every picture takes its way through all layers, but a layer's products with weights run for r tokens only: those whose
input differs most from what that gate saw when it last let them through ("reference"). The others keep the output that
they had then. Three gates a layer: before queries, keys and values; before the output matrix; before the MLP. Small
differences add up against the reference, so nothing is forgotten for ever, and every layer chooses for itself.

Attention itself is computed whole here, which can only help the gates; counted is what the paper needs for it: r rows
and r columns of both products.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from torch import Tensor

from ovstream.model.config import VisionConfig
from ovstream.model.encoder import OneVisionEncoder, grid_positions
from ovstream.model.layers import rotate
from ovstream.types import FloatArray


class Gate:
    """Lets the tokens through that differ most from what it let through before."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._reference: Tensor | None = None
        self._output: Tensor | None = None

    def __call__(self, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """(N, D) -> (N, E): `function` of the tokens let through, the last output of the others."""
        if self._reference is None or self._output is None:
            self._reference, self._output = x.clone(), function(x)
            return self._output
        chosen = (x - self._reference).norm(dim=1).topk(self.count).indices
        self._reference[chosen] = x[chosen]
        self._output[chosen] = function(x[chosen])
        return self._output


class GatedTransformer:
    """A vision transformer with three gates a layer and the memory of one stream.

    Args:
        config: Shape of the model.
        weights: By official key, float32.
        count: Tokens that each gate lets through.
        grid: (rows, cols) of patches; positions are turned by it unless `places` are given.
        places: (N, D) added to the embedded tokens of models that do not rotate; None: `config.rope` rotates.
    """

    def __init__(
        self,
        config: VisionConfig,
        weights: Mapping[str, FloatArray],
        *,
        count: int,
        grid: tuple[int, int],
        places: FloatArray | None = None,
    ) -> None:
        self._config = config
        self._model = OneVisionEncoder(config).eval()
        tensors = {key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in weights.items()}
        self._post = None
        if not config.use_head:  # DINOv2 has a last norm, and the mean as its scene
            self._post = tensors.pop("layernorm_post.weight"), tensors.pop("layernorm_post.bias")
        if not config.pre_norm or places is not None:
            self._model.layernorm_pre = torch.nn.Identity()
        self._model.load_state_dict(tensors)
        self._places = None if places is None else torch.from_numpy(places)
        positions = grid_positions(torch.zeros(1, dtype=torch.int64), *grid)
        self._table = self._model.rope(positions[None], torch.float32) if places is None else None
        self._gates = [[Gate(count) for _ in range(3)] for _ in range(config.num_hidden_layers)]
        self._embedding = Gate(count)
        self._started = False

    def dense_flops(self, cached: int) -> int:
        """Operations of a whole pass."""
        return self._config.flops(cached, cached)

    @torch.inference_mode()
    def step(self, patches: FloatArray) -> tuple[FloatArray, FloatArray, int]:
        """Takes the next picture.

        Args:
            patches: (N, 3 * patch * patch) float32, all of it.

        Returns:
            Scene (D,), tokens (N, D), floating-point operations.
        """
        cost = self._flops(len(patches))
        self._started = True
        x = self._embedding(torch.from_numpy(patches), self._embed).clone()
        if self._places is not None:
            x += self._places
        for layer, gates in zip(self._model.encoder.layers, self._gates, strict=True):
            x = self._layer(x, layer, gates)
        x = self._last_norm(x)
        scene = x.mean(0) if self._model.head is None else self._model.head(x[None])[0]
        return scene.numpy(), x.numpy(), cost

    def _embed(self, patches: Tensor) -> Tensor:
        return self._model.layernorm_pre(self._model.embeddings(patches[None]))[0]

    def _layer(self, x: Tensor, layer: torch.nn.Module, gates: list[Gate]) -> Tensor:
        attention = layer.self_attn
        parts = (attention.q_proj, attention.k_proj, attention.v_proj)
        qkv = gates[0](layer.layer_norm1(x), lambda some: torch.cat([part(some) for part in parts], dim=1))
        q, k, v = (
            part.view(len(x), attention.num_heads, -1).transpose(0, 1)[None] for part in qkv.chunk(3, dim=1)
        )
        if self._table is not None:
            q, k = rotate(q, *self._table), rotate(k, *self._table)
        seen = F.scaled_dot_product_attention(q, k, v)[0].transpose(0, 1).flatten(1)
        x = x + gates[1](seen, attention.out_proj)
        return x + gates[2](layer.layer_norm2(x), layer.mlp)

    def _last_norm(self, x: Tensor) -> Tensor:
        if self._post is None:
            return self._model.layernorm_post(x)
        return F.layer_norm(x, x.shape[-1:], *self._post, self._config.layer_norm_eps)

    def _flops(self, cached: int) -> int:
        """As `VisionConfig.flops`; rows and columns of attention are twice its rows."""
        if not self._started:
            return self._config.flops(cached, cached)
        count = self._embedding.count
        columns = 4 * count * cached * self._config.hidden_size * self._config.num_hidden_layers
        return self._config.flops(count, cached) + columns
