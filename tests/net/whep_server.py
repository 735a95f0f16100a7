"""A WHEP server that serves access units to one viewer after the other, with the faults of real ones."""

from __future__ import annotations

import asyncio
import re
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

from ovstream.sources.webrtc.transport import close_peer
from tests.net.whip_publisher import Manners, Publisher
from tests.rtp.sender import SentUnit


@dataclass(slots=True)
class WhepServer:
    """`async with WhepServer(units) as server`: then it listens at `server.url`.

    Attributes:
        units: What it sends.
        statuses: Answers to the first POSTs, before it serves.
        authorization: Value that must be shown.
        redirect: First answers 307 to another path.
        chunked: Sends its answer in chunks.
        unsized: Sends it in two pieces without a length.
        location: Of its sessions.
        hostnames: Puts a candidate that is a name into its answer.
        refuse_video: Answers with port 0.
        units_per_viewer: Then it falls silent.
        raw: What it answers instead of HTTP.
        tls: Speaks it.
        requests: Method and path of each request.
        deleted: Sessions that viewers ended.
    """

    units: list[SentUnit]
    statuses: list[int] = field(default_factory=list)
    authorization: str | None = None
    redirect: bool = False
    chunked: bool = False
    unsized: bool = False
    location: str = "session/7"
    hostnames: bool = False
    refuse_video: bool = False
    units_per_viewer: int | None = None
    raw: bytes | None = None
    tls: ssl.SSLContext | None = None
    manners: Manners = field(default_factory=Manners)
    requests: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    deleted: int = 0
    port: int = 0
    _server: asyncio.Server | None = None
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _publishers: list[Publisher] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"whep+{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/cam/whep?x=1"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_error: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for publisher in self._publishers:  # a task that was cancelled before it began closes nothing
            await close_peer(publisher.connection)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.append(task)
        try:
            await self._exchange(reader, writer)
        finally:
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
            body = (await reader.readexactly(int(length[1]) if length else 0)).decode()
            shown = re.search(r"^authorization: (.*?)\r$", head, re.IGNORECASE | re.MULTILINE)
            self.shown.append(shown[1] if shown else "")
            method, target, _ = head.split(" ", 2)
            self.requests.append(f"{method} {target}")
            data = self.raw if self.raw is not None else await self._respond(method, target, body)
            for piece in (data[:-200], data[-200:]) if self.unsized else (data,):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.05 * self.unsized)
            writer.close()
            await writer.wait_closed()

    async def _respond(self, method: str, target: str, body: str) -> bytes:
        if self.authorization is not None and self.shown[-1] != self.authorization:
            return b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\nContent-Length: 0\r\n\r\n"
        if method == "DELETE":
            self.deleted += 1
            return b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        if self.statuses:
            return f"HTTP/1.1 {self.statuses.pop(0)} No\r\nContent-Length: 2\r\n\r\nno".encode()
        if self.redirect and "moved" not in target:
            return b"HTTP/1.1 307 Moved\r\nLocation: ../moved?y=2\r\nContent-Length: 0\r\n\r\n"
        answer = (await self._admit(body)).encode()
        head = "HTTP/1.1 201 Created\r\nContent-Type: application/sdp\r\n"
        head += f"Location: {self.location}\r\n"
        if self.unsized:
            return f"{head}\r\n".encode() + answer
        if self.chunked:
            parts = (answer[:100], answer[100:], b"")
            chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
            return f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunks
        return f"{head}Content-Length: {len(answer)}\r\n\r\n".encode() + answer

    async def _admit(self, offer: str) -> str:
        publisher = Publisher("", self.units, self.manners)
        await publisher.__aenter__()
        self._publishers.append(publisher)
        try:
            answer = await publisher.answer(offer)
        except BaseException:
            await publisher.connection.close()
            raise
        self._tasks.append(asyncio.create_task(self._play(publisher)))
        if self.hostnames:
            answer += "a=candidate:9 1 udp 1 secret-host.invalid 9 typ host\r\n"
        return re.sub(r"m=video \d+", "m=video 0", answer) if self.refuse_video else answer

    async def _play(self, publisher: Publisher) -> None:
        try:
            await publisher.connected()
            await publisher.play(self.units_per_viewer)
            await asyncio.sleep(3600)
        finally:
            await publisher.connection.close()
