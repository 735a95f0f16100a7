"""The OneVision-Encoder (arXiv 2602.08683): images, whole frames of a video, or chosen patches of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ovstream.model.config import TEMPORAL_POSITIONS, VisionConfig
from ovstream.model.layers import Layers, PatchEmbedding, PoolingHead, Rope


def grid_positions(frames: Tensor, rows: int, cols: int) -> Tensor:
    """Positions of all patches of some frames.

    Args:
        frames: (T,) int64, time of every frame.
        rows: Patches from top to bottom.
        cols: Patches from left to right.

    Returns:
        (T * rows * cols, 3) int64 (t, h, w), columns running fastest.
    """
    h, w = torch.arange(rows), torch.arange(cols)
    return torch.cartesian_prod(frames.cpu(), h, w).to(frames.device)


def frame_times(frames: int) -> Tensor:
    """(T,) int64: whole frames spread over the 64 times of training, as the released examples do."""
    return torch.linspace(0, TEMPORAL_POSITIONS - 1, frames).long()


def patchify(pixel_values: Tensor, patch_size: int) -> Tensor:
    """Cuts frames into patches.

    Args:
        pixel_values: (B, 3, T, H, W); H and W are multiples of `patch_size`.
        patch_size: Side of a patch in pixels.

    Returns:
        (B, T * rows * cols, 3 * patch * patch), every patch in the order channel, row, column.
    """
    batch, channels, frames, height, width = pixel_values.shape
    rows, cols = height // patch_size, width // patch_size
    cells = pixel_values.reshape(batch, channels, frames, rows, patch_size, cols, patch_size)
    return cells.permute(0, 2, 3, 5, 1, 4, 6).reshape(batch, frames * rows * cols, channels * patch_size**2)


class OneVisionEncoder(nn.Module):
    """Vision transformer over sparse patches; `state_dict` has the keys of the released checkpoints.

    Attributes:
        config: Shape of the model.
        digest: First 16 hex digits of the SHA-256 over the weight files, or "" for weights made in memory.
    """

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.digest = ""
        self.embeddings = PatchEmbedding(config)
        self.layernorm_pre: nn.Module = nn.Identity()
        if config.pre_norm:
            self.layernorm_pre = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.encoder = Layers(config)
        self.rope = Rope(config)
        self.layernorm_post: nn.Module = nn.Identity()
        self.head: PoolingHead | None = None
        if config.use_head:
            self.layernorm_post = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
            self.head = PoolingHead(config)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        names: Mapping[str, str] | None = None,
        config: VisionConfig | None = None,
        revision: str | None = None,
        cache_dir: Path | None = None,
        offline: bool = False,
    ) -> OneVisionEncoder:
        """Loads an official checkpoint, an exported model folder, or a checkpoint with names of its own.

        Args:
            name: Folder with `config.json` and `*.safetensors`, or `owner/name` on the model hub.
            names: Table of names for checkpoints by other hands: see `ovstream.model.naming`.
            config: Replaces what `config.json` says, for checkpoints whose file says it in other words.
            revision: On the hub: branch, tag or commit.
            cache_dir: Of the hub's files.
            offline: Only what the cache of the hub holds already.

        Returns:
            The model in float32, in evaluation mode.

        Raises:
            ModelError: A file is missing or damaged, or tensors are missing, unexpected or of a wrong shape; the
                text names the folder and every key. Or the hub has no such checkpoint, or cannot be reached.
        """
        from ovstream.model.hub import checkpoint_folder
        from ovstream.model.weights import load_checkpoint

        folder = checkpoint_folder(name, revision=revision, cache_dir=cache_dir, offline=offline)
        found, tensors, digest = load_checkpoint(
            folder, expected=cls.shapes, names=names or {}, config=config
        )
        with torch.device("meta"):
            model = cls(found)
        model.load_state_dict(tensors, assign=True)
        model.digest = digest
        return model.eval()

    @classmethod
    def shapes(cls, config: VisionConfig) -> dict[str, tuple[int, ...]]:
        """Shape of every tensor of a checkpoint, by key."""
        with torch.device("meta"):
            return {key: tuple(value.shape) for key, value in cls(config).state_dict().items()}

    def forward(
        self,
        pixel_values: Tensor,
        patch_positions: Tensor | None = None,
        visible_indices: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Encodes an image, a chunk of whole frames, or chosen patches of a video.

        Without `patch_positions` a frame stands at its place on the time axis of 64: an image at t = 0, T frames at
        linspace(0, 63, T). (The released `forward` counts 0, 1, 2, ... there, and its examples pass these times.)

        Args:
            pixel_values: (B, 3, H, W) or (B, 3, T, H, W), normalised.
            patch_positions: (B, N, 3) integer (t, h, w) of the tokens, after the choice of `visible_indices`.
            visible_indices: (B, N) int64 into the T * rows * cols patches; None keeps all of them.

        Returns:
            last_hidden_state: (B, N, D), after `layernorm_post` where there is one.
            pooler_output: (B, D), or None without a head.

        Raises:
            ValueError: A shape does not fit.
        """
        if pixel_values.dim() == 4:
            pixel_values = pixel_values.unsqueeze(2)
        batch, channels, frames, height, width = pixel_values.shape
        size = self.config.patch_size
        if channels != 3 or height % size or width % size:
            raise ValueError(
                f"pixel_values {tuple(pixel_values.shape)}: 3 channels, sides multiples of {size}"
            )
        patches = patchify(pixel_values, size)
        if patch_positions is None:
            times = frame_times(frames).to(pixel_values.device)
            patch_positions = grid_positions(times, height // size, width // size).expand(batch, -1, -1)
            if visible_indices is not None:
                patch_positions = _take(patch_positions, visible_indices)
        if visible_indices is not None:
            patches = _take(patches, visible_indices)
        return self.encode_tokens(patches, patch_positions)

    def encode_tokens(
        self, patches: Tensor, positions: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Encodes patches that are already cut.

        Args:
            patches: (B, N, 3 * patch * patch), normalised, each in the order channel, row, column.
            positions: (B, N, 3) integer (t, h, w).
            mask: Added to the attention scores of all layers, (B or 1, 1, N, N); a staleness mask has -inf where
                a token was not alive when the row was encoded.

        Returns:
            As `forward`.

        Raises:
            ValueError: `positions` does not fit `patches`.
        """
        if positions.shape != (*patches.shape[:2], 3):
            raise ValueError(f"positions {tuple(positions.shape)} for patches {tuple(patches.shape)}")
        x = self.layernorm_pre(self.embeddings(patches))
        x = self.encoder(x, self.rope(positions, x.dtype), mask)
        x = self.layernorm_post(x)
        return x, None if self.head is None else self.head(x)


def _take(values: Tensor, indices: Tensor) -> Tensor:
    """(B, M, X), (B, N) -> (B, N, X)."""
    return values.gather(1, indices.unsqueeze(-1).expand(-1, -1, values.shape[-1]))
