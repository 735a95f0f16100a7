"""Discovery against a camera made of a socket, and against everything that may answer instead."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovstream.errors import SourceError
from ovstream.sources.discovery import FoundCamera, discover, parse_answer
from tests.cli.programs import ovstream

ANSWER = """<?xml version="1.0" encoding="UTF-8"?>
<SOAP-ENV:Envelope xmlns:SOAP-ENV="http://www.w3.org/2003/05/soap-envelope"
 xmlns:wsa="http://schemas.xmlsoap.org/ws/2004/08/addressing"
 xmlns:wsdd="http://schemas.xmlsoap.org/ws/2005/04/discovery">
<SOAP-ENV:Header><wsa:RelatesTo>{question}</wsa:RelatesTo></SOAP-ENV:Header>
<SOAP-ENV:Body><wsdd:ProbeMatches><wsdd:ProbeMatch>
<wsa:EndpointReference><wsa:Address>urn:uuid:{id}</wsa:Address></wsa:EndpointReference>
<wsdd:Types>dn:NetworkVideoTransmitter tds:Device</wsdd:Types>
<wsdd:Scopes> onvif://www.onvif.org/type/video_encoder onvif://www.onvif.org/name/Front%20door
 onvif://www.onvif.org/hardware/DS-2CD2042 onvif://www.onvif.org/location/country/germany</wsdd:Scopes>
<wsdd:XAddrs>http://192.168.1.20/onvif/device_service?a=1&amp;b=2 https://192.168.1.20/onvif</wsdd:XAddrs>
<wsdd:MetadataVersion>1</wsdd:MetadataVersion>
</wsdd:ProbeMatch></wsdd:ProbeMatches></SOAP-ENV:Body></SOAP-ENV:Envelope>"""
CAMERA = FoundCamera(
    address="127.0.0.1",
    name="Front door",
    hardware="DS-2CD2042",
    location="country/germany",
    services=("http://192.168.1.20/onvif/device_service?a=1&b=2", "https://192.168.1.20/onvif"),
    endpoint="urn:uuid:1",
)


class Responder(asyncio.DatagramProtocol):
    """Answers questions; `answers` makes datagrams of a question's identity."""

    def __init__(self, answers: Callable[[str], list[bytes]]) -> None:
        self.answers = answers
        self.questions: list[str] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.questions.append(data.decode())
        identity = re.search(r"MessageID>([^<]+)<", data.decode())
        assert identity is not None
        for answer in self.answers(identity[1]):
            self.transport.sendto(answer, addr)


@asynccontextmanager
async def network(answers: Callable[[str], list[bytes]]) -> AsyncIterator[tuple[Responder, tuple[str, int]]]:
    transport, responder = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Responder(answers), local_addr=("127.0.0.1", 0)
    )
    try:
        yield responder, transport.get_extra_info("sockname")
    finally:
        transport.close()


def answer(question: str, identity: int = 1) -> bytes:
    return ANSWER.format(question=question, id=identity).encode()


async def test_a_camera_answers() -> None:
    async with network(lambda question: [answer(question)]) as (responder, group):
        found = await discover(seconds=0.6, interface="127.0.0.1", group=group)
    assert found == [CAMERA]
    assert len(responder.questions) == 2
    assert "NetworkVideoTransmitter" in responder.questions[0]
    assert responder.questions[0] == responder.questions[1]


async def test_many_cameras_answer_more_than_once_and_some_nonsense() -> None:
    def answers(question: str) -> list[bytes]:
        good = [answer(question, number % 5) for number in range(15)]
        return [
            b"",
            b"\xff" * 500,
            b"<ProbeMatch>",
            *good,
            b"<a:ProbeMatch><XAddrs>file:///x</XAddrs></a:ProbeMatch>",
        ]

    async with network(answers) as (_, group):
        found = await discover(seconds=0.4, interface="127.0.0.1", group=group)
    assert {camera.endpoint for camera in found} == {f"urn:uuid:{number}" for number in range(5)}
    assert len(found) == 5


async def test_nobody_answers_in_time() -> None:
    async with network(lambda _question: []) as (_, group):
        started = time.monotonic()
        assert await discover(seconds=0.3, interface="127.0.0.1", group=group) == []
    assert 0.25 < time.monotonic() - started < 5


async def test_a_foreign_address_cannot_ask() -> None:
    with pytest.raises(SourceError, match=r"203\.0\.113\.9"):
        await discover(seconds=0.2, interface="203.0.113.9")


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_datagram_is_read(data: bytes) -> None:
    assert parse_answer(data, "10.0.0.1") == []


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_damaged_answers_do_no_harm(data: st.DataObject) -> None:
    whole = bytearray(answer("x"))
    for _ in range(data.draw(st.integers(1, 20))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    for camera in parse_answer(bytes(whole), "10.0.0.1"):
        assert all(
            "\n" not in text and "\x1b" not in text
            for text in (camera.name, camera.endpoint, *camera.services)
        )


@pytest.mark.parametrize("address", ["http://[::1", "http://10.0.0.1:99999/", "http://cam:abc/", "http:///x"])
def test_services_whose_address_is_none_are_left_out(address: str) -> None:
    text = answer("x").decode()
    services = text.partition("XAddrs>")[2].partition("</")[0]
    assert parse_answer(text.replace(services, address).encode(), "10.0.0.1") == []
    (camera,) = parse_answer(text.replace(services, f"{address} http://10.0.0.1/").encode(), "10.0.0.1")
    assert camera.services == ("http://10.0.0.1/",)


def test_the_command_says_when_nobody_answers() -> None:
    assert "No camera answered" in ovstream("discover", "--seconds", "0.3", "--interface", "127.0.0.1")
    assert ovstream("discover", "--seconds", "0.3", "--interface", "127.0.0.1", "--json").strip() == "[]"
