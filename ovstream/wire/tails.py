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
# Bits of a number that are always 0: the highest of an unsigned one, see `limits.MAX_UINT`.
_FIXED = {"Q": b"\x80" + bytes(7), "q": bytes(8), "d": bytes(8), "": b""}

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
        pairs = [*zip(constants, [*letters, ""], strict=True)]
        self._struct = struct.Struct(">" + "".join(f"{len(constant)}s{letter}" for constant, letter in pairs))
        self._numbers = struct.Struct(
            ">" + "".join(f"{len(constant)}x{letter}" for constant, letter in pairs)
        )
        self._template: list[Any] = [0] * (2 * len(constants) - 1)
        self._template[0::2] = constants
        empty = self._struct.pack(*self._template)
        ones = b"".join(b"\xff" * len(constant) + _FIXED[letter] for constant, letter in pairs)
        self._fixed = int.from_bytes(empty, "big")
        self._where_fixed = int.from_bytes(ones, "big")
        self.size = self._struct.size
        self.present = present
        self.complete = all(present)
        self.counters = counters

    def write(self, target: bytearray, offset: int, values: Sequence[float]) -> None:
        """Writes the values that are not nil, in order, counts at the end, to the last bytes of a header.

        Raises:
            WireError: One is out of range.
        """
        filled = self._template.copy()
        filled[1::2] = values
        try:
            self._struct.pack_into(target, offset, *filled)
        except struct.error as error:
            raise WireError(f"a number does not fit: {error}") from None

    def read(self, data: bytes) -> tuple[Any, ...] | None:
        """Gives those values back, the unsigned ones in range; None: the bytes are laid out otherwise."""
        if len(data) != self.size:
            return None
        if int.from_bytes(data, "big") & self._where_fixed != self._fixed:  # all constants at once
            return None
        return self._numbers.unpack(data)


@functools.lru_cache(maxsize=1024)
def tail_of(present: Present, counters: tuple[str, ...]) -> Tail:
    """The layout for these fields."""
    return Tail(present, counters)
