"""A WebRTC publisher that sends exactly what a test wants: access units as RTP over aiortc's transport."""

from __future__ import annotations

import asyncio
import datetime
import http.client
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple, Self
from urllib.parse import urljoin, urlsplit

from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.codecs import is_rtx
from aiortc.rtcdtlstransport import RTCCertificate
from aiortc.rtp import RTCP_PSFB_PLI, RTCP_RTPFB_NACK, RtcpPsfbPacket, RtcpRtpfbPacket
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from ovstream.config import SourceConfig
from ovstream.rtp import RtpPacket, SenderReport
from ovstream.sources import open_source
from ovstream.sources.webrtc import WhipSource
from ovstream.sources.webrtc.codecs import prepare_aiortc
from ovstream.types import AccessUnit
from tests.net.fault_server import INTERVAL_SECONDS, TICKS, UNIX_TO_NTP_SECONDS
from tests.rtp.sender import Sender, SentUnit

HISTORY_PACKETS = 1024
REPORT_EVERY_UNITS = 20
CONNECT_SECONDS = 10.0


class HttpReply(NamedTuple):
    """What the server says."""

    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        """The body of an error (RFC 9457)."""
        assert self.headers["content-type"] == "application/problem+json"
        content: dict[str, Any] = json.loads(self.body)
        assert content["status"] == self.status
        return content


async def ask(
    method: str, url: str, body: str | bytes = b"", headers: dict[str, str] | None = None
) -> HttpReply:
    """One request by the standard library's client."""
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")

    def exchange() -> HttpReply:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=10)
        try:
            connection.request(method, target, body, headers or {})
            response = connection.getresponse()
            fields = {name.lower(): value for name, value in response.getheaders()}
            return HttpReply(response.status, fields, response.read())
        finally:
            connection.close()

    return await asyncio.to_thread(exchange)


async def until(condition: Callable[[], object], *, seconds: float = 40.0) -> None:
    """Waits until `condition()` is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


@dataclass(frozen=True, slots=True)
class Manners:
    """How a publisher behaves.

    Attributes:
        codec: As in `AccessUnit`.
        profile: profile-level-id of H.264.
        loss: Share of packets that do not arrive; retransmissions get lost as well.
        rtx: Sends again in a stream of its own (RFC 4588).
        nack: Sends again at all.
        rsa: Its DTLS certificate is RSA.
        clock_offset_seconds: Of its sender reports.
    """

    codec: str = "h264"
    profile: str = "42e01f"
    loss: float = 0.0
    rtx: bool = True
    nack: bool = True
    rsa: bool = False
    clock_offset_seconds: float = 0.0


@dataclass(slots=True)
class Publisher:
    """`async with Publisher(url, units) as publisher: await publisher.play()`.

    Args:
        url: To POST to.
        units: Sent in a circle, one every `INTERVAL_SECONDS`; a PLI jumps to the next keyframe.
        manners: How it behaves.
        token: Bearer token.
    """

    url: str
    units: list[SentUnit]
    manners: Manners = field(default_factory=Manners)
    token: str | None = None
    plis: int = 0
    nacks: int = 0
    sent: int = 0
    dropped: int = 0
    drop_next: int = 0
    reply: HttpReply | None = None
    session_url: str = ""
    played: list[SentUnit] = field(default_factory=list)  # in the order of sending
    _keyframe_wanted: bool = False
    _sender: Sender | None = None
    _number: int = 0
    _index: int = 0
    _history: dict[int, RtpPacket] = field(default_factory=dict)
    _rtx_sequence: int = 0
    _random: random.Random = field(default_factory=lambda: random.Random(7))
    connection: Any = None
    _transceiver: Any = None

    async def __aenter__(self) -> Self:
        prepare_aiortc()
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        if self.manners.rsa:
            self.connection._RTCPeerConnection__certificates = [rsa_certificate()]
        self._transceiver = self.connection.addTransceiver("video", direction="sendonly")
        self._transceiver.setCodecPreferences(self._preferences())
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.connection.close()

    def _preferences(self) -> list[Any]:
        mime_type = {"h264": "video/H264", "h265": "video/H265", "vp8": "video/VP8"}[self.manners.codec]
        wanted = []
        for codec in RTCRtpSender.getCapabilities("video").codecs:
            profile = codec.parameters.get("profile-level-id", self.manners.profile)
            mode = codec.parameters.get("packetization-mode", "1")
            fits = codec.mimeType == mime_type and profile == self.manners.profile and mode == "1"
            if fits or (is_rtx(codec) and self.manners.rtx):
                wanted.append(codec)
        return wanted

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    async def offer(self) -> str:
        await self.connection.setLocalDescription(await self.connection.createOffer())
        text = str(self.connection.localDescription.sdp)
        if not self.manners.nack:
            text = "\r\n".join(line for line in text.splitlines() if not line.endswith(" nack")) + "\r\n"
        return text

    async def post(self, offer: str | None = None) -> HttpReply:
        """Publishes; follows the answer when there is one."""
        headers = {"Content-Type": "application/sdp", **self.headers}
        self.reply = reply = await ask("POST", self.url, offer or await self.offer(), headers)
        if reply.status == 201:
            self.session_url = urljoin(self.url, reply.headers["location"])
            await self.connection.setRemoteDescription(RTCSessionDescription(reply.body.decode(), "answer"))
            self._listen()
        return reply

    async def connect(self) -> None:
        reply = await self.post()
        assert reply.status == 201, reply
        await self.connected()

    async def answer(self, offer: str) -> str:
        """Is the other side: sends to who offers to receive (WHEP)."""
        await self.connection.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        await self.connection.setLocalDescription(await self.connection.createAnswer())
        self._listen()
        return str(self.connection.localDescription.sdp)

    async def connected(self) -> None:
        await until(
            lambda: self.connection.connectionState in ("connected", "failed"), seconds=CONNECT_SECONDS
        )
        assert self.connection.connectionState == "connected"

    def _listen(self) -> None:
        sender = self._transceiver.sender

        async def handle(packet: Any) -> None:
            if isinstance(packet, RtcpRtpfbPacket) and packet.fmt == RTCP_RTPFB_NACK:
                self.nacks += 1
                for sequence in packet.lost if self.manners.nack else ():
                    await self._resend(sequence)
            elif isinstance(packet, RtcpPsfbPacket) and packet.fmt == RTCP_PSFB_PLI:
                self.plis += 1
                self._keyframe_wanted = True

        sender._handle_rtcp_packet = handle

    async def play(self, count: int | None = None, *, start: int | None = None) -> None:
        """Sends `count` units, or until cancelled; goes on where the last call stopped, or at unit `start`."""
        sender = self._sender = self._sender or self._new_sender()
        self._index = self._index if start is None else start
        began, first = time.monotonic(), self._number
        while count is None or self._number < first + count:
            await asyncio.sleep(max(began + (self._number - first) * INTERVAL_SECONDS - time.monotonic(), 0))
            unit = self._next_unit()
            if self._number % REPORT_EVERY_UNITS == 0:
                await self._report(sender, unit.timestamp)
            for packet in sender.send(unit):
                self._history[packet.sequence] = packet
                self._history.pop((packet.sequence - HISTORY_PACKETS) & 0xFFFF, None)
                await self.send(packet.to_bytes())
            self._number += 1

    def _new_sender(self) -> Sender:
        media = [codec for codec in self._transceiver._codecs if not is_rtx(codec)]
        return Sender(
            mtu=300,
            aggregate=True,
            ssrc=self._transceiver.sender._ssrc,
            payload_type=media[0].payloadType,
            sequence=self._random.randrange(65_536),
        )

    def _next_unit(self) -> SentUnit:
        """The unit whose turn it is, at its place in time; the next keyframe after a PLI."""
        while self._keyframe_wanted and not self.units[self._index % len(self.units)].keyframe:
            self._index += 1
        self._keyframe_wanted = False
        place = self._index % len(self.units)
        unit, self._index = self.units[place], self._index + 1
        self.played.append(unit)
        timestamp = self._number * TICKS + unit.timestamp - place * TICKS
        return SentUnit(unit.codec, unit.parts, timestamp, unit.keyframe)

    async def send(self, data: bytes) -> None:
        """Sends a packet over the lossy way."""
        self.sent += 1
        if self.drop_next or self._random.random() < self.manners.loss:
            self.drop_next = max(self.drop_next - 1, 0)
            self.dropped += 1
            return
        with suppress(ConnectionError):
            await self._transceiver.sender.transport._send_rtp(data)

    async def _resend(self, sequence: int) -> None:
        packet = self._history.get(sequence)
        if packet is None:
            return
        if not self.manners.rtx:
            await self.send(packet.to_bytes())
            return
        rtx = next(codec for codec in self._transceiver._codecs if is_rtx(codec))
        self._rtx_sequence = self._rtx_sequence + 1 & 0xFFFF
        again = packet._replace(
            sequence=self._rtx_sequence,
            payload_type=rtx.payloadType,
            ssrc=self._transceiver.sender._rtx_ssrc,
            payload=sequence.to_bytes(2, "big") + packet.payload,
        )
        await self.send(again.to_bytes())

    async def _report(self, sender: Sender, timestamp: int) -> None:
        seconds = time.time() + self.manners.clock_offset_seconds + UNIX_TO_NTP_SECONDS
        report = SenderReport(
            sender.ssrc, int(seconds * 2**32), timestamp & 0xFFFF_FFFF, sender.packets, sender.octets
        )
        with suppress(ConnectionError):
            await self._transceiver.sender.transport._send_rtp(report.to_bytes())

    async def die(self) -> None:
        """Vanishes without a word: no BYE, no DTLS alert, no DELETE."""
        transport = self._transceiver.sender.transport

        async def nothing(_data: bytes) -> None:
            return None

        transport.transport._connection.send = nothing
        transport.transport._send = nothing


@dataclass(slots=True)
class Listener:
    """A WHIP source at work, and everything that it said.

    Attributes:
        source: The source.
        units: What it handed on.
        times: Monotonic clock of each.
        events: In order.
        url: Of the endpoint.
        reading: Cleared, it stops taking units.
    """

    source: WhipSource
    units: list[AccessUnit] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    events: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""
    reading: asyncio.Event = field(default_factory=asyncio.Event)

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.events]

    async def until(self, condition: Callable[[], object], *, seconds: float = 40.0) -> None:
        await until(condition, seconds=seconds)

    async def until_units(self, count: int, *, seconds: float = 40.0) -> None:
        await self.until(lambda: len(self.units) >= count, seconds=seconds)


@asynccontextmanager
async def listening(
    name: str = "cam1", *, base: str = "whip://127.0.0.1:0", **options: Any
) -> AsyncIterator[Listener]:
    """Runs a WHIP source until the block ends; `options` are those of `SourceConfig`."""
    said: list[tuple[str, str]] = []
    source = open_source(
        f"{base}/{name}",
        config=SourceConfig.model_validate({"read_timeout_seconds": 1.0, **options}),
        on_event=lambda kind, detail: said.append((kind, detail)),
    )
    assert isinstance(source, WhipSource)
    listener = Listener(source, events=said)
    listener.reading.set()

    async def take() -> None:
        async for unit in source.units():
            listener.units.append(unit)
            listener.times.append(time.monotonic())
            await listener.reading.wait()

    task = asyncio.create_task(take())
    try:
        await listener.until(lambda: said or task.done())
        if task.done():
            await task
        listener.url = said[0][1].split(" at ")[1].split(",")[0]
        yield listener
    finally:
        listener.reading.set()
        await source.aclose()
        await asyncio.gather(task, return_exceptions=True)


@cache
def rsa_certificate() -> RTCCertificate:
    """A certificate that signs itself, with an RSA key: what old publishers have."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "publisher of a test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return RTCCertificate(key=key, cert=certificate)  # type: ignore[arg-type]
