"""Finds cameras in the local network: WS-Discovery, as every ONVIF camera answers it (ONVIF Core 7)."""

from __future__ import annotations

import asyncio
import re
import socket
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from html import unescape
from urllib.parse import unquote, urlsplit

from ovstream.errors import SourceError

GROUP = ("239.255.255.250", 3702)  # WS-Discovery 1.1, 2.4
MAX_CAMERAS = 1024
REPEAT_SECONDS = 0.3  # datagrams get lost: the question goes out again, once
TTL = 4

_QUESTION = """<?xml version="1.0" encoding="UTF-8"?>
<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope"
 xmlns:w="http://schemas.xmlsoap.org/ws/2004/08/addressing"
 xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery"
 xmlns:dn="http://www.onvif.org/ver10/network/wsdl">
<e:Header><w:MessageID>urn:uuid:{id}</w:MessageID>
<w:To>urn:schemas-xmlsoap-org:ws:2005:04:discovery</w:To>
<w:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</w:Action></e:Header>
<e:Body><d:Probe><d:Types>dn:NetworkVideoTransmitter</d:Types></d:Probe></e:Body>
</e:Envelope>"""
# Each matches once from where it begins, so that a hostile answer costs no more than an honest one.
_MATCH = re.compile(r"<(?:[\w.-]{1,64}:)?ProbeMatch[\s>]")
_MATCH_END = re.compile(r"</(?:[\w.-]{1,64}:)?ProbeMatch>")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\u00a0-\uffff]")


@dataclass(frozen=True, slots=True)
class FoundCamera:
    """A camera that answered. What it says is not checked: anybody in the network can answer.

    Attributes:
        address: IP address that the answer came from.
        name: As the camera calls itself; may be empty.
        hardware: Its model; may be empty.
        location: Where it hangs, if somebody wrote that into it.
        services: URLs of its ONVIF service.
        endpoint: Its identity, the same for all its addresses.
    """

    address: str
    name: str
    hardware: str
    location: str
    services: tuple[str, ...]
    endpoint: str


async def discover(
    *, seconds: float = 3.0, interface: str = "0.0.0.0", group: tuple[str, int] = GROUP
) -> list[FoundCamera]:
    """Asks the network for ONVIF cameras and collects answers.

    Args:
        seconds: How long to wait for answers.
        interface: Our address in the network to ask; any: the system chooses.
        group: Where the question goes.

    Returns:
        Cameras in the order of their addresses.

    Raises:
        SourceError: The question cannot be sent.
    """
    answers = _Answers()
    try:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: answers, sock=_socket(interface)
        )
    except OSError as error:
        failure = SourceError(f"cannot look for cameras from {interface}: {error.strerror or error}")
    else:
        try:
            question = _QUESTION.format(id=uuid.uuid4()).encode()
            for pause in (min(REPEAT_SECONDS, seconds / 2), max(seconds - REPEAT_SECONDS, seconds / 2)):
                transport.sendto(question, group)
                await asyncio.sleep(pause)
            if answers.failure is not None and not answers.found:
                raise SourceError(f"cannot look for cameras from {interface}: {answers.failure.strerror}")
            return sorted(answers.found.values(), key=lambda camera: _sort_key(camera.address))
        finally:
            transport.close()
    raise failure


def parse_answer(data: bytes, address: str) -> list[FoundCamera]:
    """Reads the matches of one datagram; what is no answer gives none."""
    text = data.decode("utf-8", "replace")
    whole = (end.string[: end.start()] for part in _MATCH.split(text)[1:] if (end := _MATCH_END.search(part)))
    return [camera for match in whole if (camera := _camera(match, address)) is not None]


class _Answers(asyncio.DatagramProtocol):
    """Collects cameras by identity."""

    def __init__(self) -> None:
        self.found: dict[str, FoundCamera] = {}
        self.failure: OSError | None = None

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        for camera in parse_answer(data, addr[0]):
            if len(self.found) < MAX_CAMERAS:
                self.found.setdefault(camera.endpoint, camera)

    def error_received(self, exc: Exception) -> None:
        if isinstance(exc, OSError):
            self.failure = exc


def _camera(match: str, address: str) -> FoundCamera | None:
    services = tuple(url for url in _element(match, "XAddrs").split() if _is_service(url))
    endpoint = _element(match, "Address")
    if not services or not endpoint:
        return None
    scopes = _element(match, "Scopes").split()
    return FoundCamera(
        address=address,
        name=_scope(scopes, "name"),
        hardware=_scope(scopes, "hardware"),
        location=_scope(scopes, "location"),
        services=services,
        endpoint=endpoint,
    )


def _is_service(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets or a port that make no sense
        return False


def _element(xml: str, name: str) -> str:
    """Text of the first element of this name, whatever its prefix; empty without one."""
    found = re.search(rf"<(?:[\w.-]{{1,64}}:)?{name}\b[^<>]*>([^<]*)<", xml)
    return _UNPRINTABLE.sub(" ", unescape(found[1])).strip() if found else ""


def _scope(scopes: Iterable[str], kind: str) -> str:
    """ONVIF Core 7.3.2.2: onvif://www.onvif.org/<kind>/<value>, percent-encoded."""
    prefix = f"onvif://www.onvif.org/{kind}/"
    values = (scope[len(prefix) :] for scope in scopes if scope.lower().startswith(prefix))
    return _UNPRINTABLE.sub("?", ", ".join(unquote(value) for value in values))


def _sort_key(address: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else 0 for part in address.split("."))


def _socket(interface: str) -> socket.socket:
    asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        asking.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, TTL)
        if interface != "0.0.0.0":
            asking.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(interface))
        asking.setblocking(False)
        asking.bind((interface, 0))
    except BaseException:
        asking.close()
        raise
    return asking
