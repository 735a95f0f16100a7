"""Shape of a vision transformer of the OneVision-Encoder family. Needs nothing but the standard library."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ovstream.errors import ModelError

Rope = Literal["onevision", "rotary"]

TEMPORAL_POSITIONS = 64
"""Positions on the time axis; the released weights were trained with t in 0..63."""


@dataclass(frozen=True, slots=True)
class VisionConfig:
    """Everything that decides the shapes and the mathematics of an encoder.

    The names are those of the official `config.json`, whose keys `from_mapping` therefore reads directly.

    Attributes:
        hidden_size: Width D of a token.
        num_hidden_layers: Transformer blocks.
        num_attention_heads: Heads; D / heads must be a multiple of 32 (the 4:6:6 split of the rotation).
        intermediate_size: Width of the MLP's hidden layer.
        patch_size: Side of a patch in pixels.
        image_size: Side of the square images of training; other sizes and aspects work too.
        layer_norm_eps: Epsilon of every norm.
        rope_theta: Base of the rotation frequencies.
        rope: "onevision" is what the released weights were trained with, "rotary" a true rotation: see `rope.py`.
        use_head: With `layernorm_post` and the pooling head.
        pre_norm: With `layernorm_pre`; without it the contrast of a patch reaches the layers.
        patch_bias: The patch embedding adds a vector.
    """

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    patch_size: int = 14
    image_size: int = 448
    layer_norm_eps: float = 1e-6
    rope_theta: float = 10_000.0
    rope: Rope = "onevision"
    use_head: bool = True
    pre_norm: bool = True
    patch_bias: bool = False

    def __post_init__(self) -> None:
        for field in (
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
            "patch_size",
        ):
            if getattr(self, field) < 1:
                raise ModelError(f"{field} is {getattr(self, field)}: must be positive")
        if self.hidden_size % self.num_attention_heads or self.head_dim % 32:
            raise ModelError(
                f"hidden_size {self.hidden_size} / num_attention_heads {self.num_attention_heads} "
                "must be a multiple of 32"
            )
        if self.rope not in get_args(Rope):
            raise ModelError(f"rope is '{self.rope}': must be one of {', '.join(get_args(Rope))}")

    @property
    def head_dim(self) -> int:
        """Width of an attention head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def patch_values(self) -> int:
        """Numbers in a patch: 3 * patch_size**2."""
        return 3 * self.patch_size**2

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> VisionConfig:
        """Reads an official or one of our `config.json` files; keys of other purposes are left alone.

        Raises:
            ModelError: A key is missing, or a value describes another architecture.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}
        missing = [
            name
            for name, field in fields.items()
            if field.default is dataclasses.MISSING and name not in values
        ]
        if missing:
            raise ModelError(f"the model configuration lacks {', '.join(missing)}")
        for key, only in (("hidden_act", "gelu"), ("layer_norm_type", "layer_norm"), ("num_channels", 3)):
            if values.get(key, only) != only:
                raise ModelError(f"{key} is {values[key]!r}: only {only!r} is known")
        return cls(**{name: values[name] for name in fields if name in values})

    def flops(self, n: int, cached: int) -> int:
        """Floating-point operations of running `n` tokens against `cached` ones (`n` among them).

        Counts the matrix products, a multiplication and an addition as two; norms and activations are left out,
        and so is the pooling query, which is constant.
        """
        d, mlp = self.hidden_size, self.intermediate_size
        layer = n * (8 * d * d + 4 * d * mlp) + 4 * n * cached * d
        head = n * 4 * d * d + 4 * cached * d + 2 * d * d + 4 * d * mlp if self.use_head else 0
        return n * 2 * self.patch_values * d + self.num_hidden_layers * layer + head


PRESETS: Mapping[str, VisionConfig] = {
    "nano": VisionConfig(192, 12, 3, 768, image_size=224, rope="rotary", pre_norm=False, patch_bias=True),
    "tiny": VisionConfig(192, 12, 3, 768, image_size=224),
    "small": VisionConfig(384, 12, 6, 1536, image_size=224),
    "base": VisionConfig(768, 12, 12, 3072),
    "large": VisionConfig(1024, 24, 16, 4096),
    "huge": VisionConfig(1280, 32, 20, 5120),
}
