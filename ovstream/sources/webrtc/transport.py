"""aiortc as transport alone: ICE, DTLS, SRTP and feedback are its part, what is in the packets is ours."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any, Protocol

from ovstream.errors import ConfigError
from ovstream.rtp import RtpPacket
from ovstream.sources.rtsp_udp import RECEIVE_BUFFER_BYTES
from ovstream.sources.webrtc.codecs import CODECS, check_receiver, prepare_aiortc
from ovstream.sources.webrtc.sdp import BadDescription, Offer, UnacceptableMedia

_LAST_MOMENT_SECONDS = 0.3  # in which a handshake ends that was closed on its way; closing takes < 1 s


class PacketSink(Protocol):
    """Takes what arrives, in the event loop; never raises."""

    def on_packet(self, packet: RtpPacket, codec: str) -> None:
        """One packet of the video, retransmitted ones too."""
        ...

    def on_control(self, data: bytes) -> None:
        """One RTCP packet about it."""
        ...

    def on_state(self, state: str) -> None:
        """The connection is "connecting", "connected", "failed" or "closed"."""
        ...


class Transport:
    """One WebRTC connection that receives one video and decodes nothing.

    Where aiortc would assemble and decode, its packets go to `sink`. Loss is still reported (NACK), retransmissions
    are unpacked, and reports are sent.

    Args:
        sink: Takes what arrives.

    Attributes:
        retransmits: The peer sends again what was lost.
    """

    def __init__(self, sink: PacketSink) -> None:
        from aiortc import RTCConfiguration, RTCPeerConnection

        prepare_aiortc()
        self.retransmits = False
        self._sink = sink
        # No STUN server unless somebody names one: nothing outside is asked for anything.
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._connection.on("connectionstatechange", self._state_changed)
        self._receiver: Any = None
        self._ssrc: int | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self._closed: asyncio.Task[None] | None = None

    async def answer(self, offer: Offer) -> str:
        """Accepts an offer; returns the answer with all candidates.

        Raises:
            BadDescription: aiortc cannot read it.
            UnacceptableMedia: There is no common codec.
        """
        from aiortc.exceptions import OperationError

        try:
            await self._connection.setRemoteDescription(_description("offer", offer.reduced()))
            self._tap(passive=offer.passive)
            await self._connection.setLocalDescription(await self._connection.createAnswer())
        except OperationError:
            raise UnacceptableMedia("none of the offered codecs is H.264, H.265 or VP8") from None
        except ConfigError:
            raise
        except Exception as error:  # what breaks aiortc's parser comes out as it is
            raise BadDescription(f"the offer cannot be read ({type(error).__name__})") from None
        self._widen_buffers()
        return offer.answer(self._connection.localDescription.sdp)

    async def offer(self) -> str:
        """Offers to receive a video; returns the offer with all candidates."""
        self._connection.addTransceiver("video", direction="recvonly")
        await self._connection.setLocalDescription(await self._connection.createOffer())
        self._widen_buffers()
        return str(self._connection.localDescription.sdp)

    async def accept(self, answer: str) -> None:
        """Takes the answer to `offer`.

        Raises:
            BadDescription: It cannot be used.
        """
        try:
            await self._connection.setRemoteDescription(_description("answer", answer))
        except Exception as error:  # what breaks aiortc's parser comes out as it is
            raise BadDescription(f"the answer cannot be read ({type(error).__name__})") from None
        self._tap(passive=False)

    async def add_candidates(self, candidates: tuple[str, ...], *, ended: bool) -> None:
        """Takes candidates that come after the offer: everything is one bundle."""
        from aiortc.sdp import candidate_from_sdp

        for text in candidates:
            candidate = candidate_from_sdp(text)
            candidate.sdpMLineIndex = 0
            await self._connection.addIceCandidate(candidate)
        if ended:
            await self._connection.addIceCandidate(None)

    def request_keyframe(self) -> None:
        """Asks the sender for a keyframe (PLI, RFC 4585 6.3.1)."""
        if self._ssrc is not None and not self._closing:
            task = asyncio.ensure_future(self._receiver._send_rtcp_pli(self._ssrc))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Tells the peer, and frees sockets and threads; may be called again."""
        if self._closed is None:
            self._closing = True
            self._closed = asyncio.create_task(self._close())
        await _finished(self._closed)

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await close_peer(self._connection)

    def add(self, packet: Any) -> tuple[bool, None]:
        """Stands in for aiortc's jitter buffer: never has a frame to decode."""
        codec = self._receiver._RTCRtpReceiver__codecs.get(packet.payload_type)
        name = CODECS.get(codec.name.upper()) if codec is not None else None
        if name is not None:
            self._ssrc = packet.ssrc
            own = RtpPacket(
                packet.sequence_number,
                packet.timestamp,
                bool(packet.marker),
                packet.payload_type,
                packet.ssrc,
                packet.payload,
            )
            self._sink.on_packet(own, name)
        return False, None

    def _tap(self, *, passive: bool) -> None:
        (transceiver,) = self._connection.getTransceivers()
        receiver: Any = transceiver.receiver
        self._receiver = receiver
        check_receiver(receiver)
        receiver._RTCRtpReceiver__jitter_buffer = self
        handle = receiver._handle_rtcp_packet

        async def handle_rtcp_packet(packet: Any) -> None:
            self._sink.on_control(bytes(packet))
            await handle(packet)

        receiver._handle_rtcp_packet = handle_rtcp_packet
        self.retransmits = any(
            feedback.type == "nack" and feedback.parameter is None
            for codec in transceiver._codecs
            for feedback in codec.rtcpFeedback
        )
        # GStreamer's webrtcbin never connects when it has to wait for our handshake.
        if receiver.transport._role == "auto" and not passive:
            receiver.transport._set_role("server")

    def _widen_buffers(self) -> None:
        """Makes room for a keyframe that arrives at once: the usual 208 KiB hold some 90 full packets."""
        (transceiver,) = self._connection.getTransceivers()
        ice = transceiver.receiver.transport.transport
        for protocol in getattr(getattr(ice, "_connection", None), "_protocols", ()):
            bound = protocol.transport.get_extra_info("socket")
            if bound is not None:
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)

    def _state_changed(self) -> None:
        if not self._closing:
            self._sink.on_state(self._connection.connectionState)


async def _finished(task: asyncio.Task[None]) -> None:
    """Waits for a task, also when cancelled: half a closed connection would leave sockets and warnings behind."""
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
    task.result()


def _description(kind: str, text: str) -> Any:
    from aiortc import RTCSessionDescription

    return RTCSessionDescription(sdp=text, type=kind)


async def close_peer(connection: Any) -> None:
    """Closes an `RTCPeerConnection`, and its ICE once more where that completed in the meantime.

    aioice starts its consent checks (RFC 7675) at the end of a handshake even if it was closed a moment before; two such
    ends would keep each other alive.
    """
    await connection.close()
    for transceiver in connection.getTransceivers():
        ice = transceiver.receiver.transport.transport
        started = ice._RTCIceTransport__start
        if started is not None:
            with contextlib.suppress(TimeoutError):  # a handshake that was cancelled never ends
                async with asyncio.timeout(_LAST_MOMENT_SECONDS):
                    await started.wait()
        await ice._connection.close()
