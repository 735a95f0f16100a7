"""Asking for what was missed: requests over DEALER, replies over ROUTER.

```
request  [msgpack map]
reply    [msgpack map] [frames of a message] ... one message after the other, each of "fs" frames
```
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ovstream.errors import WireError
from ovstream.wire import limits
from ovstream.wire.fields import WIRE_MAJOR, Fields, pack

Channel = Literal["e", "s"]
RequestKind = Literal["list", "get", "find", "bye"]
ReplyKind = Literal["list", "get", "find"]


@dataclass(frozen=True, slots=True)
class Request:
    """What a subscriber wants to know.

    Attributes:
        kind: "list": a heartbeat of every stream. "get": messages by number. "find": a number by time. "bye":
            nothing more.
        tag: Comes back in the reply.
        stream_id: Of "get" and "find".
        channel: "e" embeddings, "s" status messages.
        first: "get": lowest number.
        last: "get": highest number.
        time_ns: "find": wall clock (UTC, Unix).
    """

    kind: RequestKind
    tag: int = 0
    stream_id: str = ""
    channel: Channel = "e"
    first: int = 0
    last: int = 0
    time_ns: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """What a publisher answers.

    Attributes:
        kind: As asked.
        tag: As asked.
        stream_id: As asked; "": the publisher does not know such a stream.
        channel: As asked.
        last: "get": every number from the first asked for up to this one is either among the messages or can no
            longer be had. Less than the first: nothing was sent yet.
        oldest: "get": the lowest number that is still kept; None: none is.
        found: "find": the first number sent at or after the time; None: none was.
        messages: Frames of each message.
    """

    kind: ReplyKind
    tag: int
    stream_id: str = ""
    channel: Channel = "e"
    last: int = -1
    oldest: int | None = None
    found: int | None = None
    messages: Sequence[Sequence[bytes]] = ()


def encode_request(request: Request) -> list[bytes]:
    """Turns a request into its frame."""
    fields: dict[str, Any] = {"v": WIRE_MAJOR, "k": request.kind, "r": request.tag}
    if request.kind in ("get", "find"):
        fields |= {"id": request.stream_id, "ch": request.channel}
    if request.kind == "get":
        fields |= {"lo": request.first, "hi": request.last}
    if request.kind == "find":
        fields |= {"t": request.time_ns}
    return [pack(fields)]


def parse_request(frames: Sequence[bytes]) -> Request:
    """Turns frames into a request.

    Raises:
        WireError: They are no request of this wire version.
    """
    if len(frames) != 1:
        raise WireError(f"a request of {len(frames)} frames")
    fields = Fields.unpack(frames[0])
    kind: RequestKind = fields.choice("k", RequestKind)
    tag = fields.integer("r")
    if kind in ("list", "bye"):
        return Request(kind, tag)
    channel: Channel = fields.choice("ch", Channel)
    if kind == "find":
        return Request(kind, tag, fields.stream_id(), channel, time_ns=fields.integer("t"))
    first = fields.integer("lo")
    return Request(kind, tag, fields.stream_id(), channel, first, fields.integer("hi", low=first))


def encode_reply(reply: Reply) -> list[bytes]:
    """Turns a reply into frames."""
    count = len(reply.messages[0]) if reply.messages else 0
    fields = {
        "v": WIRE_MAJOR,
        "k": reply.kind,
        "r": reply.tag,
        "id": reply.stream_id or None,
        "ch": reply.channel,
        "hi": None if reply.last < 0 else reply.last,
        "ok": reply.oldest,
        "q": reply.found,
        "fs": count,
    }
    frames = [pack(fields)]
    for message in reply.messages:
        frames += message
    return frames


def parse_reply(frames: Sequence[bytes]) -> Reply:
    """Turns frames into a reply; the messages in it are still to be parsed.

    Raises:
        WireError: They are no reply of this wire version.
    """
    if not 1 <= len(frames) <= limits.MAX_REPLY_FRAMES:
        raise WireError(f"a reply of {len(frames)} frames")
    fields = Fields.unpack(frames[0])
    size = fields.integer("fs", high=limits.MAX_FRAMES)
    rest = frames[1:]
    if (len(rest) % size if size else len(rest)) != 0:
        raise WireError("a reply whose messages are cut")
    last = fields.optional_integer("hi")
    return Reply(
        kind=fields.choice("k", ReplyKind),
        tag=fields.integer("r"),
        stream_id="" if fields.values.get("id") is None else fields.stream_id(),
        channel=fields.choice("ch", Channel),
        last=-1 if last is None else last,
        oldest=fields.optional_integer("ok"),
        found=fields.optional_integer("q"),
        messages=[rest[at : at + size] for at in range(0, len(rest), size)] if size else (),
    )
