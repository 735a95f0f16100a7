"""Pictures of open packages, with the licence of each: `python -m recipes.collect PLAN --out FOLDER`.

Debian packages are downloaded, checked against the hash of the index and unpacked, never installed. A picture whose licence is
not on the list, or in doubt, is left out and counted. Each package is finished before the next begins: after Ctrl-C the
same command goes on. At the end pictures are mixed, so that each file of them is a fair sample, and written as packs for
`ovstream train --data FOLDER`, with `sources.tsv` naming package, version and licence of each file, and
`summary.tsv` counting them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import zlib
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ovstream.training.packs import (
    PictureKind,
    Pictures,
    PictureWriter,
    SourceItem,
    read_pictures,
    read_sources,
    write_pictures,
    write_sources,
)
from ovstream.training.pictures import Cut
from recipes import packages
from recipes.licences import Copyright, Verdict
from recipes.sources import Plan, Source, read_plan

Image.MAX_IMAGE_PIXELS = 120_000_000  # panoramas; a larger picture is passed over


@dataclass(frozen=True, slots=True)
class Taken:
    """What one package gave.

    Attributes:
        package: Its name.
        version: Of Debian.
        sha256: Of the file.
        kind: As the plan says.
        licences: Of its kept pictures.
        files: Picture files that were wanted and may be used.
        refused: Those left out for their licence.
        photos: Photos and crops kept.
        sprites: Things with a transparent surround.
    """

    package: str
    version: str
    sha256: str
    kind: str
    licences: tuple[str, ...]
    files: int
    refused: int
    photos: int
    sprites: int


def take(
    folder: Path, source: Source, plan: Plan, terms: Copyright, out: Path, origin: str
) -> tuple[int, int]:
    """Cuts the pictures of an unpacked package into a folder of packs of its own.

    Args:
        folder: Of the unpacked package.
        source: What is wanted.
        plan: Sizes.
        terms: Of the package.
        out: Gets one file of pictures and `sources.tsv`.
        origin: For `sources.tsv`.

    Returns:
        Files that may be used, and files refused for their licence.
    """
    wanted = [file for file in packages.pictures(folder) if source.wants(file.name, plan.without)]
    verdicts: list[Verdict] = [terms.of(file.name) for file in wanted]
    usable = [number for number, verdict in enumerate(verdicts) if verdict.allowed]
    rng = np.random.default_rng([plan.seed, zlib.crc32(source.package.encode())])
    cut = Cut(plan.side_px, source.crop_area_px, source.most_crops, "WEBP", plan.quality)
    items: list[SourceItem] = []
    data: list[bytes] = []
    kinds: list[PictureKind] = []
    numbers: list[int] = []
    for number in rng.permutation(usable):
        file = wanted[number]
        with file.open() as opened:
            found = list(cut.pictures(opened, rng))[: source.most - len(data)]
        if found:
            data += [encoded for encoded, _ in found]
            kinds += [kind for _, kind in found]
            numbers += [len(items)] * len(found)
            items.append(SourceItem(verdicts[number].licence, origin, file.name))
        if len(data) >= source.most:
            break
    write_sources(out, items)
    write_pictures(
        out / "pictures-000.npz", Pictures(data, np.array(kinds, np.uint8), np.array(numbers, np.int32))
    )
    return len(usable), len(wanted) - len(usable)


def one(source: Source, plan: Plan, cache: Path, done: Path) -> Taken:
    """Fetches, unpacks and cuts one package, or finds that it was done.

    Raises:
        ValueError: It cannot be had, or its licences are not clear.
    """
    wanted = packages.release(source.package)
    folder, note = done / source.package, done / source.package / "taken.json"
    asked = json.loads(json.dumps([asdict(source), plan.side_px, plan.quality, plan.seed, wanted.sha256]))
    if note.is_file() and (known := json.loads(note.read_text()))["asked"] == asked:
        return Taken(**known["taken"] | {"licences": tuple(known["taken"]["licences"])})
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    file = packages.fetch(wanted, cache)
    with tempfile.TemporaryDirectory(dir=done) as name:
        packages.unpack(file, Path(name))
        teller = source.copyright_of or source.package
        terms = Copyright(
            packages.copyright_text(Path(name), teller), stated=source.licences, read=source.read
        )
        origin = f"Debian {source.package} {wanted.version}"
        files, refused = take(Path(name), source, plan, terms, folder, origin)
    pictures, items = read_pictures(folder), read_sources(folder)
    taken = Taken(
        package=source.package,
        version=wanted.version,
        sha256=wanted.sha256,
        kind=source.kind,
        licences=tuple(sorted({item.licence for item in items})),
        files=files,
        refused=refused,
        photos=int((pictures.kinds == PictureKind.PHOTO).sum()),
        sprites=int((pictures.kinds == PictureKind.SPRITE).sum()),
    )
    note.write_text(json.dumps({"asked": asked, "taken": asdict(taken)}))
    return taken


def mix(done: Path, taken: list[Taken], plan: Plan, out: Path) -> int:
    """Writes the packs: all pictures, in an order of chance, the same twice left out; returns how many."""
    for left in out.glob("pictures-*.npz"):
        left.unlink()
    items: list[SourceItem] = []
    everything: list[tuple[bytes, PictureKind, int]] = []
    for part in taken:
        pictures = read_pictures(done / part.package)
        for data, kind, number in zip(pictures.data, pictures.kinds, pictures.sources, strict=True):
            everything.append((data, PictureKind(kind), len(items) + int(number)))
        items += read_sources(done / part.package)
    writer, seen = PictureWriter(out, most_bytes=plan.pack_bytes), set[bytes]()
    for number in np.random.default_rng(plan.seed).permutation(len(everything)):
        data, kind, source = everything[number]
        if data not in seen:
            seen.add(data)
            writer.add(data, kind, source)
    writer.flush()
    write_sources(out, items)
    return writer.written


def summary(taken: list[Taken]) -> str:
    """A table of what came from where."""
    rows = ["\t".join(Taken.__dataclass_fields__)]
    for part in taken:
        values = asdict(part) | {"licences": ", ".join(part.licences)}
        rows.append("\t".join(str(value) for value in values.values()))
    return "\n".join(rows) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Collects; the exit status is 1 where a package could not be had."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plan", type=Path, help="TOML file of packages")
    parser.add_argument("--out", type=Path, required=True, help="folder for the packs")
    parser.add_argument("--cache", type=Path, help="folder for downloads (OUT/cache)")
    parser.add_argument("--only", nargs="*", default=[], help="these packages alone")
    options = parser.parse_args(arguments)
    plan, out = read_plan(options.plan), options.out
    sources = [source for source in plan.sources if not options.only or source.package in options.only]
    cache, done = options.cache or out / "cache", out / "packages"
    done.mkdir(parents=True, exist_ok=True)
    for left in done.glob("tmp*"):
        shutil.rmtree(left)  # of a collection that was stopped
    taken: list[Taken] = []
    failed = 0
    columns = (TextColumn("collecting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[note]}")) as bar:
        task = bar.add_task("", total=len(sources), note="")
        for source in sources:
            bar.update(task, note=source.package)
            try:
                taken.append(part := one(source, plan, cache, done))
                if part.refused:
                    bar.print(f"{part.package}: {part.refused} files left out for their licence")
            except ValueError as error:
                failed += 1
                bar.print(f"{source.package}: left out: {error}")
            bar.advance(task)
    if not taken:
        print("nothing was collected", file=sys.stderr)
        return 1
    total = mix(done, taken, plan, out)
    (out / "summary.tsv").write_text(summary(taken))
    kinds: Counter[str] = Counter()
    for part in taken:
        kinds[part.kind] += part.photos + part.sprites
    print(
        f"{total:,} pictures of {len(taken)} packages in {out}:",
        ", ".join(f"{n:,} {k}" for k, n in kinds.most_common()),
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
