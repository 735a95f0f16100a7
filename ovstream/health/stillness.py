"""Frozen: a picture that a living sensor could not give twice."""

from __future__ import annotations

import numpy as np

from ovstream.health.features import QUIET_RMS, Features
from ovstream.health.latch import Latch
from ovstream.health.texture import correlation
from ovstream.types import FloatArray

ALIKE = 0.997  # correlation of textures of two keyframes; noise keeps living cameras below ...
FINE_QP = 24.0  # ... as long as quantisers are fine enough for noise
SAME_SHARE = 0.98  # with equal quantisers: of the blocks, to the last coefficient
SAME_QP = 0.05
QUIET_MOVING = 0.02
APART_SECONDS = 1.0
SKIPPED_SECONDS = 30.0  # nothing but skipped blocks for so long
FROZEN_SECONDS = 0.5


class FreezeWatch:
    """Follows how alike pictures are."""

    def __init__(self) -> None:
        self.frozen = Latch(on_seconds=FROZEN_SECONDS, off_seconds=0.0)
        self._last: Features | None = None
        self._disturbed = True
        self._skipping_since: float | None = None
        self._alike = False

    def update(self, picture: Features) -> list[str]:
        """Takes one picture; returns the conditions that changed."""
        if picture.keyframe and picture.texture is not None:
            self._compare(picture, picture.texture)
        elif not self._is_still(picture):
            self._disturbed, self._alike = True, False
        still_skipping = picture.keyframe or (picture.skip == 1.0)
        if not still_skipping:
            self._skipping_since = None
        elif self._skipping_since is None:
            self._skipping_since = picture.seconds
        skipped_seconds = 0.0 if self._skipping_since is None else picture.seconds - self._skipping_since
        evidence = self._alike or skipped_seconds > SKIPPED_SECONDS
        return ["frozen"] if self.frozen.update(evidence, picture.seconds) else []

    def _compare(self, picture: Features, texture: FloatArray) -> None:
        """Compares two keyframes with nothing but stillness between them."""
        last = self._last
        if last is not None and last.texture is not None:
            if picture.seconds - last.seconds < APART_SECONDS:
                return
            self._alike = not self._disturbed and _alike(picture.qp, texture, last.qp, last.texture)
        self._last, self._disturbed = picture, False

    def _is_still(self, picture: Features) -> bool:
        still = picture.residual_rms < QUIET_RMS and picture.moving < QUIET_MOVING
        return still and picture.intra < QUIET_MOVING


def _alike(qp: float, texture: FloatArray, last_qp: float, last: FloatArray) -> bool:
    """Whether no sensor can have made both pictures."""
    if abs(qp - last_qp) < SAME_QP:
        return float((texture == last).mean()) >= SAME_SHARE
    return (
        max(qp, last_qp) <= FINE_QP and correlation(np.log1p(texture).ravel(), np.log1p(last).ravel()) > ALIKE
    )
