"""Tells systemd how the service is (sd_notify(3)): one datagram to the socket it names."""

from __future__ import annotations

import contextlib
import os
import socket


class Notifier:
    """Sends states to the service manager; does nothing where there is none.

    Args:
        address: Of the socket, as in NOTIFY_SOCKET; a leading @ means an abstract one.
    """

    def __init__(self, address: str | None = None) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET") if address is None else address

    def send(self, **states: str | int) -> None:
        """Sends, for example, `READY=1` and `STATUS=...`; never raises."""
        if not self._address:
            return
        text = "\n".join(f"{name}={value}" for name, value in states.items())
        path = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(text.encode(), path)


def watchdog_seconds() -> float | None:
    """How often the service manager wants a sign of life; None: not at all."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 2e6 if microseconds.isdigit() and int(microseconds) else None
