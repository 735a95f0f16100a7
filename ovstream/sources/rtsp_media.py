"""The packets of one RTSP session: interleaved or over UDP, into access units; reports back."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Protocol

from ovstream.errors import SourceCodecError, SourceError
from ovstream.rtp import (
    IN_ORDER,
    Goodbye,
    MalformedPacket,
    ReorderLimits,
    RtpPacket,
    RtpReceiver,
    RtpUnit,
    SourceDescription,
)
from ovstream.sources.rtsp_connection import RtspConnection
from ovstream.sources.rtsp_sdp import VideoTrack
from ovstream.sources.rtsp_udp import UdpPair

# Some servers send before they have answered PLAY; kept until the session says that it plays.
MAX_EARLY_PACKETS = 2048
MAX_EARLY_BYTES = 4 * 1024 * 1024
MAX_FOREIGN_PACKETS = 500
_PUNCH = b"\x80\0\0\0" + bytes(8)  # an empty RTP packet: opens the way back through a firewall


class OnUnits(Protocol):
    """Takes access units as they get complete; a `SourceError` that it raises ends the session."""

    def __call__(self, units: Iterable[RtpUnit], receiver: RtpReceiver, /) -> None:
        """Called in the event loop."""
        ...


class RtspMedia:
    """Receives one video track.

    Args:
        track: What is in it.
        connection: Carries packets when they are interleaved; told why when they end.
        name: Of the source, for errors.
        on_units: Takes what arrives.
        limits: How long missing packets are waited for, over UDP.

    Attributes:
        heard_ns: Monotonic clock when the last packet of the track arrived.
        whole_ns: The same of the last picture that arrived whole.
    """

    def __init__(
        self,
        track: VideoTrack,
        connection: RtspConnection,
        *,
        name: str,
        on_units: OnUnits,
        limits: ReorderLimits | None = None,
    ) -> None:
        self.heard_ns = self.whole_ns = time.monotonic_ns()
        self._track = track
        self._connection = connection
        self._name = name
        self._on_units = on_units
        self._limits = limits or ReorderLimits()
        self._receiver = RtpReceiver(track.codec, clock_rate_hz=track.clock_rate_hz, limits=IN_ORDER)
        self._foreign = 0
        self._udp: UdpPair | None = None
        self._channels = (0, 1)
        self._early: deque[tuple[int, bytes]] | None = deque()
        self._early_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._ssrc = secrets.randbits(32)
        self._cname = secrets.token_hex(8).encode()  # RFC 7022: short-term persistent

    async def offer(self, transport: str) -> str:
        """Prepares for "tcp" or "udp"; returns the Transport field to ask for (RFC 2326 12.39).

        Raises:
            SourceError: No ports are free.
        """
        self.close()
        limits = IN_ORDER if transport == "tcp" else self._limits
        self._receiver = RtpReceiver(
            self._track.codec, clock_rate_hz=self._track.clock_rate_hz, limits=limits
        )
        if transport == "tcp":
            return "RTP/AVP/TCP;unicast;interleaved=0-1"
        self._udp = await UdpPair.open(
            self._connection.local_host, peer_host=self._connection.peer_host, on_datagram=self._on_packet
        )
        return "RTP/AVP;unicast;client_port={}-{}".format(*self._udp.ports)

    def accept(self, text: str) -> None:
        """Reads the Transport field of the answer."""
        if self._udp is not None:
            ports = re.search(r"server_port=(\d{1,5})(?:-(\d{1,5}))?(?!\d)", text)
            source = re.search(r"source=([0-9A-Fa-f.:]+)", text)
            pair = (int(ports[1]), int(ports[2] or int(ports[1]) + 1)) if ports else (0, 0)
            valid = all(0 < port < 65_536 for port in pair)
            self._udp.connect(pair if valid else None, also_from=source[1] if source else None)
        elif channels := re.search(r"interleaved=(\d{1,3})(?:-(\d{1,3}))?(?!\d)", text):
            first = int(channels[1]) & 0xFF
            self._channels = (first, int(channels[2] or first + 1) & 0xFF)
        self._connection.parser.channels = frozenset(self._channels)

    def start(self) -> None:
        """The camera plays: hands out what came early, and asks firewalls to let the rest in."""
        early, self._early = self._early or (), None
        self.heard_ns = self.whole_ns = time.monotonic_ns()
        for index, data in early:
            self._on_packet(index, data)
        if self._udp is not None:
            self._udp.send(0, _PUNCH)

    def on_frame(self, channel: int, data: bytes) -> None:
        """Takes an interleaved packet; other channels are not ours."""
        if self._udp is None and channel in self._channels:
            self._on_packet(self._channels.index(channel), data)

    def send_report(self) -> None:
        """Tells the camera how well it is received (RFC 3550 6.4.2)."""
        report = self._receiver.report(ssrc=self._ssrc, now_ns=time.monotonic_ns())
        self._send_control(report.to_bytes() + SourceDescription(self._ssrc, self._cname).to_bytes())

    def send_goodbye(self) -> None:
        """Tells the camera that nobody looks any more."""
        report = self._receiver.report(ssrc=self._ssrc, now_ns=time.monotonic_ns())
        self._send_control(report.to_bytes() + Goodbye((self._ssrc,)).to_bytes())

    def close(self) -> None:
        """Frees ports and timer; may be called again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._udp is not None:
            self._udp.close()
            self._udp = None

    def _on_packet(self, index: int, data: bytes) -> None:
        if self._early is not None:
            self._keep(self._early, index, data)
        elif index == 1:
            self._on_control(data)
        else:
            self._on_media(data)

    def _keep(self, early: deque[tuple[int, bytes]], index: int, data: bytes) -> None:
        early.append((index, data))
        self._early_bytes += len(data)
        while len(early) > MAX_EARLY_PACKETS or self._early_bytes > MAX_EARLY_BYTES:
            self._early_bytes -= len(early.popleft()[1])

    def _on_control(self, data: bytes) -> None:
        self._receiver.receive_control(data, now_ns=time.monotonic_ns(), wall_ns=time.time_ns())
        if self._receiver.ended:
            self._connection.fail(SourceError(f"{self._name} ended the stream"))

    def _on_media(self, data: bytes) -> None:
        try:
            packet = RtpPacket.parse(data)
        except MalformedPacket:
            self._receiver.malformed += 1
            return
        if packet.payload_type != self._track.payload_type:
            self._pass_over(packet.payload_type)
            return
        self._foreign = 0
        self.heard_ns = now_ns = time.monotonic_ns()
        self._deliver(self._receiver.receive(packet, now_ns=now_ns))
        if self._timer is None and self._receiver.deadline_ns is not None:
            self._wait_for_missing(self._receiver.deadline_ns - now_ns)

    def _pass_over(self, payload_type: int) -> None:
        """Leaves out a packet of another format; a camera that sends no other does not keep its word."""
        self._foreign += 1
        if self._foreign > MAX_FOREIGN_PACKETS:
            described = f"payload type {payload_type} instead of {self._track.payload_type}"
            self._connection.fail(SourceCodecError(f"{self._name} sends {described}"))

    def _deliver(self, units: Iterable[RtpUnit]) -> None:
        try:
            self._on_units(self._noticed(units), self._receiver)
        except SourceError as error:
            self._connection.fail(error)

    def _noticed(self, units: Iterable[RtpUnit]) -> Iterator[RtpUnit]:
        for unit in units:
            if not unit.damaged:
                self.whole_ns = unit.arrival_ns
            yield unit

    def _wait_for_missing(self, wait_ns: int) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(max(wait_ns, 0) / 1e9, self._give_up_missing)

    def _give_up_missing(self) -> None:
        self._timer = None
        now_ns = time.monotonic_ns()
        self._deliver(self._receiver.poll(now_ns=now_ns))
        if self._receiver.deadline_ns is not None:
            self._wait_for_missing(self._receiver.deadline_ns - now_ns)

    def _send_control(self, data: bytes) -> None:
        if self._udp is not None:
            self._udp.send(1, data)
        else:
            self._connection.send_frame(self._channels[1], data)
