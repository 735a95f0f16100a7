"""An RTSP camera that misbehaves on purpose, in the event loop of the test. Loopback only.

It sends the pictures of a clip in a circle, 100 a second, over TCP or UDP, and does what its `Behaviour` says.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import random
import re
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from ovstream.nal import nal_type
from ovstream.rtp import Goodbye, ReceiverReport, RtpPacket, SenderReport, parse_rtcp
from ovstream.sources import open_source
from tests.rtp.sender import SSRC, Sender, SentUnit, unit_of
from tests.sources.support import collect

TICKS = 900
INTERVAL_SECONDS = TICKS / 90_000
REPORT_EVERY_UNITS = 20
PARAMETER_SETS = {"h264": (7, 8), "h265": (32, 33, 34), "vp8": ()}
UNIX_TO_NTP_SECONDS = 2_208_988_800
# After these the connection is of no use any more.
DEADLY = frozenset({"silent", "close", "reset", "half", "bye"})
# The rest of what `Behaviour.fault` may say: jumps, "garbage", "stall", "pause", "switch", "crumble".


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What the camera does wrong.

    `fault` happens once, at picture `at` of a connection. `hang` leaves the first request of that method without
    an answer. `whole_nals` is packetization mode 0. `slow` cameras send that many
    times fewer pictures a second. `refuse` answers a transport with 461, `refuse_methods` others with 405.
    """

    fault: str = ""
    at: int = 12
    seconds: float = 0.3
    hang: str = ""
    loss: float = 0.0
    reorder: bool = False
    repeat: bool = False
    noise: bool = False
    marker: str = "last"
    mute_sets: bool = False
    sequence: int = 100
    timestamp: int = 1_000_000
    refuse: str = ""
    refuse_methods: tuple[str, ...] = ()
    no_aggregate: bool = False
    redirect: bool = False
    credentials: tuple[str, str] | None = None
    algorithm: str = "MD5"
    stale: bool = False
    session_seconds: float = 60.0
    rtp_info: bool = True
    audio_first: bool = False
    whole_nals: bool = False
    slow: int = 1
    asks: bool = False
    clock_offset_seconds: float = 0.0
    sdp: str = ""
    payload_type: int = 96


async def load_units(path: Path) -> list[SentUnit]:
    """The access units of a clip."""
    units = await collect(open_source(path))
    return [
        unit_of(unit.codec, unit.data, index * TICKS, keyframe=unit.keyframe)
        for index, unit in enumerate(units)
    ]


@dataclass(slots=True)
class FaultServer:
    """`async with FaultServer(units, behaviour) as server`: then it listens at `server.url`.

    Attributes:
        requests: Methods in the order of their arrival.
        reports: RTCP packets of the client.
        faulted: When the fault happened, on the monotonic clock; None before.
        connections: Made so far.
        answers: What the client said to requests of the server.
    """

    units: list[SentUnit]
    behaviour: Behaviour = field(default_factory=Behaviour)
    other_units: list[SentUnit] = field(default_factory=list)
    tls: ssl.SSLContext | None = None
    requests: list[str] = field(default_factory=list)
    reports: list[object] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    faulted: float | None = None
    connections: int = 0
    port: int = 0
    _armed: bool = True
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        return f"{'rtsps' if self.tls else 'rtsp'}://127.0.0.1:{self.port}/cam"

    def strike(self) -> bool:
        """Whether the fault is due now; only once."""
        due, self._armed = self._armed, False
        if due:
            self.faulted = time.monotonic()
        return due

    @property
    def armed(self) -> bool:
        return self._armed

    def rearm(self) -> None:
        """Lets the fault happen once more."""
        self._armed = True

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        session = Session(self, reader, writer)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(asyncio.CancelledError):  # the end of the test
                await session.run()
        finally:
            self._tasks.discard(task)
            await session.aclose()


class Session:
    """One client."""

    def __init__(
        self, server: FaultServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.server = server
        self.reader, self.writer = reader, writer
        self.nonce = os.urandom(8).hex()
        self.stale = server.behaviour.stale
        self.crumbling = self.pausing = False
        self.heard = time.monotonic()
        self.udp: list[socket.socket] = []
        self.playing: asyncio.Task[None] | None = None

    @property
    def behaviour(self) -> Behaviour:
        """May change while the session lasts."""
        return self.server.behaviour

    async def run(self) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            while True:
                first = await self.reader.readexactly(1)
                if first == b"$":
                    size = int.from_bytes((await self.reader.readexactly(3))[1:], "big")
                    self.server.reports += parse_rtcp(await self.reader.readexactly(size))
                else:
                    await self.take(first + await self.reader.readuntil(b"\r\n\r\n"))

    async def aclose(self) -> None:
        if self.playing is not None:
            self.playing.cancel()
        for bound in self.udp:
            asyncio.get_running_loop().remove_reader(bound.fileno())
            bound.close()
        self.writer.close()
        with suppress(OSError, ssl.SSLError, asyncio.CancelledError):
            await self.writer.wait_closed()

    async def take(self, head: bytes) -> None:
        first, *lines = head.decode().strip().split("\r\n")
        fields = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
        if first.startswith("RTSP/"):
            self.server.answers.append(first)
            return
        method, uri, _ = first.split(" ")
        self.server.requests.append(method)
        self.heard = time.monotonic()
        if self.behaviour.hang == method and self.server.strike():
            await self.reader.read()  # until the client gives up
        await self.answer(method, uri, fields)

    async def answer(self, method: str, uri: str, fields: dict[str, str]) -> None:
        behaviour = self.behaviour
        if not self.is_authorised(method, fields):
            challenge = f'Digest realm="cam", nonce="{self.nonce}", algorithm={behaviour.algorithm}'
            await self.reply(fields, "401 Unauthorized", WWW_Authenticate=challenge)
        elif method in behaviour.refuse_methods:
            await self.reply(fields, "405 Method Not Allowed")
        elif "nowhere" in uri:
            await self.reply(fields, "404 Not Found")
        elif method == "DESCRIBE" and behaviour.redirect and "moved" not in uri:
            await self.reply(fields, "302 Moved Temporarily", Location=f"{uri}/moved")
        elif method == "DESCRIBE":
            await self.reply(
                fields, body=self.description(), Content_Type="application/sdp", Content_Base=f"{uri}/"
            )
        elif method == "SETUP":
            await self.set_up(uri, fields)
        elif method == "PLAY" and behaviour.no_aggregate and "track" not in uri:
            await self.reply(fields, "459 Aggregate Operation Not Allowed")
        elif method == "PLAY":
            info = f"url={uri}/track1;seq={behaviour.sequence};rtptime={behaviour.timestamp}"
            await self.reply(fields, **({"RTP_Info": info} if behaviour.rtp_info else {}))
            self.playing = asyncio.create_task(self.play())
        else:
            await self.reply(fields)

    async def reply(
        self, fields: dict[str, str], status: str = "200 OK", body: str = "", **headers: str
    ) -> None:
        lines = [f"RTSP/1.0 {status}", f"CSeq: {fields.get('cseq', '0')}", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.writer.write("\r\n".join([*lines, "", body]).encode())
        await self.writer.drain()

    def is_authorised(self, method: str, fields: dict[str, str]) -> bool:
        if self.behaviour.credentials is None:
            return True
        given = dict(re.findall(r'(\w+)="?([^",]*)"?', fields.get("authorization", "")))
        user, password = self.behaviour.credentials
        name = "sha256" if self.behaviour.algorithm == "SHA-256" else "md5"

        def hashed(text: str) -> str:
            return hashlib.new(name, text.encode()).hexdigest()

        secret = hashed(f"{user}:cam:{password}")
        right = hashed(f"{secret}:{self.nonce}:{hashed(method + ':' + given.get('uri', ''))}")
        if given.get("response") != right:
            return False
        if self.stale and method == "PLAY":
            self.stale, self.nonce = False, os.urandom(8).hex()
            return False
        return True

    def description(self) -> str:
        codec = self.server.units[0].codec
        if self.behaviour.sdp:
            return self.behaviour.sdp
        sets = {nal_type(nal, codec): base64.b64encode(nal).decode() for nal in self.parameter_sets()}
        fmtp = (
            {
                "h264": "packetization-mode=1;sprop-parameter-sets={7},{8}",
                "h265": "sprop-vps={32};sprop-sps={33};sprop-pps={34}",
                "vp8": "max-fr=30",
            }[codec]
            .replace("mode=1", f"mode={int(not self.behaviour.whole_nals)}")
            .format(*(sets.get(kind, "") for kind in range(40)))
        )
        video = (
            f"m=video 0 RTP/AVP 96\r\na=rtpmap:96 {codec.upper()}/90000\r\n"
            f"a=fmtp:96 {fmtp}\r\na=control:track1\r\n"
        )
        audio = "m=audio 0 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=control:track0\r\n"
        head = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\na=control:*\r\n"
        return head + (audio + video if self.behaviour.audio_first else video)

    def parameter_sets(self) -> Iterator[bytes]:
        first = self.server.units[0]
        return (
            nal
            for nal in first.parts
            if first.codec != "vp8" and nal_type(nal, first.codec) in PARAMETER_SETS[first.codec]
        )

    async def set_up(self, uri: str, fields: dict[str, str]) -> None:
        wanted = fields["transport"]
        if ("tcp" if "TCP" in wanted else "udp") == self.behaviour.refuse:
            await self.reply(fields, "461 Unsupported Transport")
            return
        transport = "RTP/AVP/TCP;unicast;interleaved=0-1"
        if "TCP" not in wanted:
            ports = re.search(r"client_port=(\d+)", wanted)
            assert ports is not None
            first = int(ports[1])
            self.udp = [udp_socket(first), udp_socket(first + 1)]
            own = [bound.getsockname()[1] for bound in self.udp]
            asyncio.get_running_loop().add_reader(self.udp[1].fileno(), self.hear)
            transport = f"RTP/AVP;unicast;client_port={first}-{first + 1};server_port={own[0]}-{own[1]}"
        seconds = f"{self.behaviour.session_seconds:.0f}"
        await self.reply(fields, Transport=transport, Session=f"1234;timeout={seconds}")

    def hear(self) -> None:
        with suppress(OSError):
            self.server.reports += parse_rtcp(self.udp[1].recv(2048))

    async def play(self) -> None:
        """Sends pictures until the client or a fault ends it."""
        behaviour = self.behaviour
        mtu = 60_000 if behaviour.whole_nals else 300
        sender = Sender(mtu=mtu, marker=behaviour.marker, sequence=behaviour.sequence)
        sender.payload_type = behaviour.payload_type
        units, start, index, shift = self.server.units, time.monotonic(), 0, behaviour.timestamp
        network = Network(self)
        if behaviour.asks:
            self.writer.write(b"OPTIONS * RTSP/1.0\r\nCSeq: 7\r\n\r\nNONSENSE * RTSP/1.0\r\nCSeq: 8\r\n\r\n")
        while time.monotonic() - self.heard <= 1.3 * behaviour.session_seconds:
            await asyncio.sleep(max(start + index * INTERVAL_SECONDS * behaviour.slow - time.monotonic(), 0))
            behaviour, unit = self.behaviour, units[index % len(units)]
            if index >= behaviour.at and behaviour.fault and self.server.armed:
                due = behaviour.fault not in ("switch", "pause") or unit.keyframe
                if due and self.server.strike():
                    if behaviour.fault in DEADLY:
                        await self.end(sender)
                        return
                    shift += await self.disturb(sender)
                    if behaviour.fault == "switch":
                        units, shift = self.server.other_units, shift + index * TICKS
                        start, index = time.monotonic(), 0
                        continue
            timestamp = shift + index * TICKS
            if index % REPORT_EVERY_UNITS == 1:
                self.send_control(self.report(sender, timestamp))
            packets = sender.send(self.as_sent(unit, timestamp))
            if self.pausing:
                first, packets, self.pausing = (
                    packets[: len(packets) // 2],
                    packets[len(packets) // 2 :],
                    False,
                )
                network.send(first)
                await asyncio.sleep(behaviour.seconds)
            network.send(packets)
            if not self.udp:
                await self.writer.drain()
            index += 1
        self.writer.close()

    async def disturb(self, sender: Sender) -> int:
        """A fault that the connection survives; returns by how much timestamps jump."""
        fault = self.behaviour.fault
        if fault == "stall":
            await asyncio.sleep(self.behaviour.seconds)
        elif fault == "garbage":
            self.writer.write(random.Random(5).randbytes(400))
        elif fault == "sequence jump":
            sender.sequence += 5000
        elif fault == "new sender":
            sender.ssrc = SSRC + 1
        elif fault == "pause":
            self.pausing = True
        elif fault == "crumble":
            self.crumbling = True
        return {"timestamp jump": 90_000_000, "timestamps back": -270_000}.get(fault, 0)

    async def end(self, sender: Sender) -> None:
        fault = self.behaviour.fault
        if fault == "close":
            self.writer.close()
        elif fault == "reset":
            self.writer.transport.abort()
        elif fault == "bye":
            self.send_control(Goodbye((sender.ssrc,)).to_bytes())
        elif fault == "half":
            self.writer.write(b"$\0\x05\xdc\x80\x60half a packet")

    def as_sent(self, unit: SentUnit, timestamp: int) -> SentUnit:
        muted = PARAMETER_SETS[unit.codec] if self.behaviour.mute_sets else ()
        parts = tuple(part for part in unit.parts if not muted or nal_type(part, unit.codec) not in muted)
        return SentUnit(unit.codec, parts, timestamp, unit.keyframe)

    def report(self, sender: Sender, timestamp: int) -> bytes:
        now = time.time() + UNIX_TO_NTP_SECONDS + self.behaviour.clock_offset_seconds
        ntp = int(now * 2**32)
        ticks = timestamp & 0xFFFF_FFFF
        return SenderReport(sender.ssrc, ntp, ticks, sender.packets, sender.octets).to_bytes()

    def send_control(self, data: bytes) -> None:
        self.send(1, data)

    def send(self, channel: int, data: bytes) -> None:
        if self.udp:
            with suppress(OSError):
                self.udp[channel].send(data)
        elif not self.writer.is_closing():
            self.writer.write(b"$" + bytes((channel,)) + len(data).to_bytes(2, "big") + data)


class Network:
    """Loses, repeats and reorders packets, always in the same way."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._chance = random.Random(1)
        self._held: bytes | None = None

    def send(self, packets: list[RtpPacket]) -> None:
        behaviour = self._session.behaviour
        for packet in packets[1:] if self._session.crumbling else packets:
            data = packet.to_bytes()
            if self._chance.random() < behaviour.loss:
                continue
            if behaviour.reorder and self._held is None and self._chance.random() < 0.1:
                self._held = data
                continue
            self._session.send(0, data)
            if behaviour.repeat:
                self._session.send(0, data)
            if behaviour.noise:
                self._session.send(0, self._chance.randbytes(20))
            if self._held is not None:
                self._session.send(0, self._held)
                self._held = None


def udp_socket(peer_port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.bind(("127.0.0.1", 0))
    bound.connect(("127.0.0.1", peer_port))
    bound.setblocking(False)
    return bound


def receiver_reports(server: FaultServer) -> list[ReceiverReport]:
    return [report for report in server.reports if isinstance(report, ReceiverReport) and report.reports]
