"""All that a scene needs pixels for: cutting patches, comparing, and encoding them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ovstream.config import EncodeConfig
from ovstream.decode import PatchCropper, Picture
from ovstream.encode import CollapseWatch, Encoder, Output
from ovstream.types import BoolArray, ModelInfo, Patches

Indices = npt.NDArray[np.int32]


class ModelFacts(Protocol):
    """What a scene must know of the model beside what it sees by it; `Encoder` is one."""

    @property
    def info(self) -> ModelInfo:
        """What a subscriber must know."""

    @property
    def mode(self) -> str:
        """How it encodes."""

    def dense_flops(self, grid: tuple[int, int]) -> int:
        """Operations of a whole pass."""


class Sight(Protocol):
    """What a scene sees of its pictures; the seam at which a recording listens, and a replay stands in."""

    @property
    def output(self) -> Output | None:
        """What is known without looking; None before the first patch."""

    @property
    def memory_bytes(self) -> int:
        """Size of what is remembered."""

    def cut(self, picture: Picture, indices: Indices, masked: BoolArray) -> Patches:
        """Cuts patches; those under a mask, (rows, cols) bool, are grey whatever the camera saw."""

    def differs(self, patches: Patches) -> BoolArray:
        """(n,) bool: which differ from what was last encoded at their place."""

    def choose_probes(self, taken: Indices) -> Indices:
        """Old patches to encode again beside those taken."""

    def encode(self, patches: Patches, probes: Patches | None) -> Output:
        """Encodes patches, and probes to correct the others by."""

    def refresh(self) -> Output:
        """Encodes all that is remembered again, from the pixels that were kept."""

    def collapse(self, patches: Patches, output: Output) -> str | None:
        """Complains when different pictures give the same vector; asked after whole passes."""


SightFactory = Callable[[tuple[int, int], tuple[int, int]], Sight]
"""Makes the sight of a scene from (rows, cols) of patches and (width, height) of the pictures."""


class PixelSight:
    """Looks at real pictures with a real model.

    Args:
        grid: (rows, cols) of patches.
        size: (width, height) of the pictures.
        encoder: Shared; the state is this object's own.
        config: Thresholds.
    """

    def __init__(
        self, grid: tuple[int, int], size: tuple[int, int], *, encoder: Encoder, config: EncodeConfig
    ) -> None:
        info = encoder.info
        self._cropper = PatchCropper(grid, size, patch_px=info.patch_px, mean=info.mean, std=info.std)
        self._encoder = encoder
        window = config.window_tokens if config.memory == "window" else None
        self._state = encoder.new_state(grid=grid, window_tokens=window)
        self._min_change = config.min_change
        self._watch = CollapseWatch()

    @property
    def output(self) -> Output | None:
        """See `Sight`."""
        return self._state.output

    @property
    def memory_bytes(self) -> int:
        """See `Sight`."""
        return self._state.memory_bytes

    def cut(self, picture: Picture, indices: Indices, masked: BoolArray) -> Patches:
        """See `Sight`."""
        patches = self._cropper.crop(picture, indices)
        patches.pixels[masked.ravel()[patches.indices]] = 0
        return patches

    def differs(self, patches: Patches) -> BoolArray:
        """See `Sight`."""
        return self._state.changed(patches, self._min_change)

    def choose_probes(self, taken: Indices) -> Indices:
        """See `Sight`."""
        return self._encoder.choose_probes(self._state, taken)

    def encode(self, patches: Patches, probes: Patches | None) -> Output:
        """See `Sight`."""
        return self._encoder.encode_patches(self._state, patches, probes=probes)

    def refresh(self) -> Output:
        """See `Sight`."""
        return self._encoder.refresh(self._state)

    def collapse(self, patches: Patches, output: Output) -> str | None:
        """See `Sight`."""
        return self._watch.check(patches.pixels, output.scene)
