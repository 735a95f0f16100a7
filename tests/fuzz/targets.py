"""The parsers that read what strangers send, and what must hold whatever it is."""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import Iterator
from contextlib import suppress

from ovstream.errors import SourceError
from ovstream.rtp import (
    Goodbye,
    MalformedPacket,
    ReceiverReport,
    ReceptionReport,
    ReorderLimits,
    RtpPacket,
    RtpReceiver,
    RtpUnit,
    SenderReport,
    SourceDescription,
    parse_rtcp,
)
from ovstream.sources.discovery import parse_answer
from ovstream.sources.rtsp_auth import Authenticator
from ovstream.sources.rtsp_messages import (
    MAX_BODY_BYTES,
    MAX_HEAD_BYTES,
    Frame,
    RtspParser,
    RtspSyntaxError,
    format_frame,
    format_request,
)
from ovstream.sources.rtsp_sdp import control_uri, parse_sdp
from ovstream.sources.urls import parse_url, redact_url
from ovstream.sources.webrtc.http_client import _read_answer
from ovstream.sources.webrtc.sdp import BadDescription, Fragment, Offer, UnacceptableMedia, clean_answer
from tests.fuzz.engine import Target
from tests.net.test_discovery import ANSWER
from tests.rtp.sender import Sender
from tests.rtp.support import MAKERS

LOOP = asyncio.new_event_loop()
LIMITS = ReorderLimits(packets=8, wait_ns=5_000_000)
MOST_PACKETS = 40
STEP = struct.Struct("!bhBB")  # sequence step, timestamp step, flags, payload length
RTSP_SDP = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\na=control:*\r\n"
    "m=audio 0 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=control:track0\r\n"
    "m=video 0 RTP/AVP 96 97\r\na=rtpmap:96 H264/90000\r\n"
    "a=fmtp:96 packetization-mode=1;sprop-parameter-sets=Z0LAHtk=,aM48gA==\r\na=control:track1\r\n"
)
OFFER = (
    "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\na=setup:actpass\r\n"
    "a=fingerprint:sha-256 "
    + ":".join(["AB"] * 32)
    + "\r\na=ice-ufrag:abcd\r\na=ice-pwd:"
    + "p" * 24
    + "\r\n"
    "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=rtpmap:111 opus/48000/2\r\n"
    "m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\na=sendonly\r\na=rtcp-mux\r\n"
    "a=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n"
    "a=candidate:1 1 udp 2130706431 192.168.1.5 50000 typ host\r\na=end-of-candidates\r\n"
)
SDP_WORDS = (
    b"\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n",
    b"\r\na=fmtp:96 profile-level-id=640c1f\r\n",
    b"\r\na=inactive\r\n",
    b"\r\na=recvonly\r\n",
    b"a=bundle-only\r\n",
    b"sprop-max-don-diff=1;",
    b"packetization-mode=2",
    b"a=rtpmap:96 H265/90000",
    b"99999999999999999999",
    b"\r\n",
    b" ",
    b"0",
)


def check_rtp(data: bytes) -> None:
    try:
        packet = RtpPacket.parse(data)
    except MalformedPacket:
        return
    assert packet.payload in data
    assert RtpPacket.parse(packet.to_bytes()) == packet


def check_rtcp(data: bytes) -> None:
    try:
        packets = parse_rtcp(data)
    except MalformedPacket:
        return
    assert parse_rtcp(b"".join(packet.to_bytes() for packet in packets)) == packets


def packets_of(data: bytes) -> Iterator[tuple[RtpPacket, int]]:
    """Packets that an input describes, with their times: numbers go on, or jump, as it says."""
    position, sequence, timestamp, now_ns = 0, 65_000, 0, 0
    for _ in range(MOST_PACKETS):
        if position + STEP.size > len(data):
            return
        step, ticks, flags, size = STEP.unpack_from(data, position)
        position += STEP.size
        sequence, timestamp = (sequence + step) & 0xFFFF, (timestamp + ticks) & 0xFFFF_FFFF
        now_ns += 1_000_000 * (flags & 7)
        marker, ssrc = bool(flags & 0x80), 1 + (flags >> 5 & 1)
        yield RtpPacket(sequence, timestamp, marker, 96, ssrc, data[position : position + size]), now_ns
        position += size


def described(packets: list[RtpPacket]) -> bytes:
    """The input that describes packets in order."""
    data, before = b"", packets[0]._replace(sequence=64_999, timestamp=0)
    for packet in packets:
        ticks = packet.timestamp - before.timestamp
        head = STEP.pack(
            packet.sequence - before.sequence, ticks, packet.marker << 7 | 1, len(packet.payload)
        )
        data, before = data + head + packet.payload, packet
    return data


def units_of(codec: str, data: bytes) -> list[RtpUnit]:
    receiver, found = RtpReceiver(codec, limits=LIMITS), list[RtpUnit]()
    for number, (packet, now_ns) in enumerate(packets_of(data)):
        found += receiver.receive(packet, now_ns=now_ns)
        if number % 8 == 0:
            receiver.report(ssrc=7, now_ns=now_ns).to_bytes()
    return found + list(receiver.poll(now_ns=1 << 60))


def check_receiver(codec: str, data: bytes) -> None:
    found = units_of(codec, data)
    if len(data) % 16 == 0:
        assert found == units_of(codec, data)
    # a start code of 4 bytes stands before each NAL unit of one byte or more
    assert sum(len(unit.data) for unit in found) <= 3 * len(data)
    for unit in found:
        assert unit.damaged or unit.data
        assert unit.discontinuity or not unit.damaged
        assert codec == "vp8" or unit.damaged or unit.data.startswith(b"\0\0\0\1")


def rtsp_messages(pieces: list[bytes]) -> tuple[list[object], bool]:
    parser, found = RtspParser(), list[object]()
    parser.channels = frozenset({0, 1})
    try:
        for piece in pieces:
            for message in parser.feed(piece):
                found.append(message if isinstance(message, Frame) else repr(message))
            assert len(parser._rest) <= MAX_HEAD_BYTES + MAX_BODY_BYTES
    except RtspSyntaxError:
        return found, False
    return found, True


def check_rtsp(data: bytes) -> None:
    data = data[:500]
    whole = rtsp_messages([data])
    step = (1, 2, 3, 7, 20, 60, 150, 400)[len(data) % 8]
    pieces = [data[at : at + step] for at in range(0, len(data), step)]
    assert rtsp_messages(pieces) == whole


def check_sdp(data: bytes) -> None:
    description = parse_sdp(data.decode("utf-8", "replace"))
    for track in description.tracks:
        assert 0 <= track.payload_type < 1000
        assert track.clock_rate_hz > 0
        assert "\n" not in control_uri("rtsp://camera/1/", track.control)


def check_challenge(data: bytes) -> None:
    fields = data.decode("utf-8", "replace").split("\n")
    authenticator = Authenticator("me", "pass:word")
    with suppress(ValueError):  # an answer cannot be sent with a line break in it
        for _ in range(2):
            authenticator.learn(fields)
            header = authenticator.header("DESCRIBE", "rtsp://camera/1")
            assert header is None or "pass:word" not in header
            format_request("DESCRIBE", "rtsp://camera/1", {"Authorization": header or ""})


def check_offer(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    with suppress(BadDescription, UnacceptableMedia):
        offer = Offer.parse(text)
        assert offer.reduced().count("\r\nm=") == 1
        assert offer.answer(offer.reduced()).count("\r\nm=") == len(offer.whole.media)
    with suppress(BadDescription, UnacceptableMedia):
        clean_answer(text)
    with suppress(BadDescription):
        assert len(Fragment.parse(text).candidates) <= 20


def check_discovery(data: bytes) -> None:
    for camera in parse_answer(data, "10.0.0.1"):
        assert camera.services
        assert all("\x1b" not in text for text in (camera.name, camera.hardware, camera.endpoint))


def check_http(data: bytes) -> None:
    async def read() -> None:
        reader = asyncio.StreamReader(limit=MAX_HEAD_BYTES)
        reader.feed_data(data)
        reader.feed_eof()
        async with asyncio.timeout(1):
            answer = await _read_answer(reader)
        assert len(answer.body) <= MAX_BODY_BYTES

    with suppress(SourceError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        LOOP.run_until_complete(read())


def check_url(data: bytes) -> None:
    """No part of a password is ever shown, whatever it is made of."""
    secret = "CANARY" + data.decode("utf-8", "replace") + "CANARY"
    shown = redact_url(f"rtsp://me:{secret}@10.0.0.1:554/cam?token=CANARY")
    assert "CANARY" not in shown, shown
    parse_url(data.decode("utf-8", "replace"))


def _receiver_seeds(codec: str) -> tuple[bytes, ...]:
    seeds = []
    for knobs in ({}, {"aggregate": True}, {"marker": "never"}, {"marker": "nal"}, {"paci": codec == "h265"}):
        sender = Sender(mtu=60, sequence=65_000, **knobs)  # type: ignore[arg-type]
        units = [MAKERS[codec](i, key=i == 0, sizes=(90, 20)) for i in range(2)]
        seeds.append(described([packet for unit in units for packet in sender.send(unit)]))
    return tuple(seeds)


def _receiver(codec: str) -> Target:
    kinds = {
        "h264": b"\x18\x1c\x7c\x67\x68\x65\x41\x06\x09",
        "h265": b"\x60\x62\x64\x40\x42\x44\x26\x02\x46",
        "vp8": b"\x10\x90",
    }
    return Target(
        f"rtp-{codec}",
        lambda data: check_receiver(codec, data),
        _receiver_seeds(codec),
        tuple(STEP.pack(1, 0, 0x81, 4) + bytes((kind, 1, 0x80, 0x88)) for kind in kinds[codec]),
        ("rtp/assembler.py", "rtp/depacketize.py", f"rtp/{codec}.py", "rtp/reorder.py", "rtp/receiver.py"),
    )


_REPORT = ReceptionReport(1, 2, 3, 4, 5, 6, 7)
_RTP = Sender().packet(b"\x41\x88payload", 3600, marker=True).to_bytes()
TARGETS = (
    Target(
        "rtp",
        check_rtp,
        (_RTP, b"\xbf" + _RTP[1:] + bytes(80) + b"\x04"),
        (b"\x90", b"\xa0", b"\xbe\xde\0\1"),
        ("rtp/packet.py",),
    ),
    Target(
        "rtcp",
        check_rtcp,
        (
            SenderReport(1, 2, 3, 4, 5).to_bytes() + SourceDescription(1, b"name").to_bytes(),
            ReceiverReport(1, (_REPORT, _REPORT)).to_bytes() + Goodbye((1, 2)).to_bytes(),
        ),
        (b"\x81\xc8\0\6", b"\x82\xc9\0\x0d", b"\x81\xcb\0\1"),
        ("rtp/rtcp.py",),
    ),
    *map(_receiver, sorted(MAKERS)),
    Target(
        "rtsp",
        check_rtsp,
        (
            b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 3\r\n\r\nabc" + format_frame(0, _RTP),
            b"GET_PARAMETER rtsp://x RTSP/1.0\r\nCSeq: 2\r\n\r\n"
            + random.Random(1).randbytes(90)
            + format_frame(1, _RTP),
        ),
        (
            b"RTSP/1.0 200 OK\r\n\r\n",
            b"\r\n\r\n",
            b"$\0\0\x0c",
            b"$\1\xff\xff",
            b"Content-Length: 70000\r\n",
            b"RTSP/1.",
        ),
        ("sources/rtsp_messages.py",),
    ),
    Target("sdp", check_sdp, (RTSP_SDP.encode(),), SDP_WORDS, ("sources/rtsp_sdp.py",)),
    Target(
        "challenge",
        check_challenge,
        (
            b'Digest realm="cam", nonce="1f", qop="auth,auth-int", algorithm=SHA-256, opaque="x"',
            b'Basic realm="cam", Digest realm="a \\" b", nonce=""\nDigest nonce=1, algorithm=MD5-sess',
        ),
        (b"Digest ", b"Basic ", b', qop="auth"', b"algorithm=md5-sess", b'"', b"\\"),
        ("sources/rtsp_auth.py",),
    ),
    Target(
        "offer",
        check_offer,
        (OFFER.encode(), b"a=ice-ufrag:abcd\r\na=candidate:1 1 udp 1 10.0.0.1 5000 typ host\r\n"),
        SDP_WORDS,
        ("webrtc/sdp.py",),
    ),
    Target(
        "discovery",
        check_discovery,
        (ANSWER.format(question="1", id=1).encode(),),
        (
            b"<a:ProbeMatch>",
            b"</a:ProbeMatch>",
            b"<XAddrs>http://x</XAddrs>",
            b"&#27;",
            b"%1b",
            b"<Address>1<",
        ),
        ("sources/discovery.py",),
    ),
    Target(
        "http",
        check_http,
        (
            b"HTTP/1.1 201 Created\r\nLocation: /s/1\r\nContent-Length: 2\r\n\r\nv=",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        ),
        (b"HTTP/1.1 204 No\r\n\r\n", b"ffffffff\r\n", b"\r\n", b"Content-Length: 99999999\r\n"),
        ("webrtc/http_client.py",),
    ),
    Target(
        "url",
        check_url,
        (b"secret", b"p@ss:w/rd?#[1]%40"),
        (b"@", b":", b"/", b"?", b"#", b"[::1]", b"%2F", b"//", b"@10.0.0.1/", b"token=", b"&"),
        ("sources/urls.py",),
    ),
)
