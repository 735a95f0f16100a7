"""Reads a msgpack map field by field; every field is typed and bounded where it is read."""

from __future__ import annotations

import functools
import math
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, cast, get_args

import msgpack

from ovstream.errors import WireError
from ovstream.wire import limits

WIRE_MAJOR = 1

WORD = re.compile(r"[a-z][a-z0-9_-]{0,31}")  # names of events

STREAM_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # the pattern of StreamConfig.stream_id


class _Packers(threading.local):
    """A packer for each thread: making one costs more than using it."""

    def __init__(self) -> None:
        self.packer = msgpack.Packer(use_bin_type=True, autoreset=True)


_packers = _Packers()


def pack(fields: Mapping[str, Any]) -> bytes:
    """Packs a map of plain values; floats as 64 bits, strings as UTF-8, no extension types."""
    data = cast(bytes, _packers.packer.pack(fields))
    if len(data) > limits.MAX_HEADER_BYTES:
        raise WireError(f"header of {len(data)} bytes, at most {limits.MAX_HEADER_BYTES}")
    return data


def stream_topic(prefix: Literal["e", "h", "s"], stream_id: str) -> str:
    """Names the topic of a stream; the trailing slash keeps `cam1` from matching `cam10`."""
    if not STREAM_ID.fullmatch(stream_id):
        raise WireError(f"{stream_id!r} is no stream id: letters, digits, '.', '_', '-', at most 64")
    return f"{prefix}/{stream_id}/"


@dataclass(frozen=True, slots=True)
class Fields:
    """The header of one message, not yet believed.

    Every reader names the key in its `WireError`. Optional readers take a missing key and nil as None.
    """

    values: Mapping[str, Any]

    @classmethod
    def unpack(cls, data: bytes) -> Fields:
        """Unpacks and checks the version.

        Raises:
            WireError: Too large, not a msgpack map with string keys, or of an unknown major version.
        """
        fields = cls.unpack_rest(data)
        major = fields.integer("v")
        if major != WIRE_MAJOR:
            raise WireError(f"wire version {major}, this side reads {WIRE_MAJOR}")
        return fields

    @classmethod
    def unpack_rest(cls, data: bytes) -> Fields:
        """Unpacks fields of a header whose version was checked before.

        Raises:
            WireError: Too large, or not a msgpack map with string keys.
        """
        if len(data) > limits.MAX_HEADER_BYTES:
            raise WireError(f"header of {len(data)} bytes, at most {limits.MAX_HEADER_BYTES}")
        try:
            values = msgpack.unpackb(
                data,
                raw=False,
                strict_map_key=True,
                ext_hook=_refuse_extension,
                max_str_len=limits.MAX_TEXT,
                max_bin_len=limits.MAX_HEADER_BYTES,
                max_array_len=limits.MAX_HEADER_ITEMS,
                max_map_len=limits.MAX_HEADER_ITEMS,
                max_ext_len=0,
            )
        except (ValueError, msgpack.UnpackException) as error:
            raise WireError(f"header is not msgpack: {error}") from None
        if not isinstance(values, dict):
            raise WireError(f"header is a {type(values).__name__}, not a map")
        return cls(values)

    def integer(self, key: str, *, low: int = 0, high: int = limits.MAX_UINT) -> int:
        """Reads a whole number in [low, high]."""
        value = self._required(key)
        if type(value) is not int or not low <= value <= high:
            raise WireError(f"'{key}' must be a whole number in {low}..{high}")
        return value

    def optional_integer(self, key: str, *, low: int = 0, high: int = limits.MAX_UINT) -> int | None:
        """Reads a whole number in [low, high], or None."""
        return None if self.values.get(key) is None else self.integer(key, low=low, high=high)

    def real(self, key: str) -> float:
        """Reads a finite number; whole ones count, since some languages pack 1.0 as 1."""
        value = self._required(key)
        if type(value) is int:
            return float(value)  # msgpack has at most 64 bits: always finite
        if type(value) is not float or not math.isfinite(value):
            raise WireError(f"'{key}' must be a finite number")
        return value

    def optional_real(self, key: str) -> float | None:
        """Reads a finite number, or None."""
        return None if self.values.get(key) is None else self.real(key)

    def flag(self, key: str) -> bool:
        """Reads a boolean."""
        value = self._required(key)
        if type(value) is not bool:
            raise WireError(f"'{key}' must be a boolean")
        return value

    def text(self, key: str) -> str:
        """Reads a printable string: it ends up in terminals and logs."""
        value = self._required(key)
        if type(value) is not str or not value.isprintable():
            raise WireError(f"'{key}' must be a printable string")
        return value

    def word(self, key: str) -> str:
        """Reads a short lower-case name out of an open set: later versions may send more of them."""
        value = self._required(key)
        if type(value) is not str or not WORD.fullmatch(value):
            raise WireError(f"'{key}' must be a lower-case word")
        return value

    def choice(self, key: str, literal: Any) -> Any:
        """Reads one of the strings of a `Literal`."""
        value = self._required(key)
        if type(value) is not str or value not in get_args(literal):
            raise WireError(f"'{key}' must be one of {', '.join(get_args(literal))}")
        return value

    def stream_id(self) -> str:
        """Reads the stream id."""
        value = self._required("id")
        if type(value) is not str or not STREAM_ID.fullmatch(value):
            raise WireError("'id' is no stream id")
        return value

    def sizes(self, key: str, *, high: int) -> tuple[int, ...]:
        """Reads one or two whole numbers in [1, high]."""
        value = self._required(key)
        if type(value) is not list or not 1 <= len(value) <= 2:
            raise WireError(f"'{key}' must be one or two sizes")
        if any(type(size) is not int or not 1 <= size <= high for size in value):
            raise WireError(f"'{key}' must hold sizes in 1..{high}")
        return tuple(value)

    def counters(self, key: str) -> dict[str, int]:
        """Reads a map from names to cumulative counts."""
        value = self._required(key)
        if type(value) is not dict or len(value) > limits.MAX_COUNTERS:
            raise WireError(f"'{key}' must be a map of at most {limits.MAX_COUNTERS} counters")
        if not value:
            return value
        if not _are_counters(tuple(value)):
            raise WireError(f"'{key}' holds a name that is no identifier")
        counts = value.values()
        if set(map(type, counts)) != {int} or min(counts) < 0 or max(counts) > limits.MAX_UINT:
            raise WireError(f"'{key}' holds a count that is none")
        return value

    def _required(self, key: str) -> Any:
        try:
            return self.values[key]
        except KeyError:
            raise WireError(f"header lacks '{key}'") from None


@functools.lru_cache(maxsize=1024)
def _are_counters(names: tuple[object, ...]) -> bool:
    return all(type(name) is str and name.isidentifier() and name.isascii() for name in names)


def check_topic(frames: Sequence[bytes], prefix: Literal["e", "h", "s"], stream_id: str) -> None:
    """Checks that a message came under the topic of the stream that it speaks of."""
    if frames[0] != stream_topic(prefix, stream_id).encode():
        raise WireError("topic and stream id differ")


def _refuse_extension(code: int, data: bytes) -> NoReturn:
    raise WireError(f"msgpack extension type {code}")
