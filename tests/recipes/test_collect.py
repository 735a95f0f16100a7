"""A package becomes packs with the licence of each picture; what is not open, or was tampered with, is left out."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovstream.training.bank import load_bank
from ovstream.training.packs import PictureKind, read_histories, read_pictures, read_sources
from recipes import collect, moves, packages
from recipes.packages import Release
from recipes.sources import read_plan

pytestmark = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="packages of Debian need dpkg-deb")

TERMS = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
License: GPL-2+

Files: art/lent/*
License: CC-BY-NC-4.0
"""
PLAN = """
side_px = 32
pack_bytes = 2000
without = ["_norm"]
[[source]]
package = "things-data"
kind = "photographs"
crop_area_px = 4000
[[source]]
package = "gone-data"
kind = "nothing"
"""


def picture(seed: int, *, alpha: bool = False) -> bytes:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (60, 80, 4 if alpha else 3), np.uint8)
    if alpha:
        pixels[..., 3] = 0
        pixels[10:50, 10:50, 3] = 255
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a downloaded package, and an index that has it."""
    root, folder = tmp_path / "root", tmp_path / "cache"
    files = {
        "usr/share/things/art/lake.png": picture(1),
        "usr/share/things/art/lake_norm.png": picture(2),
        "usr/share/things/art/bird.png": picture(3, alpha=True),
        "usr/share/things/art/lent/bridge.png": picture(4),
        "usr/share/things/art/broken.png": b"no picture",
        "usr/share/things/art/again.png": picture(1),
        "usr/share/doc/things-data/copyright": TERMS.encode(),
        "DEBIAN/control": b"Package: things-data\nVersion: 1:2-1\nArchitecture: all\nMaintainer: x <x@x>\nDescription: x\n",
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("art/road.png", picture(5))
        archive.writestr("art/lent/wall.png", picture(6))
    files["usr/share/things/more.pk3"] = packed.getvalue()
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    folder.mkdir()
    deb = folder / "things-data_1%3a2-1_all.deb"
    subprocess.run(["dpkg-deb", "-Znone", "--build", str(root), str(deb)], check=True, capture_output=True)
    sha = hashlib.sha256(deb.read_bytes()).hexdigest()

    def release(package: str) -> Release:
        if package != "things-data":
            raise ValueError("apt has no such package")
        return Release(package, "1:2-1", sha, deb.name)

    monkeypatch.setattr(packages, "release", release)
    return folder


def run(tmp_path: Path, cache: Path, *words: str) -> int:
    (tmp_path / "plan.toml").write_text(PLAN)
    return collect.main(
        [str(tmp_path / "plan.toml"), "--out", str(tmp_path / "out"), "--cache", str(cache), *words]
    )


def test_pictures_come_with_their_licence(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(tmp_path, cache) == 1  # one package is gone, the other all the same collected
    told = capsys.readouterr().out
    assert "gone-data: left out: apt has no such package" in told
    assert "2 files left out for their licence" in told
    items = read_sources(tmp_path / "out")
    assert {item.licence for item in items} == {"GPL-2+"}
    assert {item.origin for item in items} == {"Debian things-data 1:2-1"}
    names = {item.name.removeprefix("usr/share/things/") for item in items}
    assert names == {"art/lake.png", "art/again.png", "art/bird.png", "more.pk3/art/road.png"}
    pictures = read_pictures(tmp_path / "out")
    assert sorted(set(pictures.kinds.tolist())) == [PictureKind.PHOTO, PictureKind.SPRITE]
    assert len(set(pictures.data)) == len(pictures.data)  # the same square of lake and again is one
    assert len(list((tmp_path / "out").glob("pictures-*.npz"))) > 1
    bank = load_bank(tmp_path / "out")
    assert len(bank.photos) + len(bank.sprites) == len(pictures)
    row = (tmp_path / "out" / "summary.tsv").read_text().splitlines()[1].split("\t")
    assert row[:2] == ["things-data", "1:2-1"]
    assert row[4:7] == ["GPL-2+", "5", "2"]
    # once more: nothing is fetched or cut again, and the result is the same
    monkeypatch.setattr(packages, "fetch", None)
    assert run(tmp_path, cache, "--only", "things-data") == 0
    assert sorted(read_pictures(tmp_path / "out").data) == sorted(pictures.data)


def test_a_file_with_another_hash_is_refused(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (deb,) = cache.iterdir()
    deb.write_bytes(deb.read_bytes() + b"\0")
    assert run(tmp_path, cache, "--only", "things-data") == 1
    assert "the index says" in " ".join(capsys.readouterr().out.split())
    assert not deb.exists()
    assert not list((tmp_path / "out").glob("pictures-*"))


def test_a_plan_with_mistakes_says_where(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text('[[source]]\npackage = "a"\nkind = "x"\nmots = 3\n')
    with pytest.raises(ValueError, match=r"plan.toml.*mots"):
        read_plan(path)
    path.write_text('[[source]]\npackage = "a"\nkind = "x"\n' * 2)
    with pytest.raises(ValueError, match="twice: a"):
        read_plan(path)


def test_pictures_in_motion_become_histories(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(tmp_path, cache, "--only", "things-data") == 0
    out = tmp_path / "out"
    before = len(read_sources(out))
    monkeypatch.setattr(moves, "PICTURES", 6)
    assert moves.main([str(out), "--clips", "2"]) == 0
    histories = list(read_histories(out))
    assert [history.grid for history in histories] == [(12, 21), (16, 16)]
    assert all(len(history.update(0)[0]) == np.prod(history.grid) for history in histories)
    items = read_sources(out)
    made = items[before:]
    assert [items[history.source].name for history in histories] == [item.name for item in made]
    assert {(item.licence, item.origin) for item in made} == {("GPL-2+", moves.ORIGIN)}
    assert "lines" in made[0].name
    # a longer run keeps what is there
    monkeypatch.setattr(moves, "encode", None)
    assert moves.main([str(out), "--clips", "2"]) == 0
    assert read_sources(out) == items
