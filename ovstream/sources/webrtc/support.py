"""Tells whether WebRTC works here, and which part of it is missing."""

from __future__ import annotations

import asyncio
import importlib.util

from ovstream.sources.webrtc.codecs import check_receiver

SERVER_PACKAGES = ("starlette", "uvicorn")


def describe_support() -> str:
    """Versions, and what works; for `ovstream doctor`.

    Raises:
        ConfigError: aiortc is built otherwise than we need it.
    """
    import aiortc

    asyncio.run(_check_aiortc())
    missing = [name for name in SERVER_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        return f"aiortc {aiortc.__version__}, whep+https:// works; for whip:// pip install 'ovstream-edge[server]'"
    return f"aiortc {aiortc.__version__}, whip:// and whep+https:// work"


async def _check_aiortc() -> None:
    from aiortc import RTCConfiguration, RTCPeerConnection

    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    try:
        check_receiver(connection.addTransceiver("video", direction="recvonly").receiver)
    finally:
        await connection.close()
