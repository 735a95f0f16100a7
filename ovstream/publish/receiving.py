"""The sockets of a subscription: SUB for what is sent, a DEALER per publisher for what was missed; never waiting."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import cast

import zmq
from zmq.backend import Socket as Bare

from ovstream.errors import ConfigError
from ovstream.publish.keys import SubscriberKeys
from ovstream.publish.lookout import Lookout
from ovstream.publish.terminating import terminate
from ovstream.wire import Request, encode_request
from ovstream.wire.limits import MAX_PAYLOAD_BYTES

# As numbers: the members of the enumerations cost several times what a call costs.
_NOBLOCK, _EVENTS, _POLLIN = int(zmq.NOBLOCK), int(zmq.EVENTS), int(zmq.POLLIN)
_SOCKET_BUFFER_BYTES = 256 << 10  # kernel buffers hold old messages: keep them small
_HIGH_WATER_MARK = 1000
_REQUESTS_WAITING = 16
_RECONNECT_MS = 100
_RECONNECT_MAX_MS = 2_000
_PING_MS = 5_000
_PING_TIMEOUT_MS = 15_000
_BYE_MS = 50


class ReceivingSockets:
    """Connects to publishers, which need not be there yet, and gives what has arrived.

    Args:
        endpoints: ZeroMQ endpoints.
        replays: Endpoints to ask, one per publisher; empty: nobody is asked.
        prefixes: Topic prefixes, in the order in which publishers shall learn of them.
        keys: To encrypt with; None: in the clear.
        context: Of the caller, or None for an own one.

    Raises:
        ConfigError: ZeroMQ cannot connect to such an endpoint.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        replays: Sequence[str],
        prefixes: Sequence[str],
        *,
        keys: SubscriberKeys | None,
        context: zmq.Context[zmq.Socket[bytes]] | None,
    ) -> None:
        self._own_context = context is None
        self._context = zmq.Context() if context is None else context
        self._keys = keys
        self._asking: list[zmq.Socket[bytes]] = []
        self._lookouts: list[Lookout] = []
        self._listening = self._context.socket(zmq.SUB)
        try:
            self._configure(self._listening, endpoints)
            for prefix in prefixes:
                self._listening.setsockopt_string(zmq.SUBSCRIBE, prefix)
            self._connect(self._listening, endpoints)
            for endpoint in replays:
                socket = self._context.socket(zmq.DEALER)
                self._asking.append(socket)
                self._configure(socket, [endpoint])
                socket.sndhwm = _REQUESTS_WAITING
                self._connect(socket, [endpoint])
        except zmq.ZMQError as error:
            self.close()
            raise ConfigError(f"cannot connect to {', '.join(endpoints)}: {error}") from None
        sockets = (self._listening, *self._asking)
        self.descriptors = [cast(int, socket.getsockopt(zmq.FD)) for socket in sockets]
        self._poller = zmq.Poller()
        for socket in sockets:
            self._poller.register(socket, zmq.POLLIN)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._listening.closed

    @property
    def publishers(self) -> int:
        """How many can be asked."""
        return len(self._asking)

    def receive(self, most: int) -> list[list[bytes]]:
        """Takes what has arrived, at most so many messages.

        Descriptors signal only what arrives after this and `answer` have returned less than they might.
        """
        return _receive(self._listening, most)

    def answer(self, publisher: int) -> list[list[bytes]]:
        """Takes the next answer of a publisher, if there is one."""
        return _receive(self._asking[publisher], 1)

    def ask(self, request: Request) -> None:
        """Asks all publishers; one that is not there will never know."""
        for socket in self._asking:
            _send(socket, encode_request(request))

    def wait(self, seconds: float) -> None:
        """Waits until something arrives."""
        self._poller.poll(round(seconds * 1000))

    def mend(self, now_seconds: float) -> list[str]:
        """Connects again where ZeroMQ gave up, since a peer broke its protocol; returns where."""
        return [endpoint for lookout in self._lookouts for endpoint in lookout.mend(now_seconds)]

    def close(self) -> None:
        """Says goodbye and closes the sockets and, if it is an own one, the context."""
        for lookout in self._lookouts:
            lookout.close()
        self._lookouts = []
        for socket in self._asking:
            if not socket.closed:
                _send(socket, encode_request(Request("bye")))
                socket.close(linger=_BYE_MS)
        self._listening.close(linger=0)
        if self._own_context:
            terminate(self._context)

    def _connect(self, socket: zmq.Socket[bytes], endpoints: Sequence[str]) -> None:
        self._lookouts.append(Lookout(socket, endpoints))
        for endpoint in endpoints:
            socket.connect(endpoint)

    def _configure(self, socket: zmq.Socket[bytes], endpoints: Sequence[str]) -> None:
        options = {
            zmq.RCVHWM: _HIGH_WATER_MARK,
            zmq.RCVBUF: _SOCKET_BUFFER_BYTES,
            zmq.MAXMSGSIZE: MAX_PAYLOAD_BYTES,
            zmq.RECONNECT_IVL: _RECONNECT_MS,
            zmq.RECONNECT_IVL_MAX: _RECONNECT_MAX_MS,
            zmq.HEARTBEAT_IVL: _PING_MS,
            zmq.HEARTBEAT_TIMEOUT: _PING_TIMEOUT_MS,
            zmq.IPV6: int(any("[" in endpoint for endpoint in endpoints)),
            zmq.LINGER: 0,
        }
        for option, value in options.items():
            socket.setsockopt(option, value)
        if socket.type == zmq.DEALER:
            socket.setsockopt(zmq.IMMEDIATE, 1)  # a request that waits for a publisher is asked again anyhow
        if self._keys is not None:
            socket.curve_serverkey = self._keys.server.encode()
            socket.curve_publickey = self._keys.public.encode()
            socket.curve_secretkey = self._keys.secret.encode()


def _receive(socket: zmq.Socket[bytes], most: int) -> list[list[bytes]]:
    """Looks before the first message and after it, since most often there is none or one, and `Again` is dear."""
    messages: list[list[bytes]] = []
    receive = cast(Callable[[], zmq.Frame], functools.partial(Bare.recv, socket, _NOBLOCK, False))
    try:
        while len(messages) < most and (len(messages) > 1 or cast(int, socket.get(_EVENTS)) & _POLLIN):
            frame = receive()
            frames = [frame.bytes]
            while frame.more:
                frame = receive()
                frames.append(frame.bytes)
            messages.append(frames)
    except zmq.Again:
        pass
    return messages


def _send(socket: zmq.Socket[bytes], frames: list[bytes]) -> None:
    try:
        socket.send_multipart(frames, flags=zmq.NOBLOCK)
    except zmq.Again:
        return
