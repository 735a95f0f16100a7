"""An RTMP server that plays one FLV file to everybody, in the event loop of the test. Loopback only.

Adobe's RTMP 1.0: the simple handshake (5.2), chunks (5.3), and as many commands (7.2) as it takes to play.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

HANDSHAKE_BYTES = 1536
CHUNK_BYTES = 4096
SET_CHUNK_SIZE, VIDEO, DATA, COMMAND = 1, 9, 18, 20
HEADER_BYTES = (11, 7, 3, 0)  # by chunk type, 5.3.1.2


@asynccontextmanager
async def rtmp_server(flv: bytes) -> AsyncIterator[str]:
    """Yields the URL where the file is played, as fast as it is taken."""
    tags = list(flv_tags(flv))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await Session(reader, writer).run(tags)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"rtmp://127.0.0.1:{server.sockets[0].getsockname()[1]}/live/cam"


def flv_tags(flv: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Type, time in milliseconds and body of each tag."""
    at = 13
    while at + 11 <= len(flv):
        size = int.from_bytes(flv[at + 1 : at + 4], "big")
        time_ms = int.from_bytes(flv[at + 7 : at + 8] + flv[at + 4 : at + 7], "big")
        yield flv[at], time_ms, flv[at + 11 : at + 11 + size]
        at += 11 + size + 4


class Session:
    """One client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._chunk_bytes = 128
        self._open: dict[int, tuple[int, int, bytearray]] = {}  # by chunk stream: type, length, what has come

    async def run(self, tags: list[tuple[int, int, bytes]]) -> None:
        version_and_time = await self._reader.readexactly(1 + HANDSHAKE_BYTES)
        self._writer.write(b"\3" + bytes(HANDSHAKE_BYTES) + version_and_time[1:])
        await self._reader.readexactly(HANDSHAKE_BYTES)
        self._send(SET_CHUNK_SIZE, 0, CHUNK_BYTES.to_bytes(4, "big"))
        async for kind, body in self._messages():
            if kind == SET_CHUNK_SIZE:
                self._chunk_bytes = int.from_bytes(body, "big")
            elif kind == COMMAND and await self._answer(body, tags):
                return

    async def _answer(self, body: bytes, tags: list[tuple[int, int, bytes]]) -> bool:
        """Answers a command; returns whether everything was played."""
        size = int.from_bytes(body[1:3], "big")
        name, number = body[3 : 3 + size], body[3 + size : 12 + size]
        if name == b"play":
            self._send(COMMAND, 1, amf("onStatus") + number + b"\5" + amf({"code": "NetStream.Play.Start"}))
            for kind, time_ms, data in tags:
                self._send(kind, 1, data, time_ms)
                await self._writer.drain()
            return True
        result = {"code": "NetConnection.Connect.Success"} if name == b"connect" else 1.0
        self._send(COMMAND, 0, amf("_result") + number + b"\5" + amf(result))
        return False

    async def _messages(self) -> AsyncIterator[tuple[int, bytes]]:
        while True:
            first = (await self._reader.readexactly(1))[0]
            stream = first & 63
            header = await self._reader.readexactly(HEADER_BYTES[first >> 6])
            kind, length, data = self._open.get(stream, (0, 0, bytearray()))
            if len(header) >= 7:
                kind, length = header[6], int.from_bytes(header[3:6], "big")
            data += await self._reader.readexactly(min(length - len(data), self._chunk_bytes))
            self._open[stream] = kind, length, data
            if len(data) == length:
                self._open[stream] = kind, length, bytearray()
                yield kind, bytes(data)

    def _send(self, kind: int, stream: int, data: bytes, time_ms: int = 0) -> None:
        header = time_ms.to_bytes(3, "big") + len(data).to_bytes(3, "big") + bytes((kind,))
        size = 128 if kind == SET_CHUNK_SIZE else CHUNK_BYTES
        chunks = [data[at : at + size] for at in range(0, len(data), size)]
        self._writer.write(b"\3" + header + stream.to_bytes(4, "little") + b"\xc3".join(chunks))


def amf(value: str | float | dict[str, str]) -> bytes:
    """AMF 0: strings, numbers, and objects of strings."""
    if isinstance(value, str):
        return b"\2" + _short(value)
    if isinstance(value, dict):
        return b"\3" + b"".join(_short(name) + amf(text) for name, text in value.items()) + b"\0\0\x09"
    return b"\0" + struct.pack("!d", value)


def _short(text: str) -> bytes:
    return len(text).to_bytes(2, "big") + text.encode()
