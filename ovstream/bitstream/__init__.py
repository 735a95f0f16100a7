"""Compressed pictures in, metadata out: no pixel is decoded here."""

from ovstream.bitstream.parser import DEFAULT_MAX_PIXELS, Codec, Level, Parser

__all__ = ["DEFAULT_MAX_PIXELS", "Codec", "Level", "Parser"]
