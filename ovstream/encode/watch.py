"""Watches embeddings for what no scene can cause: other pixels, the same vector."""

from __future__ import annotations

import numpy as np

from ovstream.types import FloatArray


class CollapseWatch:
    """Looks at the scenes of whole passes.

    A broken model, driver or graph gives constant vectors, and everything downstream still works: nothing but this
    tells.

    Args:
        patience: Passes in a row that must look wrong.
    """

    CONSTANT = 1e-6
    """Distance of two vectors, in units of their length, that other pixels always exceed."""

    OTHER = 0.05
    """RMS between the patches' mean colours, normalised, from which two pictures count as different."""

    def __init__(self, *, patience: int = 3) -> None:
        self._patience = patience
        self._suspicious = 0
        self._colours: FloatArray | None = None
        self._scene: FloatArray | None = None

    def check(self, pixels: FloatArray, scene: FloatArray) -> str | None:
        """Takes one whole pass.

        Args:
            pixels: (n, 3, patch, patch) float32, what was encoded.
            scene: (D,) float32, what came out.

        Returns:
            What is wrong, once each time it begins; None else.
        """
        problem = self._problem(pixels.mean(axis=(2, 3)), scene)
        self._suspicious = self._suspicious + 1 if problem else 0
        return problem if self._suspicious == self._patience else None

    def _problem(self, colours: FloatArray, scene: FloatArray) -> str | None:
        length = float(np.linalg.norm(scene))
        if not np.isfinite(length) or length == 0:
            return "embeddings are zero or not finite"
        before, self._colours = self._colours, colours
        last, self._scene = self._scene, scene.copy()
        if before is None or last is None or float(np.sqrt(np.mean((colours - before) ** 2))) < self.OTHER:
            return None
        constant = float(np.linalg.norm(scene - last)) <= self.CONSTANT * length
        return "embeddings stay the same while the picture changes" if constant else None
