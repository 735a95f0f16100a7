"""The released rotation, literally: it is none, and must stay so for official weights."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from ovstream.model import VisionConfig
from ovstream.model.layers import Rope, rotate
from ovstream.model.rope import axis_sizes, frequencies, pair_split

from . import formulas


def config(rope: str) -> VisionConfig:
    return VisionConfig.from_mapping(
        {
            "hidden_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 1,
            "intermediate_size": 64,
            "rope": rope,
        }
    )


def matrix(rope: str, t: int) -> npt.NDArray[np.float64]:
    """(64, 64): what a head vector at (t, 0, 0) is multiplied by."""
    table = Rope(config(rope))(torch.tensor([[[t, 0, 0]]]), torch.float64)
    return rotate(torch.eye(64, dtype=torch.float64)[None, None], *table)[0, 0].T.numpy()


@pytest.mark.parametrize("rope", ["onevision", "rotary"])
@pytest.mark.parametrize("place", [(0, 0, 0), (63, 0, 0), (0, 15, 0), (0, 0, 15), (17, 31, 5)])
def test_rope_literal(rope: str, place: tuple[int, int, int]) -> None:
    """Table and product equal the drawing, number by number."""
    cos, sin = Rope(config(rope))(torch.tensor([[place]]), torch.float64)
    angles = formulas.rotation_table(place, 64, rope=rope)
    assert (cos[0, 0, 0] - angles.cos()).abs().max() < 1e-12
    assert (sin[0, 0, 0] - angles.sin()).abs().max() < 1e-12
    x = torch.linspace(-1, 2, 64, dtype=torch.float64)
    assert (rotate(x, cos, sin)[0, 0, 0] - formulas.turn(x, angles)).abs().max() < 1e-12


def test_the_released_rotation_is_not_one() -> None:
    steps = matrix("onevision", 3) @ matrix("onevision", 10)
    assert np.abs(matrix("onevision", 13) - steps).max() > 0.1
    product = matrix("onevision", 13) @ matrix("onevision", 13).T
    assert np.abs(product - np.eye(64)).max() > 0.1


def test_rotary_is_a_rotation() -> None:
    steps = matrix("rotary", 3) @ matrix("rotary", 10)
    assert np.abs(matrix("rotary", 13) - steps).max() < 1e-6
    assert np.abs(matrix("rotary", 13) @ matrix("rotary", 13).T - np.eye(64)).max() < 1e-12


@pytest.mark.parametrize(("head_dim", "sizes"), [(32, (4, 6, 6)), (64, (8, 12, 12)), (128, (16, 24, 24))])
def test_axes_share_a_head_four_to_six_to_six(head_dim: int, sizes: tuple[int, int, int]) -> None:
    assert axis_sizes(head_dim) == sizes


def test_frequencies_are_rounded_like_the_released_ones() -> None:
    rows = frequencies(config("onevision"))
    for axis, (start, size) in enumerate([(0, 8), (8, 12), (20, 12)]):
        released = 1.0 / (10000.0 ** (torch.arange(size, dtype=torch.float32) / size))
        assert np.array_equal(rows[axis, start : start + size], released.numpy())
    assert np.count_nonzero(rows) == 64


def test_pair_split_puts_partners_half_a_head_apart() -> None:
    assert pair_split(8).tolist() == [0, 2, 4, 6, 1, 3, 5, 7]
