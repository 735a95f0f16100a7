"""What an encoder needs of whatever computes: onnxruntime, torch, or a wrapper that gathers calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ovstream.encode.state import EncoderState
from ovstream.types import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """Tokens of one stream that are to run.

    Attributes:
        binding: Of the stream's state, from `Backend.bind`.
        patches: (n, 3 * patch * patch) float32, n > 0.
        positions: (n, 3) int64.
        slots: (n,) int64, without repetition.
    """

    binding: Any
    patches: FloatArray
    positions: npt.NDArray[np.int64]
    slots: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.slots)


class Backend(Protocol):
    """Runs a model on states."""

    @property
    def lanes(self) -> int:
        """Most jobs that one run takes."""

    def bind(self, state: EncoderState) -> Any:
        """Connects a state with the model, once for its life; the state must outlive the result."""

    def run(self, jobs: Sequence[Job]) -> None:
        """Encodes patches into their slots and pools the scenes anew; from several threads at a time.

        Args:
            jobs: Of different states, at most `lanes`.

        Raises:
            ModelError: The runtime failed.
        """
