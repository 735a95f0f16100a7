"""Video over WebRTC: publishers come in by WHIP, other servers are watched by WHEP; nothing is decoded."""

from __future__ import annotations

from ovstream.sources.webrtc.endpoint import WhipEndpoint, WhipSource

__all__ = ["WhipEndpoint", "WhipSource"]
