"""Dark, infrared, cut: what pictures coded without reference say, against those before."""

from __future__ import annotations

import statistics
from collections import deque

import numpy as np

from ovstream.health.features import Features
from ovstream.health.latch import Latch
from ovstream.types import FloatArray

REMEMBERED = 15  # textured pictures that make the usual texture
GONE_SHARE = 0.35  # of the usual texture: below, the picture has none
BACK_SHARE = 0.6
FLAT_RMS = 0.5  # grey levels in the strongest tenth of the cells: no scene is that flat
GREY, COLOURED = 0.002, 0.02  # share of cells with coded chroma
COARSEST_QP = 38.0  # beyond, texture may be quantised away
COARSER_QP = 4.0  # than when colour was last seen: beyond, it may be quantised away
CUT_INTRA = 0.85
CUT_CORRELATION = 0.5  # the same scene coded twice correlates better, but for noise
CUT_DIFFERENCE = 0.5  # relative, of the median cell
CUT_QP = 6.0  # coarser than before by so much: textures may be quantised away
SETTLED_SECONDS = 1.0  # encoders begin with pictures that are not like the rest
DARK_SECONDS, INFRARED_SECONDS = 1.5, 2.0


class TextureWatch:
    """Follows the textures of one camera."""

    def __init__(self) -> None:
        self.dark = Latch(on_seconds=DARK_SECONDS, off_seconds=DARK_SECONDS)
        self.infrared = Latch(on_seconds=INFRARED_SECONDS, off_seconds=INFRARED_SECONDS)
        self._usual: deque[float] = deque(maxlen=REMEMBERED)
        self._last: Features | None = None
        self._first_seconds: float | None = None
        self._is_dark: bool | None = None
        self._is_grey: bool | None = None
        self._know_colour = False
        self._colour_qp = COARSEST_QP

    def update(self, picture: Features) -> list[str]:
        """Takes one picture; returns the conditions that changed."""
        was_grey = self._is_grey
        if picture.texture is not None and picture.qp <= COARSEST_QP:
            self._judge_texture(picture.texture)
            self._judge_colour(picture)
        elif picture.residual_rms > 2 * FLAT_RMS and picture.intra < CUT_INTRA and self._is_dark:
            self._is_dark = None  # something comes back: the next fresh picture will tell
        changed = ["dark"] if self.dark.update(self._is_dark, picture.seconds) else []
        if self._infrared_changed(picture.seconds):
            changed.append("infrared")
        if self._is_cut(picture) and was_grey == self._is_grey:
            changed.append("cut")
        if picture.intra >= CUT_INTRA:
            self._last = picture
        return changed

    def _judge_texture(self, texture: FloatArray) -> None:
        strongest = float(np.percentile(texture, 90))
        usual = statistics.median(self._usual) if self._usual else None
        if strongest < FLAT_RMS or (usual is not None and strongest < GONE_SHARE * usual):
            self._is_dark = True
        elif usual is None or not self._is_dark or strongest > BACK_SHARE * usual:
            self._is_dark = False
            self._usual.append(strongest)

    def _judge_colour(self, picture: Features) -> None:
        if picture.colour is None or self._is_dark or picture.intra < CUT_INTRA:
            return
        if picture.colour > COLOURED:
            self._is_grey, self._colour_qp = False, picture.qp
        elif picture.colour < GREY and picture.qp < self._colour_qp + COARSER_QP:
            self._is_grey = True

    def _infrared_changed(self, now_seconds: float) -> bool:
        """The first state of a camera is no change."""
        if not self._know_colour and self._is_grey is not None:
            self._know_colour = True
            self.infrared.active = self._is_grey
        return self.infrared.update(self._is_grey, now_seconds)

    def _is_cut(self, picture: Features) -> bool:
        """Coded anew, with textures that were not there before."""
        if self._first_seconds is None:
            self._first_seconds = picture.seconds
        last, now = self._last, picture.texture
        if last is None or last.texture is None or now is None or picture.intra < CUT_INTRA:
            return False
        if picture.seconds - self._first_seconds < SETTLED_SECONDS:
            return False
        if picture.qp - last.qp > CUT_QP:
            return False
        before = last.texture
        difference = np.abs(now - before) / ((now + before) / 2 + np.float32(1.0))
        if float(np.median(difference)) <= CUT_DIFFERENCE:
            return False
        return correlation(np.log1p(now).ravel(), np.log1p(before).ravel()) < CUT_CORRELATION


def correlation(one: FloatArray, other: FloatArray) -> float:
    """Pearson's, of flat arrays; 0 where one of them is constant."""
    one, other = one - one.mean(), other - other.mean()
    norm = float(np.sqrt((one * one).sum() * (other * other).sum()))
    return float((one * other).sum()) / norm if norm > 0 else 0.0
