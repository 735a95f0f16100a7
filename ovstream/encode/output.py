"""What one call of an encoder gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ovstream.errors import ConfigError
from ovstream.types import FloatArray

if TYPE_CHECKING:
    from ovstream.encode.state import EncoderState


@dataclass(frozen=True, slots=True, eq=False)
class Output:
    """Vectors of one picture.

    Attributes:
        scene: (D,) float32, read-only: pooled over everything that the state knows.
        event: (D,) float32: mean of the tokens that the call was given; None when it was given none.
        n_updated: Tokens that ran through the layers.
        flops: Floating-point operations of the matrix products of the call.
    """

    scene: FloatArray = field(repr=False)
    event: FloatArray | None = field(repr=False)
    n_updated: int
    flops: int
    _state: EncoderState = field(repr=False)
    _version: int = field(repr=False)

    @property
    def tokens(self) -> FloatArray:
        """(rows * cols, D) float32, a copy: the last hidden state of every slot; zeros where nothing was encoded.

        Copied when asked for, hence to be read before the state encodes again.

        Raises:
            ConfigError: The state has encoded something else since.
        """
        if self._state.version != self._version:
            raise ConfigError("these tokens are gone: the state has encoded again; read them before")
        return self._state.tokens.copy()
