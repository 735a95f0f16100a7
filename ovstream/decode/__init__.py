"""Pixels, only when and where they are wanted."""

from __future__ import annotations

from ovstream.decode.cropper import PatchCropper
from ovstream.decode.fallback import FallbackParser
from ovstream.decode.on_demand import OnDemandDecoder
from ovstream.decode.picture import Picture

__all__ = ["FallbackParser", "OnDemandDecoder", "PatchCropper", "Picture"]
