"""Two UDP sockets for one RTP stream: packets on the even port, reports on the next one (RFC 3550 11)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial

from ovstream.errors import SourceError

RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024  # a keyframe of a 4K camera arrives in one burst
PORT_ATTEMPTS = 50

OnDatagram = Callable[[int, bytes], None]


class UdpPair:
    """Receives from one server only.

    Args:
        on_datagram: Takes 0 (RTP) or 1 (RTCP) and the bytes.

    Attributes:
        ports: Ours.
    """

    def __init__(self, on_datagram: OnDatagram) -> None:
        self.ports = (0, 0)
        self._on_datagram = on_datagram
        self._transports: list[asyncio.DatagramTransport] = []
        self._peer_host = ""
        self._senders: set[str] = set()
        self._peer_ports: tuple[int, int] | None = None

    @classmethod
    async def open(cls, local_host: str, *, peer_host: str, on_datagram: OnDatagram) -> UdpPair:
        """Binds two neighbouring ports.

        Raises:
            SourceError: None are free.
        """
        pair = cls(on_datagram)
        pair._peer_host = peer_host
        pair._senders = {peer_host.partition("%")[0]}
        loop = asyncio.get_running_loop()
        sockets = _bind(local_host)
        try:
            for index, bound in enumerate(sockets):
                transport, _ = await loop.create_datagram_endpoint(partial(_Port, pair, index), sock=bound)
                pair._transports.append(transport)
        except BaseException:
            pair.close()
            for bound in sockets[len(pair._transports) :]:
                bound.close()
            raise
        first, second = (t.get_extra_info("sockname")[1] for t in pair._transports)
        pair.ports = (first, second)
        return pair

    def connect(self, ports: tuple[int, int] | None, *, also_from: str | None) -> None:
        """Tells the server's ports, if it has any, and another address that it sends from."""
        self._peer_ports = ports
        if also_from:
            self._senders.add(also_from)

    def send(self, index: int, data: bytes) -> None:
        """Sends to the server's RTP (0) or RTCP (1) port."""
        if self._peer_ports is not None:
            self._transports[index].sendto(data, (self._peer_host, self._peer_ports[index]))

    def received(self, index: int, data: bytes, host: str) -> None:
        """Takes a datagram; those of strangers are passed over."""
        if host.partition("%")[0] in self._senders:
            self._on_datagram(index, data)

    def close(self) -> None:
        """Frees both ports."""
        for transport in self._transports:
            transport.abort()


class _Port(asyncio.DatagramProtocol):
    def __init__(self, pair: UdpPair, index: int) -> None:
        self._pair = pair
        self._index = index

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._pair.received(self._index, data, addr[0])


def _bind(host: str) -> tuple[socket.socket, socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for _ in range(PORT_ATTEMPTS):
        first, second = (socket.socket(family, socket.SOCK_DGRAM) for _ in range(2))
        try:
            first.bind((host, 0))
            port = first.getsockname()[1]
            if port % 2 == 0:
                second.bind((host, port + 1))
                for bound in (first, second):
                    bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
                    bound.setblocking(False)
                return first, second
        except OSError:
            pass
        first.close()
        second.close()
    raise SourceError("no two neighbouring UDP ports are free")
