"""Fetches Debian packages without installing them, and walks through their pictures."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from recipes.rcc import Resources

SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".png",
        ".webp",
        ".bmp",
        ".tga",
        ".gif",
        ".dds",
        ".ppm",
        ".pgm",
        ".tif",
        ".tiff",
        ".jp2",
        ".rgb",
        ".rgba",
        ".sgi",
    ]
)
ARCHIVES = frozenset({".zip", ".pk3"})
RESOURCES = ".rcc"
MOST_BYTES = 64 << 20  # of one picture file


@dataclass(frozen=True, slots=True)
class Release:
    """A package as the index has it."""

    package: str
    version: str
    sha256: str
    filename: str


def release(package: str) -> Release:
    """Asks the index of this machine.

    Raises:
        ValueError: It has no such package.
    """
    text = subprocess.run(
        ["apt-cache", "show", "--no-all-versions", package], capture_output=True, text=True, check=False
    ).stdout
    fields = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line and line[0] != " ")
    if not {"Version", "SHA256", "Filename"} <= fields.keys():
        raise ValueError("apt has no such package: another release of Debian, or apt-get update is due")
    return Release(package, fields["Version"], fields["SHA256"], Path(fields["Filename"]).name)


def fetch(wanted: Release, cache: Path) -> Path:
    """Downloads the file unless it is there, and checks its hash.

    Raises:
        ValueError: The download failed, or the hash is another.
    """
    cache.mkdir(parents=True, exist_ok=True)
    file = next(cache.glob(f"{wanted.package}_{_quoted(wanted.version)}_*.deb"), None)
    if file is None:
        done = subprocess.run(
            ["apt-get", "download", "-qq", f"{wanted.package}={wanted.version}"],
            cwd=cache,
            capture_output=True,
            text=True,
            check=False,
        )
        file = next(cache.glob(f"{wanted.package}_{_quoted(wanted.version)}_*.deb"), None)
        if file is None:
            raise ValueError(f"no download: {done.stderr.strip().splitlines()[-1:]}")
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != wanted.sha256:
        file.unlink()
        raise ValueError(
            f"the file's hash is {found[:16]}, the index says {wanted.sha256[:16]}: deleted, try again"
        )
    return file


def unpack(file: Path, folder: Path) -> None:
    """Extracts a package; nothing of it is run.

    Raises:
        ValueError: It is damaged.
    """
    done = subprocess.run(
        ["dpkg-deb", "--extract", str(file), str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ValueError(f"damaged: {done.stderr.strip()}")


def copyright_text(folder: Path, package: str) -> str:
    """Of an unpacked package.

    Raises:
        ValueError: It has none.
    """
    path = folder / "usr/share/doc" / package / "copyright"
    if not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError("no copyright file of its own: name the package that has it (copyright_of)")
    return path.read_text(errors="replace")


@dataclass(frozen=True, slots=True)
class File:
    """A picture file of an unpacked package.

    Attributes:
        name: Path below the package's root; of a member of an archive, behind the archive's path.
        path: On disk: the file, or the archive.
        member: Of the archive; "" for a plain file.
    """

    name: str
    path: Path
    member: str = ""

    def open(self) -> BinaryIO:
        """What it holds; nothing where it is a damaged member of a compiled resource."""
        if not self.member:
            return self.path.open("rb")
        if self.path.suffix.lower() != RESOURCES:
            return io.BytesIO(_archive(self.path).read(self.member))
        try:
            return io.BytesIO(_resources(self.path).read(self.member))
        except ValueError:
            return io.BytesIO()


def pictures(folder: Path) -> list[File]:
    """Picture files below a folder, sorted; zip and pk3 archives and Qt's compiled resources are looked into.

    Damaged ones are passed over.
    """
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        name, suffix = path.relative_to(folder).as_posix(), path.suffix.lower()
        if suffix in SUFFIXES and path.stat().st_size <= MOST_BYTES:
            found.append(File(name, path))
        elif suffix in ARCHIVES and zipfile.is_zipfile(path):
            found += [
                File(f"{name}/{member.filename}", path, member.filename)
                for member in _archive(path).infolist()
                if Path(member.filename).suffix.lower() in SUFFIXES and member.file_size <= MOST_BYTES
            ]
        elif suffix == RESOURCES:
            with contextlib.suppress(ValueError):
                names = [one for one in _resources(path).names if Path(one).suffix.lower() in SUFFIXES]
                found += [File(f"{name}/{one}", path, one) for one in names]
    return found


@functools.lru_cache(4)
def _archive(path: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


@functools.lru_cache(4)
def _resources(path: Path) -> Resources:
    return Resources(path.read_bytes(), most_bytes=MOST_BYTES)


def _quoted(version: str) -> str:
    """As apt writes it into a file's name."""
    return version.replace(":", "%3a")
