"""One masked call says what the engine says after the same updates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ovstream.encode import load_encoder
from ovstream.model import export_model
from ovstream.model.export import random_model
from ovstream.training.student import see, see_history
from ovstream.types import Patches

from .tiny import MODEL

GRID = (3, 5)
TOKENS = 15


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_masked_forward_is_incremental_inference(tmp_path: Path, seed: int) -> None:
    model = random_model(MODEL, seed=seed).requires_grad_(False)
    export_model(model, tmp_path, model_id="tiny", trained=False)
    encoder = load_encoder(tmp_path, mode="exact")
    state = encoder.new_state(GRID)
    rng = np.random.default_rng(seed)
    pixels, slots, born = [], [], []
    for step in range(5):
        chosen = np.arange(TOKENS) if step == 0 else rng.permutation(TOKENS)[: rng.integers(1, 6)]
        fresh = rng.standard_normal((len(chosen), 3, 14, 14), np.float32)
        output = encoder.encode_patches(state, Patches(chosen.astype(np.int32), fresh, GRID))
        pixels.append(fresh.reshape(len(chosen), -1))
        slots.append(chosen)
        born.append(np.full(len(chosen), step))
    history = torch.from_numpy(np.concatenate(pixels))[None]
    where, when = (torch.from_numpy(np.concatenate(values))[None] for values in (slots, born))
    seen = see_history(model, history, where, when, GRID)
    assert np.abs(seen.tokens[0].numpy() - output.tokens).max() < 5e-5
    assert np.abs(seen.scene[0].numpy() - output.scene).max() < 5e-5
    # and staleness matters: the last pixels in one dense call are another result
    last = torch.zeros(1, TOKENS, history.shape[2])
    for index in range(where.shape[1]):
        last[0, where[0, index]] = history[0, index]
    assert (see(model, last, GRID).tokens - seen.tokens).abs().max() > 1e-3
