"""Members of Qt's compiled resources (`.rcc`), which hold files as a tree: what Qt's `rcc` writes, versions 1 to 3.

All numbers are big-endian. After the magic number come version and the places of tree, data and names; version 3 has flags of
the whole after them. A node of the tree is the place of its name, flags, and for a folder the number of its children and the
first of them, for a file its country, language and the place of its data; from version 2 on, 8 bytes of time.
A name is a length, a hash and UTF-16; data are a length and the bytes, compressed ones with their size before them.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

_ZLIB, _FOLDER, _ZSTD = 1, 2, 4
_HEADER = struct.Struct(">4s4I")
_NODE = struct.Struct(">IH")
_INNER = struct.Struct(">II")
_FILE = struct.Struct(">HHI")
_DEEPEST = 32


class Resources:
    """The files of one compiled resource.

    Args:
        content: Of the `.rcc` file.
        most_bytes: Larger files are left out.

    Raises:
        ValueError: It is none, or damaged.
    """

    def __init__(self, content: bytes, *, most_bytes: int) -> None:
        self._content, self._most = content, most_bytes
        try:
            magic, version, self._tree, self._data, self._names = _HEADER.unpack_from(content)
            if magic != b"qres" or not 1 <= version <= 3:
                raise ValueError("no compiled resource of Qt, or of another version")
            self._size = 14 if version == 1 else 22
            self._seen: set[int] = set()
            self._places = dict(self._walk(0, "", 0))
        except (struct.error, UnicodeDecodeError) as error:
            raise ValueError(f"a damaged resource: {error}") from error

    @property
    def names(self) -> list[str]:
        """Paths of the files that can be read, in the order of the tree."""
        return list(self._places)

    def read(self, name: str) -> bytes:
        """What a file holds.

        Raises:
            KeyError: There is none of that name.
            ValueError: It is damaged, or too large.
        """
        place, packed = self._places[name]
        (length,) = struct.unpack_from(">I", self._content, place)
        held = self._content[place + 4 : place + 4 + length]
        if len(held) < length:
            raise ValueError(f"{name} is cut off")
        if not packed:
            return held
        inflate = zlib.decompressobj()
        try:
            found = inflate.decompress(held[4:], self._most)
        except zlib.error as error:
            raise ValueError(f"{name} is damaged: {error}") from error
        if not inflate.eof:
            raise ValueError(f"{name} is cut off, or larger than {self._most} bytes")
        return found

    def _walk(self, number: int, above: str, depth: int) -> Iterator[tuple[str, tuple[int, bool]]]:
        """Files below a node: path, place of the data and whether zlib packed them; what zstd packed is left out."""
        if number in self._seen or depth > _DEEPEST:
            raise ValueError("a damaged resource: its tree has a loop")
        self._seen.add(number)
        at = self._tree + number * self._size
        name_at, flags = _NODE.unpack_from(self._content, at)
        name = above + (self._name(name_at) if number else "")
        if flags & _FOLDER:
            count, first = _INNER.unpack_from(self._content, at + 6)
            for child in range(first, first + count):
                yield from self._walk(child, f"{name}/" if name else "", depth + 1)
        elif not flags & _ZSTD:
            place = self._data + _FILE.unpack_from(self._content, at + 6)[2]
            (length,) = struct.unpack_from(">I", self._content, place)
            if length <= self._most:
                yield name, (place, bool(flags & _ZLIB))

    def _name(self, place: int) -> str:
        place += self._names
        (length,) = struct.unpack_from(">H", self._content, place)
        name = self._content[place + 6 : place + 6 + 2 * length].decode("utf-16-be")
        if not name or "/" in name or name == "..":
            raise ValueError("a damaged resource: a name is none")
        return name
