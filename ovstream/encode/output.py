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
        n_updated: Tokens that ran through the layers, probes among them.
        flops: Floating-point operations of the matrix products of the call.
        drift: How far old tokens were found off since the last dense pass, summed over the calls, in units of the
            spread of the tokens: 0 after a dense pass, and the higher the less the scene is to be trusted. None
            where nothing was measured: in mode "exact", or without probes.
        staleness: Calls since the oldest slot was encoded.
    """

    scene: FloatArray = field(repr=False)
    event: FloatArray | None = field(repr=False)
    n_updated: int
    flops: int
    drift: float | None
    staleness: int
    _state: EncoderState | None = field(default=None, repr=False)
    _version: int = field(default=0, repr=False)

    @property
    def tokens(self) -> FloatArray:
        """(rows * cols, D) float32, a copy: the last hidden state of every patch; zeros where nothing was encoded.

        Copied when asked for, hence to be read before the state encodes again.

        Raises:
            ConfigError: The state has encoded something else since.
        """
        if self._state is None:
            raise ConfigError("there are no tokens without a state: a recording holds none")
        if self._state.version != self._version:
            raise ConfigError("these tokens are gone: the state has encoded again; read them before")
        return self._state.newest_tokens()
