"""Files inside Qt's compiled resources."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import pytest

from recipes.packages import pictures
from recipes.rcc import Resources


def compiled(version: int = 3, *, loop: bool = False) -> bytes:
    """A folder `art` with three files: plain, packed by zlib, and marked as packed by zstd."""
    names, places = b"", []
    for name in ("art", "a.png", "b.png", "c.png"):
        places.append(len(names))
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
    packed = struct.pack(">I", 300) + zlib.compress(b"x" * 300)
    data, starts = b"", []
    for content in (b"plain", packed, b"?"):
        starts.append(len(data))
        data += struct.pack(">I", len(content)) + content
    stamp = b"" if version == 1 else bytes(8)
    tree = struct.pack(">IHII", 0, 2, 1, 0 if loop else 1) + stamp
    tree += struct.pack(">IHII", places[0], 2, 3, 2) + stamp
    for place, flags, start in zip(places[1:], (0, 1, 4), starts, strict=True):
        tree += struct.pack(">IHHHI", place, flags, 0, 0, start) + stamp
    head = 20 + (4 if version == 3 else 0)
    header = struct.pack(">4s4I", b"qres", version, head, head + len(tree), head + len(tree) + len(data))
    return header + bytes(head - 20) + tree + data + names


@pytest.mark.parametrize("version", [1, 2, 3])
def test_files_are_named_by_their_path(version: int) -> None:
    found = Resources(compiled(version), most_bytes=1000)
    assert found.names == ["art/a.png", "art/b.png"]
    assert [found.read(name) for name in found.names] == [b"plain", b"x" * 300]
    assert Resources(compiled(version), most_bytes=10).names == ["art/a.png"]


def test_damage_is_told() -> None:
    whole = compiled()
    for content in (b"", b"qres", b"PK\3\4" + whole[4:], compiled(7), compiled(loop=True)):
        with pytest.raises(ValueError, match=r"resource|tree"):
            Resources(content, most_bytes=1000)
    for at in range(len(whole)):
        try:
            found = Resources(whole[:at] + b"\xff" + whole[at + 1 :], most_bytes=1000)
            for name in found.names:
                assert len(found.read(name)) <= 1000
        except ValueError:
            pass
    with pytest.raises(ValueError, match="larger"):
        Resources(whole, most_bytes=100).read("art/b.png")


def test_a_package_is_looked_into(tmp_path: Path) -> None:
    (tmp_path / "more.rcc").write_bytes(compiled())
    (tmp_path / "broken.rcc").write_bytes(b"qres")
    found = pictures(tmp_path)
    assert [one.name for one in found] == ["more.rcc/art/a.png", "more.rcc/art/b.png"]
    with found[0].open() as opened:
        assert isinstance(opened, io.BytesIO)
        assert opened.read() == b"plain"
