"""An ONVIF camera made of a socket: SOAP over HTTP, with the digests of WS-Security, and a clock of its own."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

ENVELOPE = (
    '<?xml version="1.0" encoding="UTF-8"?><e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope" '
    'xmlns:tds="http://www.onvif.org/ver10/device/wsdl" xmlns:trt="http://www.onvif.org/ver10/media/wsdl" '
    'xmlns:tt="http://www.onvif.org/ver10/schema" xmlns:ter="http://www.onvif.org/ver10/error">'
    "<e:Body>{}</e:Body></e:Envelope>"
)
FAULT = (
    "<e:Fault><e:Code><e:Value>e:Sender</e:Value><e:Subcode><e:Value>ter:NotAuthorized</e:Value></e:Subcode></e:Code>"
    '<e:Reason><e:Text xml:lang="en">Sender not authorized</e:Text></e:Reason></e:Fault>'
)
PROFILE = (
    '<trt:Profiles token="{token}" fixed="true"><tt:Name>{name}</tt:Name>'
    '<tt:VideoEncoderConfiguration token="v{token}"><tt:Name>v</tt:Name><tt:UseCount>1</tt:UseCount>'
    "<tt:Encoding>{codec}</tt:Encoding>"
    "<tt:Resolution><tt:Width>{width}</tt:Width><tt:Height>{height}</tt:Height></tt:Resolution>"
    "<tt:Quality>5</tt:Quality><tt:RateControl><tt:FrameRateLimit>25</tt:FrameRateLimit>"
    "<tt:EncodingInterval>1</tt:EncodingInterval><tt:BitrateLimit>4096</tt:BitrateLimit></tt:RateControl>"
    "<tt:H264><tt:GovLength>50</tt:GovLength><tt:H264Profile>Main</tt:H264Profile></tt:H264>"
    "<tt:Multicast><tt:Address><tt:Type>IPv4</tt:Type><tt:IPv4Address>0.0.0.0</tt:IPv4Address></tt:Address>"
    "<tt:Port>0</tt:Port><tt:TTL>1</tt:TTL><tt:AutoStart>false</tt:AutoStart></tt:Multicast>"
    "<tt:SessionTimeout>PT60S</tt:SessionTimeout></tt:VideoEncoderConfiguration></trt:Profiles>"
)
CAPABILITIES = (
    "<tds:GetCapabilitiesResponse><tds:Capabilities><tt:Media><tt:XAddr>{}</tt:XAddr><tt:StreamingCapabilities/>"
    "</tt:Media></tds:Capabilities></tds:GetCapabilitiesResponse>"
)
CLOCK = (
    "<tds:GetSystemDateAndTimeResponse><tds:SystemDateAndTime><tt:DateTimeType>Manual</tt:DateTimeType>"
    "<tt:DaylightSavings>false</tt:DaylightSavings><tt:UTCDateTime><tt:Time><tt:Hour>{t.hour}</tt:Hour>"
    "<tt:Minute>{t.minute}</tt:Minute><tt:Second>{t.second}</tt:Second></tt:Time><tt:Date><tt:Year>{t.year}</tt:Year>"
    "<tt:Month>{t.month}</tt:Month><tt:Day>{t.day}</tt:Day></tt:Date></tt:UTCDateTime></tds:SystemDateAndTime>"
    "</tds:GetSystemDateAndTimeResponse>"
)
MEDIA_URI = (
    "<trt:GetStreamUriResponse><trt:MediaUri><tt:Uri>{}</tt:Uri><tt:InvalidAfterConnect>false</tt:InvalidAfterConnect>"
    "<tt:InvalidAfterReboot>false</tt:InvalidAfterReboot><tt:Timeout>PT0S</tt:Timeout></trt:MediaUri>"
    "</trt:GetStreamUriResponse>"
)
CLOCK_TOLERANCE = timedelta(seconds=30)


@dataclass(slots=True)
class OnvifCamera:
    """What it has, and what it was asked.

    Attributes:
        credentials: User and password; None lets everybody in.
        clock_offset: Of its clock from ours.
        media_address: Of its media service; empty for its own.
        path: Of its device service.
        asked: Requests in order, with their bodies.
    """

    credentials: tuple[str, str] | None = ("admin", "CANARY p&ss")
    clock_offset: timedelta = timedelta(0)
    media_address: str = ""
    path: str = "/onvif/device_service"
    port: int = 0
    asked: list[tuple[str, str]] = field(default_factory=list)

    @property
    def service(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"

    def names(self) -> list[str]:
        return [name for name, _ in self.asked]

    def answer(self, body: str) -> tuple[int, str]:
        found = re.search(r"<(?:[\w-]+:)?Body[^>]*>\s*<(?:[\w-]+:)?(\w+)", body)
        assert found is not None, body
        name = found[1]
        self.asked.append((name, body))
        if name == "GetSystemDateAndTime":
            return 200, CLOCK.format(t=datetime.now(UTC) + self.clock_offset)
        if not self.admits(body):
            return 400, FAULT
        if name == "GetCapabilities":
            return 200, CAPABILITIES.format(self.media_address or f"http://127.0.0.1:{self.port}/onvif/media")
        if name == "GetProfiles":
            main = PROFILE.format(
                token="1",
                name="main\x1b[31m".replace("\x1b", "&#x9b;"),
                codec="H264",
                width=2560,
                height=1440,
            )
            sub = PROFILE.format(token="2", name="sub", codec="H264", width=640, height=360)
            return 200, f"<trt:GetProfilesResponse>{main}{sub}</trt:GetProfilesResponse>"
        token = re.search(r"ProfileToken>([^<]*)<", body)
        assert name == "GetStreamUri", name
        assert token is not None
        return 200, MEDIA_URI.format(
            f"rtsp://admin:CANARY@127.0.0.1:554/stream{token[1]}?channel=1&amp;token=CANARY"
        )

    def admits(self, body: str) -> bool:
        """OASIS UsernameToken Profile 1.0: Base64(SHA-1(nonce + created + password)), made not long ago."""
        if self.credentials is None:
            return True
        given = {
            name: found[1] if (found := re.search(rf"<(?:[\w-]+:)?{name}(?: [^>]*)?>([^<]*)<", body)) else ""
            for name in ("Username", "Password", "Nonce", "Created")
        }
        user, password = self.credentials
        text = base64.b64decode(given["Nonce"]) + given["Created"].encode() + password.encode()
        digest = base64.b64encode(hashlib.sha1(text).digest()).decode()
        if (given["Username"], given["Password"]) != (user, digest):
            return False
        made = datetime.fromisoformat(given["Created"].replace("Z", "+00:00"))
        return abs(made - datetime.now(UTC) - self.clock_offset) < CLOCK_TOLERANCE


@asynccontextmanager
async def onvif_camera(camera: OnvifCamera) -> AsyncIterator[OnvifCamera]:
    """Serves until the block ends."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                size = re.search(r"content-length: *(\d+)", head, re.IGNORECASE)
                body = (await reader.readexactly(int(size[1]) if size else 0)).decode()
                status, content = camera.answer(body)
                data = ENVELOPE.format(content).encode()
                first = f"HTTP/1.1 {status} Whatever\r\nContent-Type: application/soap+xml; charset=utf-8\r\n"
                writer.write(f"{first}Content-Length: {len(data)}\r\n\r\n".encode() + data)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    camera.port = server.sockets[0].getsockname()[1]
    try:
        yield camera
    finally:
        server.close()
