"""The SUB socket of a subscription: every limit set, never waiting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import zmq

from ovstream.errors import ConfigError
from ovstream.wire.limits import MAX_PAYLOAD_BYTES

_SOCKET_BUFFER_BYTES = 256 << 10  # kernel buffers hold old messages: keep them small
_HIGH_WATER_MARK = 1000
_RECONNECT_MS = 100
_RECONNECT_MAX_MS = 2_000
_PING_MS = 5_000
_PING_TIMEOUT_MS = 15_000


class ReceivingSocket:
    """Connects to publishers, which need not be there yet, and gives what has arrived.

    Args:
        endpoints: ZeroMQ endpoints.
        prefixes: Topic prefixes, in the order in which publishers shall learn of them.
        context: Of the caller, or None for an own one.

    Raises:
        ConfigError: ZeroMQ cannot connect to such an endpoint.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        prefixes: Sequence[str],
        *,
        context: zmq.Context[zmq.Socket[bytes]] | None,
    ) -> None:
        self._own_context = context is None
        self._context = zmq.Context() if context is None else context
        self._socket = self._context.socket(zmq.SUB)
        try:
            self._configure(endpoints, prefixes)
        except zmq.ZMQError as error:
            self.close()
            raise ConfigError(f"cannot connect to {', '.join(endpoints)}: {error}") from None
        self.descriptor = cast(int, self._socket.getsockopt(zmq.FD))

    def receive(self) -> list[bytes] | None:
        """Takes the next message, or None when there is none.

        `descriptor` signals only what arrives after this has returned None.
        """
        try:
            return self._socket.recv_multipart(flags=zmq.NOBLOCK)
        except zmq.Again:
            return None

    def close(self) -> None:
        """Closes the socket and, if it is an own one, the context."""
        self._socket.close(linger=0)
        if self._own_context:
            self._context.term()

    def _configure(self, endpoints: Sequence[str], prefixes: Sequence[str]) -> None:
        options = {
            zmq.RCVHWM: _HIGH_WATER_MARK,
            zmq.RCVBUF: _SOCKET_BUFFER_BYTES,
            zmq.MAXMSGSIZE: MAX_PAYLOAD_BYTES,
            zmq.RECONNECT_IVL: _RECONNECT_MS,
            zmq.RECONNECT_IVL_MAX: _RECONNECT_MAX_MS,
            zmq.HEARTBEAT_IVL: _PING_MS,
            zmq.HEARTBEAT_TIMEOUT: _PING_TIMEOUT_MS,
            zmq.IPV6: int(any("[" in endpoint for endpoint in endpoints)),
        }
        for option, value in options.items():
            self._socket.setsockopt(option, value)
        for prefix in prefixes:
            self._socket.setsockopt_string(zmq.SUBSCRIBE, prefix)
        for endpoint in endpoints:
            self._socket.connect(endpoint)
