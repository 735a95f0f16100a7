"""Patches in, vectors out: runs a model folder with a state that remembers every other patch of a stream."""

from __future__ import annotations

from ovstream.encode.encoder import Encoder, Mode, Provider, load_encoder
from ovstream.encode.output import Output
from ovstream.encode.state import EncoderState

__all__ = ["Encoder", "EncoderState", "Mode", "Output", "Provider", "load_encoder"]
