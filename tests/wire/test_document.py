"""docs/wire-format.md says what the code does; a reader written from it alone understands a real message."""

from __future__ import annotations

import re
import struct
from typing import Any, get_args

import numpy as np

from ovstream.types import EventKind
from ovstream.wire import encode
from tests.wire.document import DOCUMENT, documented, render
from tests.wire.samples import example


def test_the_example_is_what_the_code_writes() -> None:
    assert documented() == render(), "run: python -m tests.wire.document"


def test_every_key_is_described() -> None:
    text = DOCUMENT.read_text().partition("## Example")[0]
    described = {
        key for line in re.findall(r"^\| (`.*?) \|", text, re.M) for key in re.findall(r"`(\w+)`", line)
    }
    header, _ = unpack(encode(example(), previous_seq=0, first_seq=0)[1], 0)
    assert described >= header.keys() | {
        "nq",
        "st",
        "d",
        "ok",
        "e0",
        "ne",
        "oe",
        "eq",
        "lo",
        "hi",
        "ch",
        "fs",
        "k",
        "r",
        "t",
    }
    for kind in get_args(EventKind):
        assert f"`{kind}`" in text


def test_a_reader_of_the_document_alone_understands_the_dump() -> None:
    frames = [
        bytes.fromhex("".join(re.findall(r"^[0-9a-f]{4}  (.{47})", block, re.M)))
        for block in re.findall(r"```\n(.*?)```", documented(), re.S)
    ]
    topic, packed, vector, mask = frames[:4]
    header, end = unpack(packed, 0)
    assert end == len(packed)
    assert topic.decode() == f"e/{header['id']}/"
    assert (header["v"], header["q"], header["pq"], header["pts"]) == (1, 74, 73, 2.96)
    assert header["dt"] == "<f2"
    assert list(struct.unpack(f"<{header['sh'][0]}e", vector)) == [0.5, -1, 0.25, 2]
    rows, cols = header["g"]
    marked = [i for i in range(rows * cols) if mask[i // 8] >> (i % 8) & 1]
    assert marked == np.flatnonzero(example().changed).tolist() == [1, 14]


def unpack(data: bytes, at: int) -> tuple[Any, int]:
    """The part of the msgpack specification that the wire uses, without a library."""
    kind = data[at]
    at += 1
    if kind <= 0x7F:
        return kind, at
    if kind in SCALARS:
        form = SCALARS[kind]
        return struct.unpack_from(form, data, at)[0], at + struct.calcsize(form)
    if kind in CONSTANTS:
        return CONSTANTS[kind], at
    if 0xA0 <= kind <= 0xBF or kind == 0xD9:
        size, at = (kind & 31, at) if kind != 0xD9 else (data[at], at + 1)
        return data[at : at + size].decode(), at + size
    if 0x90 <= kind <= 0x9F:
        items = []
        for _ in range(kind & 15):
            item, at = unpack(data, at)
            items.append(item)
        return items, at
    size, at = (kind & 15, at) if 0x80 <= kind <= 0x8F else (struct.unpack_from(">H", data, at)[0], at + 2)
    assert kind & 0xF0 == 0x80 or kind == 0xDE
    result = {}
    for _ in range(size):
        key, at = unpack(data, at)
        result[key], at = unpack(data, at)
    return result, at


SCALARS = {
    0xCC: ">B",
    0xCD: ">H",
    0xCE: ">I",
    0xCF: ">Q",
    0xCB: ">d",
    0xD0: ">b",
    0xD1: ">h",
    0xD2: ">i",
    0xD3: ">q",
}
CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
