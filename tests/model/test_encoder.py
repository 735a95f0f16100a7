"""The torch model against the published formulas, written a second time in float64, and the released code's numbers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ovstream.model import OneVisionEncoder
from ovstream.model.encoder import frame_times

from . import formulas
from .models import NANO, nano, waves

CHUNK_TIMES = {
    8: [0, 9, 18, 27, 36, 45, 54, 63],
    16: [0, 4, 8, 12, 16, 21, 25, 29, 33, 37, 42, 46, 50, 54, 58, 63],
}
SPARSE = torch.arange(0, 48, 5)[None]  # patches of 8 frames of 2x3
SPARSE_POSITIONS = torch.stack([SPARSE * 6, SPARSE % 6 // 3, SPARSE % 3], -1).clamp(max=63)


def expected(model: OneVisionEncoder, patches: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    weights = {key: value.double() for key, value in model.state_dict().items()}
    heads = model.config.num_attention_heads
    x = formulas.encode(weights, patches, positions, heads=heads, rope=model.config.rope)
    return formulas.finish(weights, x, heads=heads)


def assert_equal(found: tuple[Tensor, Tensor | None], wanted: tuple[Tensor, Tensor], *, atol: float) -> None:
    assert found[1] is not None
    assert (found[0][0] - wanted[0]).abs().max() < atol
    assert (found[1][0] - wanted[1]).abs().max() < atol


@pytest.mark.parametrize("rope", ["onevision", "rotary"])
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-10), (torch.float32, 2e-5)])
def test_image(rope: str, dtype: torch.dtype, atol: float) -> None:
    model = nano(rope=rope)
    image = waves(1, 3, 42, 56)
    wanted = expected(model, formulas.cut(image[0][:, None]), formulas.places([0], 3, 4))
    assert_equal(model.to(dtype)(image.to(dtype)), wanted, atol=atol)


@pytest.mark.parametrize("frames", [8, 16])
def test_chunk_of_whole_frames(frames: int) -> None:
    model = nano()
    video = waves(1, 3, frames, 28, 42)
    wanted = expected(model, formulas.cut(video[0]), formulas.places(CHUNK_TIMES[frames], 2, 3))
    assert_equal(model.double()(video), wanted, atol=1e-10)


def test_codec_input_of_chosen_patches() -> None:
    model = nano()
    video = waves(1, 3, 8, 28, 42)
    wanted = expected(model, formulas.cut(video[0])[SPARSE[0]], SPARSE_POSITIONS[0])
    assert_equal(model.double()(video, SPARSE_POSITIONS, SPARSE), wanted, atol=1e-10)


def test_chosen_patches_without_positions_keep_their_place_in_the_chunk() -> None:
    model = nano().double()
    video = waves(1, 3, 8, 28, 42)
    positions = formulas.places(CHUNK_TIMES[8], 2, 3)[SPARSE[0]][None]
    assert torch.equal(model(video, None, SPARSE)[0], model(video, positions, SPARSE)[0])


def test_sequences_of_a_batch_do_not_see_each_other() -> None:
    model = nano().double()
    images = waves(2, 3, 42, 56)
    both = model(images)[1]
    assert (both[0] - model(images[:1])[1][0]).abs().max() < 1e-12
    assert (both[0] - both[1]).abs().max() > 1e-2


# Made by the released code (EvolvingLMMs-Lab/OneVision-Encoder) in float64 with the same weights and inputs:
# first three numbers of the last token and of the pooled vector.
GOLDEN = {
    "image": ([-2.458010564, 1.626408447, -0.410607864], [0.623898058, 0.212264709, 0.511559335]),
    "chunk": ([0.089169325, -0.236565099, -1.214702645], [-0.920263257, 0.766778789, 0.085022292]),
    "codec": ([-0.184023932, 2.318164616, 0.334188421], [1.012663534, -0.911489563, -1.960789250]),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_numbers_of_the_released_code(name: str) -> None:
    model = nano().double()
    if name == "image":
        tokens, pooled = model(waves(1, 3, 42, 56))
    elif name == "chunk":
        tokens, pooled = model(waves(1, 3, 8, 28, 42))
    else:
        tokens, pooled = model(waves(1, 3, 8, 28, 42), SPARSE_POSITIONS, SPARSE)
    assert tokens[0, -1, :3].tolist() == pytest.approx(GOLDEN[name][0], abs=2e-8)
    assert pooled[0, :3].tolist() == pytest.approx(GOLDEN[name][1], abs=2e-8)


@pytest.mark.parametrize("frames", [8, 16])
def test_whole_frames_are_spread_over_the_time_axis(frames: int) -> None:
    assert frame_times(frames).tolist() == CHUNK_TIMES[frames]


def test_without_a_head_there_is_no_last_norm_and_no_pooled_vector() -> None:
    model = nano(use_head=False).double()
    image = waves(1, 3, 42, 56)
    weights = dict(model.state_dict())
    x = formulas.encode(weights, formulas.cut(image[0][:, None]), formulas.places([0], 3, 4), heads=2)
    tokens, pooled = model(image)
    assert pooled is None
    assert (tokens[0] - x).abs().max() < 1e-10


def test_random_weights_look_at_chosen_tokens() -> None:
    """Otherwise every parity test would pass with a wrong rotation or a missing key."""
    model = nano().double()
    layer = model.encoder.layers[0]
    x = model.layernorm_pre(model.embeddings(formulas.cut(waves(3, 1, 84, 84))[None]))
    y = layer.layer_norm1(x)
    q, k = (p(y)[0].reshape(36, 2, 32) for p in (layer.self_attn.q_proj, layer.self_attn.k_proj))
    shares = (torch.einsum("nad,mad->anm", q, k) / math.sqrt(32)).softmax(-1)
    effective = (-(shares * shares.log()).sum(-1)).exp().mean()
    assert effective < 0.6 * 36


@pytest.mark.parametrize(
    ("shape", "positions"), [((1, 4, 42, 56), None), ((1, 3, 41, 56), None), ((1, 3, 42, 56), (1, 11, 3))]
)
def test_shapes_that_do_not_fit_are_errors(shape: tuple[int, ...], positions: tuple[int, ...] | None) -> None:
    where = None if positions is None else torch.zeros(positions, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"pixel_values|positions"):
        nano()(torch.zeros(shape), where)


def test_half_precision_keeps_the_frequencies() -> None:
    positions = torch.tensor([[[63, 20, 20]]])
    rounded = nano().bfloat16().rope(positions, torch.float32)
    assert torch.equal(rounded[0], nano().rope(positions, torch.float32)[0])


def test_shapes_are_those_of_the_released_checkpoints() -> None:
    shapes = OneVisionEncoder.shapes(NANO)
    assert shapes["embeddings.patch_embedding.weight"] == (64, 3, 14, 14)
    assert shapes["head.attention.in_proj_weight"] == (192, 64)
    assert len(shapes) == 1 + 2 + 3 * 16 + 2 + 1 + 4 + 1 + 4
