"""Writes the example into docs/wire-format.md: `python -m tests.wire.document`."""

from __future__ import annotations

import json
from pathlib import Path

import msgpack

from ovstream.wire import (
    Heartbeat,
    Reply,
    Request,
    Status,
    encode,
    encode_heartbeat,
    encode_reply,
    encode_request,
    encode_status,
)
from tests.wire.samples import example

DOCUMENT = Path(__file__).parents[2] / "docs" / "wire-format.md"
START, END = "<!-- example: start -->", "<!-- example: end -->"


def hex_dump(data: bytes) -> str:
    """Sixteen bytes a line: offset, hexadecimal, ASCII."""
    lines = []
    for offset in range(0, len(data), 16):
        part = data[offset : offset + 16]
        letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"{offset:04x}  {part.hex(' '):47}  {letters}")
    return "\n".join(lines)


def render() -> str:
    """The example as Markdown."""
    messages = {
        "An embedding": encode(example(), first_seq=0, previous_seq=73),
        "A heartbeat": encode_heartbeat(Heartbeat("door", 2, 0, 75, 1_790_000_000_100_000_000)),
        "A request": encode_request(Request("get", 7, "door", "e", 70, 73)),
        "A reply without messages": encode_reply(Reply("get", 7, "door", "e", 73, 74)),
        "The end": encode_status(Status("door", 2, 0, 75, 1_790_000_000_100_000_000, "ended")),
    }
    names = ("topic", "header", "vector", "changed patches")
    alone = ("A request", "A reply without messages")  # one frame, without a topic
    parts = []
    for title, frames in messages.items():
        parts.append(f"### {title}")
        for name, frame in zip(names if title not in alone else names[1:], frames, strict=False):
            parts.append(f"Frame `{name}`, {len(frame)} bytes:\n\n```\n{hex_dump(frame)}\n```")
        parts.append(
            f"Its header as JSON:\n\n```json\n{json.dumps(msgpack.unpackb(frames[0 if title in alone else 1]))}\n```"
        )
    return "\n\n".join(parts)


def documented() -> str:
    """The example as it stands in the document."""
    return DOCUMENT.read_text().partition(START)[2].partition(END)[0].strip()


def main() -> None:
    """Replaces the example in the document."""
    before, _, rest = DOCUMENT.read_text().partition(START)
    DOCUMENT.write_text(f"{before}{START}\n{render()}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
