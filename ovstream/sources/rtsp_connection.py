"""One TCP or TLS connection to an RTSP server: requests, answers, interleaved packets."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import re
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ovstream.errors import (
    SourceError,
    SourceNotFound,
    SourceProtocolError,
    SourceRefused,
    SourceTimeout,
    SourceTlsError,
)
from ovstream.sources.rtsp_messages import (
    Frame,
    Message,
    Request,
    Response,
    RtspParser,
    RtspSyntaxError,
    format_frame,
    format_request,
    format_response,
)
from ovstream.sources.rtsp_tls import check_fingerprint

USER_AGENT = "ovstream"
ANSWERED_METHODS = frozenset({"OPTIONS", "GET_PARAMETER", "SET_PARAMETER", "ANNOUNCE"})
CLOSE_PATIENCE_SECONDS = 0.2
MAX_UNSENT_BYTES = 256 * 1024  # reports and answers are small: a server that reads none of them asks too much
_HAPPY_EYEBALLS_SECONDS = 0.25  # RFC 8305 5
_UNREACHABLE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EADDRNOTAVAIL})

OnFrame = Callable[[int, bytes], None]


class Address(NamedTuple):
    """Where to connect.

    Attributes:
        host: Name or address.
        port: TCP port.
        tls: None for plain TCP.
        fingerprint: Of the server's certificate; None to let `tls` decide.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None
    fingerprint: str | None


def happy_eyeballs_seconds(host: str) -> float | None:
    """The head start of a host's first address over its next one; None where there is one address only.

    asyncio's race may lose its socket to the garbage collector when it is cancelled in the moment it is won, so none is
    held without need.
    """
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return _HAPPY_EYEBALLS_SECONDS
    return None


class RtspConnection(asyncio.Protocol):
    """Sends requests one at a time and hands out interleaved packets as they arrive.

    Args:
        name: Of the source, for errors.
        on_frame: Takes channel and bytes of every interleaved packet; what it raises ends the connection.

    Attributes:
        closed: Gets the reason when the connection ends.
    """

    def __init__(self, name: str, on_frame: OnFrame) -> None:
        self.closed: asyncio.Future[SourceError] = asyncio.get_running_loop().create_future()
        self.parser = RtspParser()
        self._name = name
        self._on_frame = on_frame
        self._answer: asyncio.Future[Response] | None = None
        self._sequence = 0
        self._transport: asyncio.Transport | None = None
        self._gone = asyncio.Event()

    @classmethod
    async def open(cls, address: Address, *, name: str, on_frame: OnFrame) -> RtspConnection:
        """Connects.

        Raises:
            SourceError: It did not work; the kind says why.
        """
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(
                lambda: cls(name, on_frame),
                address.host,
                address.port,
                ssl=address.tls,
                happy_eyeballs_delay=happy_eyeballs_seconds(address.host),
            )
        except (OSError, UnicodeError) as error:
            failure = connection_error(error, name)
        else:
            if address.tls is not None and address.fingerprint is not None:
                connection._check(address.fingerprint)
            return connection
        raise failure

    @property
    def local_host(self) -> str:
        """Our address as the server sees it."""
        assert self._transport is not None
        return str(self._transport.get_extra_info("sockname")[0])

    @property
    def peer_host(self) -> str:
        """The server's address."""
        assert self._transport is not None
        return str(self._transport.get_extra_info("peername")[0])

    async def request(self, method: str, uri: str, headers: Mapping[str, str]) -> Response:
        """Sends a request and waits for its answer.

        Raises:
            SourceError: The connection ended before.
        """
        self.post(method, uri, headers)
        self._answer = asyncio.get_running_loop().create_future()
        waited: set[asyncio.Future[Any]] = {self._answer, self.closed}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if not self._answer.done():
            raise self.closed.result()
        return self._answer.result()

    def post(self, method: str, uri: str, headers: Mapping[str, str]) -> None:
        """Sends a request whose answer nobody waits for."""
        self._sequence += 1
        sequence = {"CSeq": str(self._sequence), "User-Agent": USER_AGENT}
        try:
            data = format_request(method, uri, sequence | dict(headers))
        except ValueError:
            self.fail(SourceProtocolError(f"{self._name} gives a session or an address with a line break"))
        else:
            self.send(data)

    def send(self, data: bytes) -> None:
        """Writes if the connection is still there."""
        if self._transport is None or self._transport.is_closing():
            return
        if self._transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self.fail(SourceProtocolError(f"{self._name} does not read what it asks for"))
            return
        self._transport.write(data)

    def send_frame(self, channel: int, data: bytes) -> None:
        """Writes an interleaved packet."""
        self.send(format_frame(channel, data))

    def fail(self, reason: SourceError) -> None:
        """Ends the connection; the first reason counts."""
        if not self.closed.done():
            self.closed.set_result(reason)

    async def aclose(self) -> None:
        """Closes the socket, waiting only a moment for what is still to be sent."""
        self.fail(SourceError(f"{self._name} is closed"))
        assert self._transport is not None
        self._transport.close()
        try:
            async with asyncio.timeout(CLOSE_PATIENCE_SECONDS):
                await self._gone.wait()
        except TimeoutError:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        try:
            for message in self.parser.feed(data):
                if self.closed.done():
                    return
                self._take(message)
        except RtspSyntaxError as error:
            self.fail(SourceProtocolError(f"{self._name} does not speak RTSP: {error}"))
        except SourceError as error:
            self.fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        reason = f" ({type(exc).__name__})" if exc else ""
        self.fail(SourceError(f"{self._name} closed the connection{reason}"))
        self._gone.set()

    def _take(self, message: Message) -> None:
        if isinstance(message, Frame):
            self._on_frame(message.channel, message.data)
        elif isinstance(message, Request):
            self._answer_request(message)
        elif self._is_due(message) and self._answer is not None:
            self._answer.set_result(message)

    def _is_due(self, response: Response) -> bool:
        """Whether somebody waits for this: requests go out one at a time, so a missing CSeq does no harm."""
        if self._answer is None or self._answer.done() or response.status < 200:
            return False
        return response.headers.get("CSeq", str(self._sequence)) == str(self._sequence)

    def _answer_request(self, request: Request) -> None:
        known = request.method in ANSWERED_METHODS
        status = "200 OK" if known else "501 Not Implemented"
        self.send(format_response(status, request.headers.get("CSeq", "0")))
        if request.method in ("REDIRECT", "TEARDOWN"):
            self.fail(SourceError(f"{self._name} asks to connect again"))

    def _check(self, fingerprint: str) -> None:
        assert self._transport is not None
        certificate = self._transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        try:
            check_fingerprint(certificate, fingerprint, name=self._name)
        except SourceTlsError:
            self._transport.abort()
            raise


def connection_error(error: OSError | UnicodeError, name: str) -> SourceError:
    """The error of ours that says why a connection could not be made."""
    if isinstance(error, UnicodeError):
        return SourceNotFound(f"{name}: this is no host name")
    reason = error.strerror or type(error).__name__
    if isinstance(error, socket.gaierror):
        return SourceNotFound(f"{name}: the host name is unknown")
    if isinstance(error, TimeoutError):
        return SourceTimeout(f"{name} does not answer in time")
    if isinstance(error, ssl.SSLCertVerificationError):
        return SourceTlsError(f"{name}: the certificate is not trusted: {error.verify_message}")
    if isinstance(error, ssl.SSLError):
        return SourceTlsError(f"{name}: no TLS connection ({error.reason})")
    # A host with several addresses gives one error that has the others in its text only.
    numbers = {error.errno} if error.errno else {int(n) for n in re.findall(r"\[Errno (\d+)", str(error))}
    if errno.ECONNREFUSED in numbers:
        return SourceRefused(f"{name}: nothing listens at this address and port")
    if numbers & _UNREACHABLE:
        return SourceNotFound(f"{name} cannot be reached ({reason})")
    return SourceError(f"{name}: no connection ({reason})")
