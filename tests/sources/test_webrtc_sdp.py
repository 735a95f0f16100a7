"""Offers: which media is taken, what aiortc gets to see, and what hostile ones do."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovstream.rtp import RtpPacket
from ovstream.sources.webrtc.sdp import (
    BadDescription,
    Description,
    Fragment,
    Offer,
    UnacceptableMedia,
    clean_answer,
    usable_candidates,
)
from ovstream.sources.webrtc.transport import Transport

HOST = "candidate:1 1 udp 2130706431 192.0.2.7 50000 typ host"
MDNS = "candidate:2 1 udp 2130706431 0f9c7a3e.local 50001 typ host"
TCP = "candidate:3 1 tcp 1518280447 192.0.2.7 9 typ host tcptype active"
VIDEO = [
    "m=video 9 UDP/TLS/RTP/SAVPF 96 97",
    "c=IN IP4 0.0.0.0",
    "a=mid:1",
    "a=sendonly",
    "a=rtcp-mux",
    "a=rtpmap:96 H264/90000",
    "a=fmtp:96 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=64001f",
    "a=rtcp-fb:96 nack",
    "a=rtcp-fb:96 nack pli",
    "a=rtpmap:97 rtx/90000",
    "a=fmtp:97 apt=96",
    "a=rid:hi send",
    "a=simulcast:send hi",
]
AUDIO = ["m=audio 9 UDP/TLS/RTP/SAVPF 111", "a=mid:0", "a=sendonly", "a=rtpmap:111 opus/48000/2"]
DATA = ["m=application 9 UDP/DTLS/SCTP webrtc-datachannel", "a=mid:2", "a=sctp-port:5000"]
SESSION = [
    "v=0",
    "o=- 1 2 IN IP4 127.0.0.1",
    "s=-",
    "t=0 0",
    "a=group:BUNDLE 0 1 2",
    "a=ice-ufrag:abcd",
    "a=ice-pwd:0123456789abcdef01234567",
    "a=fingerprint:sha-256 " + ":".join(["AB"] * 32),
    "a=setup:actpass",
]


def text(*sections: list[str]) -> str:
    return "\r\n".join([line for section in sections for line in section] + [""])


def test_the_first_video_is_taken_and_the_rest_refused_in_place() -> None:
    audio = [*AUDIO, f"a={HOST}", f"a={MDNS}", f"a={TCP}"]
    offer = Offer.parse(text(SESSION, audio, VIDEO, DATA))
    reduced = Description.parse(offer.reduced())
    (section,) = reduced.media
    assert section.kind == "video"
    assert section.all("candidate") == [HOST.removeprefix("candidate:")]
    assert section.first("ice-ufrag") == "abcd"
    assert section.first("fingerprint")
    assert not section.all("rid") + section.all("simulcast")
    assert "a=group:BUNDLE 1" in reduced.session
    answer = Description.parse(offer.answer(text(SESSION[:4], ["a=group:BUNDLE 1"], VIDEO)))
    assert [(one.kind, one.port, one.first("mid")) for one in answer.media] == [
        ("audio", "0", "0"),
        ("video", "9", "1"),
        ("application", "0", "2"),
    ]
    assert "a=group:BUNDLE 1" in answer.session
    assert "profile-level-id=640034" in answer.text()


def test_a_video_that_the_bundle_hides_is_taken() -> None:
    hidden = ["m=video 0 UDP/TLS/RTP/SAVPF 96 97", "a=bundle-only", *VIDEO[1:]]
    offer = Offer.parse(text(SESSION, AUDIO, hidden))
    assert Description.parse(offer.reduced()).media[0].port == "9"


@pytest.mark.parametrize(
    "section",
    [
        ["m=video 0 UDP/TLS/RTP/SAVPF 96", *VIDEO[1:]],
        [line.replace("sendonly", "recvonly") for line in VIDEO],
        [line.replace("sendonly", "inactive") for line in VIDEO],
        AUDIO,
    ],
    ids=["refused", "recvonly", "inactive", "audio"],
)
def test_an_offer_must_send_video(section: list[str]) -> None:
    with pytest.raises(UnacceptableMedia):
        Offer.parse(text(SESSION, section))


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "v=0",
        "hello",
        text(SESSION, ["m=video"]),
        text(SESSION, ["no line"], VIDEO),
        text(SESSION, *[VIDEO] * 17),
        *(text([line for line in SESSION if name not in line], VIDEO) for name in ("ufrag", "pwd", "finger")),
    ],
    ids=range(9),
)
def test_broken_offers(broken: str) -> None:
    with pytest.raises(BadDescription):
        Offer.parse(broken)


@given(st.lists(st.text(max_size=60), max_size=8))
def test_hostile_text_raises_nothing_else(lines: list[str]) -> None:
    for candidate in ("\r\n".join(lines), text(SESSION, VIDEO, [line.replace("\n", "") for line in lines])):
        for parse in (Offer.parse, Fragment.parse, clean_answer):
            try:
                parse(candidate)  # type: ignore[operator]
            except (BadDescription, UnacceptableMedia):
                continue


class Nobody:
    def on_packet(self, packet: RtpPacket, codec: str) -> None: ...

    def on_control(self, data: bytes) -> None: ...

    def on_state(self, state: str) -> None: ...


async def test_mutated_offers_end_in_an_answer_or_a_refusal() -> None:
    dice = random.Random(5)
    whole = text(SESSION, VIDEO, [f"a={HOST}"])
    outcomes = set()
    for _ in range(40):
        mutated = list(whole)
        for _ in range(dice.randrange(1, 4)):
            at = dice.randrange(len(mutated))
            mutated[at : at + dice.randrange(1, 9)] = dice.choice(
                ["", "0", "-1", ":", " ", "\r\n", "a=", "999999"]
            )
        transport = Transport(Nobody())
        try:
            async with asyncio.timeout(60):
                await transport.answer(Offer.parse("".join(mutated)))
            outcomes.add("answer")
        except (BadDescription, UnacceptableMedia):
            outcomes.add("refusal")
        finally:
            await transport.aclose()
    assert outcomes == {"answer", "refusal"}


def test_candidates_are_addresses_over_udp() -> None:
    bad = [
        "1 1 udp 1 host.example 9 typ host",
        "1 1 udp 1 192.0.2.1 0 typ host",
        "1 1 udp 1 192.0.2.1 70000 typ host",
        "1 1 udp 1 224.0.0.1 9 typ host",
        "1 1 udp 1 0.0.0.0 9 typ host",
        "1 2 udp 1 192.0.2.1 9 typ host",
        "1 1 udp 1 192.0.2.1",
        "1 1 udp x 192.0.2.1 9 typ host",
        "1 1 udp 1 192.0.2.1 9 typ nonsense",
        TCP.removeprefix("candidate:"),
    ]
    good = [f"1 1 UDP 1 192.0.2.1 {port} typ host" for port in range(1, 60)]
    assert usable_candidates(bad + good + good) == good[:20]
    assert usable_candidates(["1 1 udp 1 2001:db8::1 9 typ srflx raddr ::1 rport x"]) == [
        "1 1 udp 1 2001:db8::1 9 typ srflx"
    ]


def test_a_fragment_tells_candidates_and_their_end() -> None:
    body = text(
        ["a=ice-ufrag:abcd", "m=video 9 X 0", "a=mid:0", f"a={HOST}", f"a={MDNS}", "a=end-of-candidates"]
    )
    fragment = Fragment.parse(body)
    assert fragment == Fragment("abcd", (HOST.removeprefix("candidate:"),), True)


def test_an_answer_is_cleaned_of_names() -> None:
    cleaned = clean_answer(text(SESSION, VIDEO, [f"a={HOST}", f"a={MDNS}"]))
    assert "local" not in cleaned
    assert HOST in cleaned
    with pytest.raises(UnacceptableMedia):
        clean_answer(text(SESSION, ["m=video 0 X 96"]))
