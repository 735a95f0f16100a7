"""The sockets that a publisher binds: their options, their neighbouring places, and sends that never wait."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import zmq
from zmq.backend import Socket as Bare

from ovstream.errors import ConfigError
from ovstream.publish.binding import is_ipv6, refuse_taken, replay_address, split_endpoint
from ovstream.publish.guard import Guard

# Kernel buffers hide old messages from the high-water mark: 256 KiB are some 300 messages of 768 bytes.
_SOCKET_BUFFER_BYTES = 256 << 10
_PING_MS = 5_000  # ZMTP ping: drops subscribers that vanished without a word
_PING_TIMEOUT_MS = 15_000
_BACKLOG = 128
_HANDSHAKE_MS = (
    5_000  # libzmq keeps a refused connection until then; only afterwards does its owner try again
)
_LAST = int(zmq.NOBLOCK)  # as numbers: adding members of the enumeration costs more than sending
_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)
_PORT_TRIES = 50


def configure(socket: zmq.Socket[bytes], *, high_water_mark: int, guard: Guard | None) -> None:
    """Sets what all bound sockets of a publisher have in common; to be called before they are bound."""
    options = {
        zmq.SNDHWM: high_water_mark,
        zmq.SNDBUF: _SOCKET_BUFFER_BYTES,
        zmq.HEARTBEAT_IVL: _PING_MS,
        zmq.HEARTBEAT_TIMEOUT: _PING_TIMEOUT_MS,
        zmq.BACKLOG: _BACKLOG,
        zmq.HANDSHAKE_IVL: _HANDSHAKE_MS,
        zmq.MAXMSGSIZE: 4096,  # subscribers send nothing but short subscriptions
    }
    for option, value in options.items():
        socket.setsockopt(option, value)
    if guard is not None:
        guard.apply(socket)


def bind(socket: zmq.Socket[bytes], address: str, *, private: bool) -> str:
    """Binds a socket and says where.

    Args:
        socket: Configured.
        address: Checked; see `binding`.
        private: On `ipc://`, only this user may connect: the socket gets mode 0600, and a folder made for it 0700.

    Raises:
        zmq.ZMQError: It cannot be bound.
        ConfigError: Another process listens at that path: libzmq would take it away without a word.
    """
    socket.setsockopt(zmq.IPV6, is_ipv6(address))
    refuse_taken(address)
    transport, path, _ = split_endpoint(address)
    with _for_this_user(path) if private and transport == "ipc" else contextlib.nullcontext():
        socket.bind(address)
    return socket.getsockopt_string(zmq.LAST_ENDPOINT)


class SendingSocket:
    """A PUB socket, bound.

    Args:
        socket: Configured; not closed here.
        private: See `bind`.

    Attributes:
        endpoint: Where it is bound, with the port that the system chose.
        refused: Messages that the socket did not take.
    """

    def __init__(self, socket: zmq.Socket[bytes], *, private: bool) -> None:
        self.endpoint = ""
        self.refused = 0
        self._socket = socket
        self._private = private
        self._send = functools.partial(Bare.send, socket)  # without a layer that looks for strings

    def bind_beside(self, address: str, *, other: str | None, bind_other: Callable[[str], None]) -> None:
        """Binds, and has the replay socket bound, by default at the neighbouring port.

        Args:
            address: Checked; see `binding`.
            other: Of the replay socket; None: the neighbour.
            bind_other: Binds it.

        Raises:
            ConfigError: One of them cannot be bound.
        """
        chosen = address.endswith((":*", ":0"))
        try:
            for left in reversed(range(_PORT_TRIES if chosen else 1)):
                self.endpoint = bind(self._socket, address, private=self._private)
                try:
                    bind_other(other or replay_address(self.endpoint))
                    return
                except (zmq.ZMQError, ConfigError) as error:
                    if not left:
                        raise ConfigError(
                            f"cannot bind {other or replay_address(self.endpoint)}, where subscribers ask for "
                            f"what they missed: {error}; publish.replay_endpoint may name another place"
                        ) from None
                    self._socket.unbind(self.endpoint)
        except zmq.ZMQError as error:
            raise ConfigError(f"cannot bind {address}: {error}") from None

    def send(self, frames: Sequence[bytes | memoryview]) -> bool:
        """Hands a message to the socket; PUB drops for slow subscribers and never blocks."""
        send = self._send
        try:
            for frame in frames[:-1]:
                send(frame, _MORE)
            send(frames[-1], _LAST)
        except zmq.Again:
            self.refused += 1
            return False
        return True

    def cut_connections(self) -> bool:
        """Makes everybody connect again: who lost the permission cannot, the others ask for what they missed.

        Returns:
            False: the port is not free yet; to be tried again.
        """
        with contextlib.suppress(zmq.ZMQError):
            self._socket.unbind(self.endpoint)
        try:
            bind(self._socket, self.endpoint, private=self._private)
        except (zmq.ZMQError, ConfigError):
            return False
        return True


@contextlib.contextmanager
def _for_this_user(path: str) -> Iterator[None]:
    """While a socket file is made, others get no right to it."""
    with contextlib.suppress(OSError):  # binding says what is wrong
        Path(path).parent.mkdir(mode=0o700, exist_ok=True)
    before = os.umask(0o177)
    try:
        yield
    finally:
        os.umask(before)
