"""Values of many pictures kept by kind, each behind its like: so they deflate to a fraction of what rows would take."""

from __future__ import annotations

import lzma
from typing import Any

import numpy as np
import numpy.typing as npt

from ovstream.errors import RecordingError

_LEAST_DICTIONARY, _MOST_DICTIONARY = 1 << 12, 1 << 22
_MAX_BYTES = 512 * 2**20  # of all columns together; a damaged length must not ask for more


class Columns:
    """The columns of one chunk: filled by `put` in the order in which `take` empties them.

    Args:
        packed: What `pack` gave; None: empty, to be filled.

    Raises:
        RecordingError: It is something else.
    """

    def __init__(self, packed: Any = None) -> None:
        self.size_bytes = 0
        self._parts: dict[str, list[bytes]] = {}
        self._data: dict[str, bytes] = {}
        self._at: dict[str, int] = {}
        for name, (size, data) in ({} if packed is None else _checked(packed)).items():
            self._data[name] = _inflate(data, size)
            self._at[name] = 0

    def put(self, name: str, values: npt.NDArray[Any] | bytes) -> None:
        """Appends numbers to a column, those of several bytes to a column for each of these."""
        if isinstance(values, bytes):
            self._append(name, values)
            return
        size = values.dtype.itemsize
        planes = np.ascontiguousarray(values).reshape(-1).view(np.uint8).reshape(-1, size)
        for place in range(size):
            self._append(f"{name}.{place}" if size > 1 else name, planes[:, place].tobytes())

    def take(self, name: str, dtype: npt.DTypeLike, count: int) -> npt.NDArray[Any]:
        """(count,) of `dtype`, owned by the caller: the next numbers of a column.

        Raises:
            ValueError: There are not so many.
        """
        kind = np.dtype(dtype)
        planes = np.empty((count, kind.itemsize), np.uint8)
        for place in range(kind.itemsize):
            column = f"{name}.{place}" if kind.itemsize > 1 else name
            planes[:, place] = np.frombuffer(self.take_bytes(column, count), np.uint8)
        return planes.reshape(-1).view(kind)

    def take_bytes(self, name: str, count: int) -> bytes:
        """The next bytes of a column.

        Raises:
            ValueError: There are not so many.
        """
        at = self._at.get(name, 0)
        found = self._data.get(name, b"")[at : at + count]
        if len(found) != count:
            raise ValueError(f"column '{name}' ends after {at + len(found)} bytes, {at + count} are wanted")
        self._at[name] = at + count
        return found

    def rest(self, name: str) -> bytes:
        """What is left of a column."""
        return self._data.get(name, b"")[self._at.get(name, 0) :]

    def pack(self) -> dict[str, list[Any]]:
        """For msgpack: name, size and compressed bytes of every column."""
        whole = {name: b"".join(parts) for name, parts in self._parts.items()}
        return {name: [len(data), _deflate(data)] for name, data in whole.items()}

    def _append(self, name: str, data: bytes) -> None:
        self._parts.setdefault(name, []).append(data)
        self.size_bytes += len(data)


def _checked(packed: Any) -> dict[str, tuple[int, bytes]]:
    """A map from names to sizes and bytes, of bounded size."""
    try:
        columns = {str(name): (int(size), bytes(memoryview(data))) for name, (size, data) in packed.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise RecordingError(f"no columns: {error}") from None
    if sum(size for size, _ in columns.values()) > _MAX_BYTES or any(
        size < 0 for size, _ in columns.values()
    ):
        raise RecordingError("columns that are too large")
    return columns


def _filters(size: int) -> list[dict[str, int]]:
    """LZMA2 with a dictionary no larger than the data: clearing it would cost more than the work."""
    dictionary = min(max(1 << size.bit_length(), _LEAST_DICTIONARY), _MOST_DICTIONARY)
    return [{"id": lzma.FILTER_LZMA2, "preset": 4, "lc": 4, "lp": 0, "pb": 0, "dict_size": dictionary}]


def _deflate(data: bytes) -> bytes:
    return lzma.compress(data, format=lzma.FORMAT_RAW, filters=_filters(len(data))) if data else b""


def _inflate(data: bytes, size: int) -> bytes:
    try:
        inflater = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_filters(size))
        found = inflater.decompress(data, size) if size else b""
    except lzma.LZMAError as error:
        raise RecordingError(f"a column is damaged: {error}") from None
    if len(found) != size:
        raise RecordingError(f"a column of {len(found)} bytes instead of {size}")
    return found
