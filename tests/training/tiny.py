"""A tiny recipe and its pictures."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from ovstream.model import VisionConfig
from ovstream.training.recipe import Recipe
from ovstream.training.views import Bank

MODEL = VisionConfig(32, 2, 1, 64, rope="rotary", pre_norm=False, patch_bias=True)
RECIPE = Recipe(
    model=MODEL,
    grids=((4, 4), (3, 6)),
    steps=6,
    batch=8,
    versions=30,
    warmup=2,
    clusters=16,
    cluster_views=64,
)


def recipe(**changes: Any) -> Recipe:
    return dataclasses.replace(RECIPE, **changes)


def bank(*, sprites: int = 3) -> Bank:
    generator = torch.Generator().manual_seed(1)
    photos = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return Bank(photos, torch.randint(0, 256, (sprites, 4, 16, 16), dtype=torch.uint8, generator=generator))
