"""RTSP on the wire (RFC 2326): bytes in, messages and interleaved packets out. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 128 * 1024
# After damage this many bytes may pass before something that can be read must come: a keyframe and a half.
MAX_GARBAGE_BYTES = 1024 * 1024
FRAME_HEADER_BYTES = 4
SMALLEST_PACKET_BYTES = 8  # an empty RTCP receiver report

_REQUEST_LINE = re.compile(rb"[A-Z_]{3,16} ")
_METHOD = re.compile(rb"[A-Z_]{1,16}")
_RESPONSE_LINE = b"RTSP/1."
_LENGTH = re.compile(r"[0-9]{1,9}")
_STATUS = re.compile(r"RTSP/1\.\d +(\d{3}) ?(.*)")


class RtspSyntaxError(ValueError):
    """The peer does not speak RTSP."""


class Headers:
    """Header fields; names compare without case.

    Args:
        lines: "Name: value" each.
    """

    def __init__(self, lines: list[str]) -> None:
        self._fields: list[tuple[str, str]] = []
        for line in lines:
            name, _, value = line.partition(":")
            self._fields.append((name.strip().lower(), value.strip()))

    def get(self, name: str, default: str = "") -> str:
        """The first field of this name."""
        return next(iter(self.all(name)), default)

    def all(self, name: str) -> list[str]:
        """Every field of this name."""
        return [value for own, value in self._fields if own == name.lower()]


@dataclass(frozen=True, slots=True)
class Response:
    """What the server answers."""

    status: int
    reason: str
    headers: Headers = field(repr=False)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Request:
    """What the server asks: rare, but an answer is due."""

    method: str
    headers: Headers = field(repr=False)


class Frame(NamedTuple):
    """One interleaved packet (RFC 2326 10.12)."""

    channel: int
    data: bytes


Message = Response | Request | Frame


@cache
def _way_back(channels: frozenset[int]) -> re.Pattern[bytes]:
    """Where messages may go on after garbage: an answer, or what `_plausible` takes for a packet."""
    ours = b"".join(b"\\x%02x" % channel for channel in sorted(channels)) or b"\\x00"
    size = rb"(?:[^\x00].|\x00[\x%02x-\xff])" % SMALLEST_PACKET_BYTES
    return re.compile(rb"\$[" + ours + rb"]" + size + rb"[\x80-\xbf]|RTSP/1\.", re.DOTALL)


def _begun(data: bytes) -> int:
    """How many bytes at the end may be the beginning of an answer, or of a packet."""
    answer = next((size for size in range(6, 0, -1) if data.endswith(_RESPONSE_LINE[:size])), 0)
    packet = data.find(b"$", max(len(data) - FRAME_HEADER_BYTES, 0))
    return max(answer, len(data) - packet if packet >= 0 else 0)


def format_request(method: str, uri: str, headers: Mapping[str, str]) -> bytes:
    """A request without body.

    Raises:
        ValueError: A line break in `uri` or `headers` would smuggle in another header.
    """
    lines = [f"{method} {uri} RTSP/1.0", *(f"{name}: {value}" for name, value in headers.items())]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("line break in an RTSP header")
    return "\r\n".join([*lines, "", ""]).encode()


def format_response(status: str, sequence: str) -> bytes:
    """The answer to a request of the server; `sequence` is its CSeq."""
    return f"RTSP/1.0 {status}\r\nCSeq: {sequence}\r\n\r\n".encode()


def format_frame(channel: int, data: bytes) -> bytes:
    """An interleaved packet on the wire."""
    return b"$" + bytes((channel,)) + len(data).to_bytes(2, "big") + data


class RtspParser:
    """Cuts a byte stream into messages, wherever it is split.

    Bytes that are neither are skipped up to the next message or plausible packet; they are counted.

    Attributes:
        channels: Those with RTP or RTCP; others are not trusted to find the way back after garbage.
        garbage_bytes: Skipped so far.
    """

    def __init__(self) -> None:
        self.channels: frozenset[int] = frozenset()
        self.garbage_bytes = 0
        self._rest = b""
        self._lost = False
        self._garbage_run = 0

    def feed(self, data: bytes) -> Iterator[Message]:
        """Takes bytes as they arrive; yields what they complete.

        Raises:
            RtspSyntaxError: A message is too long, or too much garbage came.
        """
        data, position = self._rest + data if self._rest else data, 0
        while position < len(data):
            message, end = self._next(data, position)
            if end == position:  # incomplete
                break
            position = end
            if message is not None:
                yield message
        self._rest = data[position:]

    def _next(self, data: bytes, at: int) -> tuple[Message | None, int]:
        """The message at `at` and where it ends; `at` itself when its end is not there yet."""
        first = data[at]
        if first == 0x24 and (likely := not self._lost or self._plausible(data, at)) is not False:
            return (None, at) if likely is None else self._frame(data, at)
        if first in b"\r\n" and not self._lost:
            return None, at + 1
        head = data[at : at + 20]
        if head.startswith(_RESPONSE_LINE) or (_REQUEST_LINE.match(head) and not self._lost):
            return self._text(data, at)
        if len(head) < 20 and (
            _RESPONSE_LINE.startswith(head[: len(_RESPONSE_LINE)]) or _METHOD.fullmatch(head)
        ):
            return None, at
        return None, self._skip(data, at)

    def _frame(self, data: bytes, at: int) -> tuple[Message | None, int]:
        start = at + FRAME_HEADER_BYTES
        if len(data) < start:
            return None, at
        end = start + int.from_bytes(data[at + 2 : start], "big")
        if len(data) < end:
            return None, at
        self._lost, self._garbage_run = False, 0
        return Frame(data[at + 1], data[start:end]), end

    def _plausible(self, data: bytes, at: int) -> bool | None:
        """Whether an RTP or RTCP packet seems to stand here; None when too few bytes are there."""
        if len(data) < at + FRAME_HEADER_BYTES + 1:
            return None
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        return data[at + 1] in self.channels and size >= SMALLEST_PACKET_BYTES and data[at + 4] >> 6 == 2

    def _skip(self, data: bytes, at: int) -> int:
        self._lost = True
        found = _way_back(self.channels).search(data, at + 1)
        end = found.start() if found else max(len(data) - _begun(data), at + 1)
        self.garbage_bytes += end - at
        self._garbage_run += end - at
        if not self.channels or self._garbage_run > MAX_GARBAGE_BYTES:
            raise RtspSyntaxError("bytes that are no RTSP")
        return end

    def _text(self, data: bytes, at: int) -> tuple[Message | None, int]:
        end = data.find(b"\r\n\r\n", at, at + MAX_HEAD_BYTES)
        if end < 0:
            if len(data) - at < MAX_HEAD_BYTES:
                return None, at
            if self.channels:  # while a stream plays, garbage may look like a head
                return None, self._skip(data, at)
            raise RtspSyntaxError("message head is too long")
        first, *lines = data[at:end].decode("utf-8", "replace").split("\r\n")
        headers = Headers(lines)
        length = headers.get("Content-Length", "0")
        if not _LENGTH.fullmatch(length) or int(length) > MAX_BODY_BYTES:
            raise RtspSyntaxError("wrong Content-Length")
        start, end = end + 4, end + 4 + int(length)
        if len(data) < end:
            return None, at
        self._lost, self._garbage_run = False, 0
        if status := _STATUS.match(first):
            return Response(int(status[1]), status[2], headers, data[start:end]), end
        return Request(first.partition(" ")[0], headers), end
