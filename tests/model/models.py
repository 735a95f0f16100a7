"""Small models and plain inputs for the tests of the encoder."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ovstream.model import OneVisionEncoder, VisionConfig
from ovstream.model.export import random_model

NANO = VisionConfig(hidden_size=64, num_hidden_layers=3, num_attention_heads=2, intermediate_size=128)


def nano(*, rope: str = "onevision", use_head: bool = True) -> OneVisionEncoder:
    """A model of 64 x 3 layers x 2 heads with weights large enough that attention is not uniform."""
    values = {name: getattr(NANO, name) for name in NANO.__slots__} | {"rope": rope, "use_head": use_head}
    return random_model(VisionConfig(**values), seed=5).requires_grad_(False)


def waves(*shape: int) -> Tensor:
    """Float64 numbers in -1..1 without pattern, the same everywhere."""
    return (torch.arange(int(np.prod(shape)), dtype=torch.float64) * 0.7310).sin().reshape(shape)
