"""Connections of the HTTP server: nobody may keep them all, or one for ever without asking anything."""

from __future__ import annotations

import asyncio
from collections import Counter

from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 256
MAX_PER_ADDRESS = 64  # a proxy is one address; so is a stranger
HEAD_SECONDS = 10.0


def bounded_protocol(
    *, head_seconds: float = HEAD_SECONDS, max_per_address: int = MAX_PER_ADDRESS
) -> type[H11Protocol]:
    """Makes the protocol class of one server.

    Args:
        head_seconds: Longest wait for a whole request, headers and body, from the first byte or the connection on.
        max_per_address: Connections of one address; more are closed at once.
    """
    open_now: Counter[str] = Counter()

    class Bounded(H11Protocol):
        _address = ""
        _patience: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._address = self.client[0] if self.client else ""
            open_now[self._address] += 1
            if open_now[self._address] > max_per_address:
                transport.abort()
                return
            self._wait()

        def connection_lost(self, exc: Exception | None) -> None:
            open_now[self._address] -= 1
            if not open_now[self._address]:
                del open_now[self._address]
            self._stop_waiting()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self._patience is None:
                self._wait()
            super().data_received(data)
            if self._asked:
                self._stop_waiting()

        @property
        def _asked(self) -> bool:
            """Whether the last request came whole."""
            return self.cycle is not None and not self.cycle.more_body and not self.conn.trailing_data[0]

        def _wait(self) -> None:
            self._patience = self.loop.call_later(head_seconds, self._give_up)

        def _stop_waiting(self) -> None:
            if self._patience is not None:
                self._patience.cancel()
                self._patience = None

        def _give_up(self) -> None:
            self._patience = None
            self.transport.abort()

    return Bounded
