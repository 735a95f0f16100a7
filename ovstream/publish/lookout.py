"""Notices connections that ZeroMQ has given up for good, and makes them anew.

A peer that vanishes is connected to again by libzmq itself. One that breaks the protocol, for example by a frame
above `MAXMSGSIZE`, is not: the socket stays deaf and says so nowhere but to its monitor.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import zmq
from zmq.utils.monitor import parse_monitor_message

_EVENTS = int(
    zmq.EVENT_DISCONNECTED | zmq.EVENT_CONNECTED | zmq.EVENT_CONNECT_DELAYED | zmq.EVENT_CONNECT_RETRIED
)
_FIRST_PAUSE_SECONDS = 0.25  # libzmq says within milliseconds that it tries again
_LONGEST_PAUSE_SECONDS = 8.0
_FORGIVEN_SECONDS = 60.0


class Lookout:
    """Watches the connections of one socket; to be made before it connects.

    Args:
        socket: That connects.
        endpoints: Where to.
    """

    def __init__(self, socket: zmq.Socket[bytes], endpoints: Sequence[str]) -> None:
        self._socket = socket
        self._endpoints = endpoints
        self._down: dict[str, float] = {}  # connections that ended, and when
        self._pauses: dict[str, tuple[float, float]] = {}  # the last pause, and when it was over
        address = f"inproc://ovstream-lookout-{id(self):x}"
        socket.monitor(address, _EVENTS)
        self._monitor = socket.context.socket(zmq.PAIR)
        self._monitor.rcvhwm = 0  # libzmq waits for room here with the thread that moves the messages
        self._monitor.connect(address)

    def mend(self, now_seconds: float) -> list[str]:
        """Connects again where libzmq does not; returns where.

        Args:
            now_seconds: Any clock that only goes forward.
        """
        self._listen(now_seconds)
        mended = [
            endpoint
            for endpoint, since in self._down.items()
            if now_seconds - since >= self._pause(endpoint, now_seconds)
        ]
        for endpoint in mended:
            self._pauses[endpoint] = self._pause(endpoint, now_seconds), now_seconds
            del self._down[endpoint]
            with contextlib.suppress(zmq.ZMQError):  # libzmq may have forgotten it altogether
                self._socket.disconnect(endpoint)
            self._socket.connect(endpoint)
        return mended

    def close(self) -> None:
        """Ends watching; to be called before the socket is closed."""
        self._socket.disable_monitor()
        self._monitor.close(linger=0)

    def _listen(self, now_seconds: float) -> None:
        while True:
            try:
                told = parse_monitor_message(self._monitor.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                return
            for endpoint in self._meant(told["endpoint"].decode(errors="replace")):
                if told["event"] == zmq.EVENT_DISCONNECTED:
                    self._down.setdefault(endpoint, now_seconds)
                else:
                    self._down.pop(endpoint, None)

    def _meant(self, told: str) -> Sequence[str]:
        """The endpoint as it was given; libzmq may name the address that a host name stands for."""
        return [told] if told in self._endpoints else self._endpoints

    def _pause(self, endpoint: str, now_seconds: float) -> float:
        last, when = self._pauses.get(endpoint, (0.0, 0.0))
        if not last or now_seconds - when > _FORGIVEN_SECONDS:
            return _FIRST_PAUSE_SECONDS
        return min(2 * last, _LONGEST_PAUSE_SECONDS)
