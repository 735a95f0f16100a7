"""Messages between the service and one of its workers: in order, both ways, over a socket that nobody else has."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import msgpack

from ovstream.errors import ConfigError, FencedError, OvstreamError

_MOST_BYTES = 64 << 20  # that wait to be read: the other end has hung for minutes

Tell = Callable[[str, str, Any], None]
Answer = Callable[[str, str, Any], Awaitable[Any]]


class LinkClosed(OvstreamError):  # noqa: N818 - reads as what it is
    """The other end is gone."""


class Link(asyncio.Protocol):
    """One end.

    A message is [number, kind, stream, body], in msgpack. The number tells what it is: 0 a word that wants no answer,
    n > 0 a question, -n its answer, whose kind is the name of an error, or empty.

    Args:
        heard: Called with (kind, stream, body) for every word, in the order in which they were said.
        asked: Likewise for questions; gives the answer, or raises.

    Attributes:
        closed: Done when the other end is gone and everything it said was heard.
    """

    def __init__(self, heard: Tell, asked: Answer) -> None:
        self._heard = heard
        self._asked = asked
        self._transport: asyncio.Transport | None = None
        self._unpacker = msgpack.Unpacker(max_buffer_size=2 * _MOST_BYTES, strict_map_key=False)
        self._packer = msgpack.Packer(autoreset=True)
        self._questions: dict[int, asyncio.Future[Any]] = {}
        self._number = 0
        self._answering: set[asyncio.Task[None]] = set()  # the loop holds tasks weakly
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def tell(self, kind: str, stream_id: str = "", body: Any = None) -> None:
        """Says something; it is lost where the other end is gone."""
        self._send(0, kind, stream_id, body)

    async def ask(self, kind: str, stream_id: str = "", body: Any = None) -> Any:
        """Asks and waits for the answer.

        Raises:
            LinkClosed: The other end is gone.
            OvstreamError: What the other end raised.
        """
        if self.closed.done():
            raise LinkClosed("the worker is gone")
        self._number += 1
        number = self._number
        answer = self._questions[number] = asyncio.get_running_loop().create_future()
        self._send(number, kind, stream_id, body)
        try:
            return await answer
        finally:
            del self._questions[number]

    @property
    def full(self) -> bool:
        """Whether what was said waits to be read: not the time for what may be left out."""
        return self._transport is not None and self._transport.get_write_buffer_size() > _MOST_BYTES >> 6

    def close(self) -> None:
        """Hangs up."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._unpacker.feed(data)
        for number, kind, stream_id, body in self._unpacker:
            if number == 0:
                self._heard(kind, stream_id, body)
            elif number > 0:
                task = asyncio.ensure_future(self._serve(number, kind, stream_id, body))
                self._answering.add(task)
                task.add_done_callback(self._answering.discard)
            else:
                self._answered(-number, kind, stream_id, body)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        for waiting in self._questions.values():
            if not waiting.done():
                waiting.set_exception(LinkClosed("the worker is gone"))
        if not self.closed.done():
            self.closed.set_result(None)

    def _send(self, number: int, kind: str, stream_id: str, body: Any) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        transport.write(self._packer.pack((number, kind, stream_id, body)))
        if transport.get_write_buffer_size() > _MOST_BYTES:
            transport.abort()

    async def _serve(self, number: int, kind: str, stream_id: str, body: Any) -> None:
        try:
            answer, problem = await self._asked(kind, stream_id, body), ""
        except Exception as error:
            answer, problem = str(error), _name(error)
        self._send(-number, problem, stream_id, answer)

    def _answered(self, number: int, problem: str, stream_id: str, body: Any) -> None:
        waiting = self._questions.get(number)
        if waiting is None or waiting.done():
            return
        if not problem:
            waiting.set_result(body)
        elif problem == "fenced":
            waiting.set_exception(FencedError(stream_id))
        else:
            waiting.set_exception((ConfigError if problem == "config" else OvstreamError)(body))


def _name(error: Exception) -> str:
    """What the other end must tell apart."""
    if isinstance(error, FencedError):
        return "fenced"
    return "config" if isinstance(error, ConfigError) else "error"
