"""Peers on the network that want our time or memory: each may cost us little, and never another camera's pictures."""

from __future__ import annotations

import asyncio
import resource
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from fractions import Fraction

import pytest

from ovstream.config import SourceConfig
from ovstream.errors import SourceError, SourceProtocolError
from ovstream.rtp import IN_ORDER, MalformedPacket, ReorderLimits, RtpPacket, RtpReceiver, parse_rtcp
from ovstream.rtp.depacketize import MAX_UNIT_BYTES
from ovstream.sources import open_source
from ovstream.sources.base import MAX_QUEUE_BYTES, SourceStats
from ovstream.sources.discovery import parse_answer
from ovstream.sources.gate import KeyframeGate
from ovstream.sources.live import LiveQueue
from ovstream.sources.rtsp_auth import Authenticator, parse_challenges
from ovstream.sources.rtsp_messages import MAX_BODY_BYTES, MAX_HEAD_BYTES, RtspParser, RtspSyntaxError
from ovstream.sources.rtsp_sdp import parse_sdp
from ovstream.types import AccessUnit
from tests.hostile.test_floods import within

MIB = 2**20
OK = b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n"
QUICK = SourceConfig(backend="native", open_timeout_seconds=3, read_timeout_seconds=3)


@contextmanager
def memory_below(limit_bytes: int) -> Iterator[None]:
    """No more than so many bytes are held at any time within."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit_bytes
    finally:
        tracemalloc.stop()


def feed(parser: RtspParser, data: bytes, step: int) -> int:
    """Messages in `data`, fed in pieces; none after a syntax error."""
    found = 0
    try:
        for at in range(0, len(data), step):
            found += sum(1 for _ in parser.feed(data[at : at + step]))
    except RtspSyntaxError:
        return -1
    return found


@pytest.mark.parametrize(
    "data",
    [
        OK + b"X: " + b"a" * (4 * MIB),
        OK + b"X: y\r\n" * MIB,
        OK + b"Content-Length: 1048577\r\n\r\n",
        OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
        OK + b"Content-Length: -1\r\n\r\n",
        OK + "Content-Length: ٣\r\n\r\n".encode(),
        b"GET_PARAMETER " + b"x" * (4 * MIB),
        b"$\0\xff\xff" + bytes(65_535) + b"$\xff" * (2 * MIB),
        bytes(4 * MIB),
    ],
    ids=[
        "head",
        "fields",
        "long body",
        "digits",
        "negative",
        "foreign digits",
        "request",
        "dollars",
        "zeros",
    ],
)
def test_rtsp_that_never_becomes_a_message(data: bytes) -> None:
    parser = RtspParser()
    parser.channels = frozenset({0, 1})
    with memory_below(len(data) + 8 * MIB), within(10):
        assert feed(parser, data, 65_536) == -1


def test_a_message_that_comes_byte_by_byte() -> None:
    whole = OK + b"Content-Length: %d\r\n\r\n" % MAX_BODY_BYTES + bytes(MAX_BODY_BYTES)
    parser = RtspParser()
    with memory_below(2 * MIB), within(20):
        assert feed(parser, OK + b"X: " + b"a" * (MAX_HEAD_BYTES // 8) + b"\r\n\r\n", 1) == 1
        assert feed(parser, whole, 16) == 1


def test_descriptions_that_are_long_to_read() -> None:
    many_formats = "v=0\r\nm=video 0 RTP/AVP" + " 96" * 40_000 + "\r\n"
    many_media = "v=0\r\n" + "m=video 0 RTP/AVP 96 97 98\r\n" * 5000
    every_format = "v=0\r\nm=video 0 RTP/AVP " + " ".join(map(str, range(20_000))) + "\r\n" + "a=x\r\n" * 9000
    digits = "v=0\r\nm=video 0 RTP/AVP " + "9" * 5000 + "\r\na=rtpmap:96 H264/" + "9" * 5000 + "\r\n"
    with within(5):
        for text in (many_formats, many_media, every_format, digits):
            assert parse_sdp(text).tracks == ()


def test_challenges_that_are_long_to_read() -> None:
    with within(5):
        for text in (
            "Digest " + 'a="' * 20_000,
            "Digest ," * 8000,
            "Digest " + "a=," * 20_000,
            'Digest x="\\' * 9000,
        ):
            parse_challenges([text])
            Authenticator("me", "secret").learn([text])


def test_answers_to_discovery_that_are_long_to_read() -> None:
    with within(5):
        for part in (
            b"<ProbeMatch ",
            b"<a:ProbeMatch>",
            b"<ProbeMatch><XAddrs",
            b"<" + b"a" * 60,
            b"</ProbeMatch>",
        ):
            assert parse_answer((part * 6000)[:65_507], "10.0.0.1") == []


def test_a_thousand_cameras_that_never_send_what_is_missing() -> None:
    """Packets behind a gap wait in a bounded number, whoever sends them."""
    limits = ReorderLimits()
    receiver = RtpReceiver("h264", limits=limits)
    payload = b"\x41" + bytes(1000)
    with memory_below(4 * MIB):
        for number in range(0, 4000, 2):
            list(receiver.receive(RtpPacket(number, 3600 * number, False, 96, 1, payload), now_ns=0))


def test_a_picture_without_an_end() -> None:
    receiver = RtpReceiver("h264", limits=IN_ORDER)
    part = bytes(65_000)
    with memory_below(2 * MAX_UNIT_BYTES + 4 * MIB):
        for number in range(600):
            flags = b"\x7c\x85" if number == 0 else b"\x7c\x05"
            packet = RtpPacket(number & 0xFFFF, 0, False, 96, 1, flags + part)
            assert list(receiver.receive(packet, now_ns=0)) == []
        end = RtpPacket(600, 3600, True, 96, 1, b"\x41\x9a\x00")
        units = list(receiver.receive(end, now_ns=0))
    assert [unit.damaged for unit in units] == [True, False]


def test_reports_without_end() -> None:
    with within(5):
        for data in (
            b"\x9f\xcb\x00\x1f" + bytes(124),
            b"\x80\xca\0\0" * 16_000,
            b"\x9f\xc9\x00\xba" + bytes(744),
        ):
            with suppress(MalformedPacket):
                parse_rtcp(data)


def test_pictures_that_are_too_large_to_queue() -> None:
    """The queue is bounded in pictures, and in bytes."""
    queue, stats = LiveQueue(64), SourceStats()
    gate = KeyframeGate(stats)
    large = bytes(MAX_UNIT_BYTES)
    for number in range(20):
        unit = AccessUnit("h264", large, number, Fraction(1, 25), number == 0)
        gate.deliver(unit, queue)
    waiting = queue.take_all()
    assert sum(len(unit.data) for unit in waiting) <= MAX_QUEUE_BYTES
    assert stats.dropped == 20 - len(waiting)


@asynccontextmanager
async def serving(talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]) -> AsyncIterator[str]:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)  # type: ignore[misc]
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        yield f"rtsp://127.0.0.1:{server.sockets[0].getsockname()[1]}/cam"


async def first_error(url: str, config: SourceConfig = QUICK) -> SourceError:
    source = open_source(url, config=config)
    with pytest.raises(SourceError) as caught:
        await anext(source.units())
    return caught.value


async def first_failure(url: str, config: SourceConfig) -> str:
    """Why the first connection did not work, or ended."""
    told: list[str] = []

    def on_event(kind: str, detail: str) -> None:
        if kind == "reconnecting":
            told.append(detail)
            heard.set()

    heard = asyncio.Event()
    source = open_source(url, config=config, on_event=on_event)
    reading = asyncio.ensure_future(anext(source.units()))
    try:
        async with asyncio.timeout(20):
            await asyncio.wait(
                {reading, asyncio.ensure_future(heard.wait())}, return_when=asyncio.FIRST_COMPLETED
            )
    finally:
        heard.set()
        await source.aclose()
        (ended,) = await asyncio.gather(reading, return_exceptions=True)
    return told[0] if told else str(ended)


async def test_a_server_that_asks_and_never_reads() -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"OPTIONS * RTSP/1.0\r\nCSeq: " + b"1" * 20_000 + b"\r\n\r\n")
            await writer.drain()

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with serving(talk) as url:
        error = await first_error(url)
    assert isinstance(error, SourceProtocolError)
    assert "does not read" in str(error)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB


ANSWERS = {
    "ports": {"SETUP": "Transport: RTP/AVP;unicast;server_port=" + "9" * 5000},
    "channels": {"SETUP": "Transport: RTP/AVP/TCP;interleaved=" + "9" * 5000},
    "timeout": {"SETUP": "Session: 1;timeout=" + "9" * 5000},
    "line break": {"SETUP": "Session: 1\nX: y"},
    "nonce": {"DESCRIBE": "WWW-Authenticate: Digest nonce=\r\n" * 3},
}


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_answers_that_make_no_sense_are_an_error_of_the_camera(name: str, transport: str) -> None:
    sdp = "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:track1\r\n"

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method = head.split(" ")[0]
            sequence = head.split("CSeq: ")[1].split("\r\n")[0]
            body = sdp if method == "DESCRIBE" else ""
            more = ANSWERS[name].get(method, "")
            lines = [
                f"RTSP/1.0 200 OK\r\nCSeq: {sequence}\r\nContent-Length: {len(body)}",
                *([more] if more else []),
            ]
            writer.write(("\r\n".join([*lines, "", ""]) + body).encode())
            await writer.drain()

    config = QUICK.model_copy(update={"transport": transport, "read_timeout_seconds": 0.2})
    async with serving(talk) as url:
        told = await first_failure(url, config)
    assert "unexpected" not in told


async def test_a_flood_of_early_packets_is_kept_within_bounds() -> None:
    """Packets before the answer to PLAY wait; a server may send them for ever."""
    sdp = "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:track1\r\n"
    packet = b"$\0\xff\xff" + RtpPacket(1, 0, False, 96, 1, bytes(65_535 - 12)).to_bytes()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            sequence = head.split("CSeq: ")[1].split("\r\n")[0]
            if head.startswith("PLAY"):
                for _ in range(1000):
                    writer.write(packet)
                    await writer.drain()
            body = sdp if head.startswith("DESCRIBE") else ""
            writer.write(
                f"RTSP/1.0 200 OK\r\nCSeq: {sequence}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
            )
            await writer.drain()

    started = time.monotonic()
    async with serving(talk) as url:
        with memory_below(24 * MIB):
            await first_failure(url, QUICK)
    assert time.monotonic() - started < 30
