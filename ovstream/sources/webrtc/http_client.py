"""A few HTTP requests (RFC 9112), each on a connection of its own: all that WHEP needs."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from ovstream.errors import SourceError, SourceProtocolError
from ovstream.sources.rtsp_connection import USER_AGENT, Address, connection_error, happy_eyeballs_seconds
from ovstream.sources.rtsp_messages import MAX_BODY_BYTES, MAX_HEAD_BYTES, Headers
from ovstream.sources.rtsp_tls import check_fingerprint

_STATUS = re.compile(r"HTTP/1\.[01] (\d{3})(?: |$)")
_BODYLESS = frozenset({204, 304})


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What a server answers."""

    status: int
    headers: Headers = field(repr=False)
    body: bytes = field(default=b"", repr=False)


async def http_request(
    method: str,
    address: Address,
    target: str,
    *,
    headers: Mapping[str, str],
    body: bytes = b"",
    name: str,
) -> HttpAnswer:
    """Sends one request and reads its answer.

    Args:
        method: "POST" or "DELETE".
        address: Of the server.
        target: Path and query.
        headers: Beside Host, User-Agent, Connection and Content-Length.
        body: To send.
        name: Of the source, for errors.

    Raises:
        SourceError: No connection, or no HTTP.
    """
    shown = f"[{address.host}]" if ":" in address.host else address.host
    fields = {
        "Host": f"{shown}:{address.port}",
        "User-Agent": USER_AGENT,
        "Connection": "close",
        "Content-Length": str(len(body)),
        **headers,
    }
    lines = [f"{method} {target} HTTP/1.1", *(f"{key}: {value}" for key, value in fields.items())]
    if any("\r" in line or "\n" in line for line in lines) or " " in target:
        raise SourceProtocolError(
            f"{name}: the address or a credential has characters that HTTP cannot carry"
        )
    reader, writer = await _connect(address, name)
    try:
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await writer.drain()
        return await _read_answer(reader)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
        failure: SourceError = SourceProtocolError(f"{name} does not answer as an HTTP server does")
    except OSError as error:
        failure = connection_error(error, name)
    finally:
        writer.close()
        with suppress(OSError, ssl.SSLError):
            await writer.wait_closed()
    raise failure


async def _connect(address: Address, name: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        reader, writer = await asyncio.open_connection(
            address.host,
            address.port,
            ssl=address.tls,
            limit=MAX_HEAD_BYTES,
            happy_eyeballs_delay=happy_eyeballs_seconds(address.host),
        )
    except (OSError, UnicodeError) as error:
        failure = connection_error(error, name)
    else:
        if address.fingerprint is not None and address.tls is not None:
            try:
                certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
                check_fingerprint(certificate, address.fingerprint, name=name)
            except SourceError:
                writer.transport.abort()
                raise
        return reader, writer
    raise failure


async def _read_answer(reader: asyncio.StreamReader) -> HttpAnswer:
    status = 100
    while status < 200:  # interim answers, RFC 9110 15.2
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("utf-8", "replace").split("\r\n")
        matched = _STATUS.match(first)
        if matched is None:
            raise ValueError("no status line")
        status, headers = int(matched[1]), Headers([line for line in lines if line])
    if status in _BODYLESS:
        return HttpAnswer(status, headers)
    if headers.get("Transfer-Encoding").lower() == "chunked":
        return HttpAnswer(status, headers, await _read_chunks(reader))
    length = headers.get("Content-Length")
    if length:
        return HttpAnswer(status, headers, await reader.readexactly(_bounded(length, 10)))
    return HttpAnswer(status, headers, await _read_to_end(reader))


async def _read_to_end(reader: asyncio.StreamReader) -> bytes:
    """The body of a server that does not say how long it is."""
    body = bytearray()
    while piece := await reader.read(MAX_BODY_BYTES):
        body += piece
        _bounded(str(len(body)), 10)
    return bytes(body)


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    """RFC 9112 7.1."""
    body = bytearray()
    while True:
        line = await reader.readuntil(b"\r\n")
        size = _bounded(line.partition(b";")[0].strip().decode("ascii"), 16)
        if size == 0:
            return bytes(body)
        body += (await reader.readexactly(size + 2))[:-2]
        _bounded(str(len(body)), 10)


def _bounded(text: str, base: int) -> int:
    if not re.fullmatch(r"[0-9A-Fa-f]{1,8}", text):
        raise ValueError("wrong length")
    size = int(text, base)
    if size > MAX_BODY_BYTES:
        raise ValueError("too long")
    return size
