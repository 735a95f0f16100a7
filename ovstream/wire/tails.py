"""The changing half of an embedding's header, packed and read in one step.

msgpack lets a number be wider than it must be. With all numbers at full width, the half behind the constant one is the
same from message to message but for the numbers themselves, which then lie at fixed places. A header from another
implementation, with numbers of other widths, is read field by field instead.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence
from typing import Any

import msgpack

from ovstream.errors import WireError

# Keys, and how their numbers are packed: a msgpack type and a letter of `struct`.
_UINT, _INT, _REAL = (b"\xcf", "Q"), (b"\xd3", "q"), (b"\xcb", "d")
_FIELDS = (("q", _UINT), ("pq", _UINT), ("t", _UINT), ("ct", _INT), ("pts", _REAL), ("kr", _REAL), ("dr", _REAL), ("sf", _UINT), ("nu", _UINT), ("fl", _UINT))  # fmt: skip
KEYS = tuple(key for key, _ in _FIELDS)
_NIL = b"\xc0"

Present = tuple[bool, ...]


class Tail:
    """The fields `KEYS` and the counters, of which some may be nil.

    Args:
        present: Which of `KEYS` have a value.
        counters: Names, in order.

    Attributes:
        size: Bytes.
        complete: No field is nil.
    """

    def __init__(self, present: Present, counters: tuple[str, ...]) -> None:
        constants, letters, text = [], [], b""
        for (key, (mark, letter)), there in zip(_FIELDS, present, strict=True):
            text += msgpack.packb(key) + (mark if there else _NIL)
            if there:
                constants.append(text)
                letters.append(letter)
                text = b""
        text += msgpack.packb("c") + msgpack.Packer().pack_map_header(len(counters))
        for name in counters:
            constants.append(text + msgpack.packb(name) + _UINT[0])
            letters.append("Q")
            text = b""
        constants.append(text)
        pairs = zip(constants, [*letters, ""], strict=True)
        self._struct = struct.Struct(">" + "".join(f"{len(constant)}s{letter}" for constant, letter in pairs))
        self._constants = tuple(constants)
        self._template: list[Any] = [b""] * (2 * len(constants) - 1)
        self._template[0::2] = constants
        self.size = self._struct.size
        self.present = present
        self.complete = all(present)
        self.counters = counters

    def pack(self, values: Sequence[float]) -> bytes:
        """Packs the values that are not nil, in order, counts at the end.

        Raises:
            WireError: One is out of range.
        """
        filled = self._template.copy()
        filled[1::2] = values
        try:
            return self._struct.pack(*filled)
        except struct.error as error:
            raise WireError(f"a number does not fit: {error}") from None

    def read(self, data: bytes) -> tuple[Any, ...] | None:
        """Gives those values back; None: the bytes are laid out otherwise."""
        if len(data) != self.size:
            return None
        found = self._struct.unpack(data)
        return found[1::2] if found[0::2] == self._constants else None


@functools.lru_cache(maxsize=1024)
def tail_of(present: Present, counters: tuple[str, ...]) -> Tail:
    """The layout for these fields."""
    return Tail(present, counters)
