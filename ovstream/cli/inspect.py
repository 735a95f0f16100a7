"""`ovstream inspect`: what the codec says about every picture of a stream."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Protocol, TextIO

import numpy as np
import typer
from rich.markup import escape

from ovstream.bitstream import Level
from ovstream.cli.console import console
from ovstream.cli.drawing import heat_maps
from ovstream.errors import ConfigError
from ovstream.pipeline import inspect as inspect_stream
from ovstream.types import BlockClass, FrameMetadata

_SHOWN = 40  # rows of the table unless more are asked for
_TITLES = ("#", "time", "type", "bytes", "QP", "skip", "inter", "intra", "motion", "residual", "")
_WIDTHS = (5, 8, 7, 9, 6, 6, 6, 6, 8, 9)


def inspect(
    url: Annotated[str, typer.Argument(help="Video file, rtsp:// URL or 'synthetic:'.")],
    frames: Annotated[
        int | None,
        typer.Option("--frames", "-n", help="Look at this many pictures.", show_default="all", min=1),
    ] = None,
    png: Annotated[
        Path | None, typer.Option(help="Write heat maps into this folder.", show_default=False)
    ] = None,
    every: Annotated[int, typer.Option(help="Draw every this many pictures.", min=1)] = 25,
    level: Annotated[
        Level, typer.Option(help="How deep to read: sizes and kinds alone, motion, or residuals as well.")
    ] = "full",
    sample: Annotated[
        int, typer.Option(help="Read every so many-th P or B picture; the others stay unread.", min=1)
    ] = 1,
    skip_intra: Annotated[
        bool, typer.Option("--skip-intra", help="Leave the blocks of I pictures unread.")
    ] = False,
    max_bits_per_pixel: Annotated[
        float | None, typer.Option(help="Leave larger pictures unread.", show_default="none", min=0.001)
    ] = None,
    jsonl: Annotated[
        Path | None,
        typer.Option(help="Write a line per picture, flat (loads into Parquet).", show_default=False),
    ] = None,
    npz: Annotated[
        Path | None,
        typer.Option(help="Write the planes of all pictures as a NumPy archive.", show_default=False),
    ] = None,
) -> None:
    """Reads a stream's metadata without decoding it: a table, heat maps, exports. Ctrl-C ends it with the totals.

    Motion is in pixels (mean), residual in grey levels (root mean square).
    """
    totals, shown = Counter[str](), frames or _SHOWN
    with contextlib.ExitStack() as stack:
        outputs = [stack.enter_context(one) for one in _outputs(png, every, jsonl, npz)]
        pictures = inspect_stream(
            url, level=level, every=sample, skip_intra=skip_intra, max_bits_per_pixel=max_bits_per_pixel
        )
        found = stack.enter_context(contextlib.closing(pictures))
        try:
            for number, frame in enumerate(islice(found, frames)):
                record = as_record(number, frame)
                totals += _count(record)
                if number == 0:
                    console.print(_line(_TITLES), style="dim", highlight=False, soft_wrap=True)
                if number < shown:
                    console.print(_line(_cells(record)), highlight=False, soft_wrap=True)
                for output in outputs:
                    output.add(number, frame, record)
        except KeyboardInterrupt:
            console.print("[dim]stopped[/]")
    _print_totals(totals, shown)


class _Output(Protocol):
    """A file or folder that grows picture by picture."""

    def add(self, number: int, frame: FrameMetadata, record: dict[str, Any]) -> None: ...


class _HeatMaps:
    def __init__(self, folder: Path, every: int) -> None:
        self._folder, self._every = folder, every
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, number: int, frame: FrameMetadata, record: dict[str, Any]) -> None:
        if number % self._every == 0:
            heat_maps(frame).save(self._folder / f"frame-{number:05d}.png")


class _Lines:
    def __init__(self, file: TextIO) -> None:
        self._file = file

    def add(self, number: int, frame: FrameMetadata, record: dict[str, Any]) -> None:
        self._file.write(json.dumps(record) + "\n")


class _Planes:
    """Holds all planes until the end: a NumPy archive has no other way."""

    names = ("block_class", "qp", "residual_energy", "bit_cost")

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._planes: dict[str, list[Any]] = {name: [] for name in self.names}

    def add(self, number: int, frame: FrameMetadata, record: dict[str, Any]) -> None:
        first = self._planes["qp"][0].shape if self._planes["qp"] else frame.mb_shape
        if frame.mb_shape != first:
            raise ConfigError(f"--npz: picture {number} has another size; --frames {number} stops before it")
        for name, found in self._planes.items():
            found.append(getattr(frame, name).copy())

    def save(self) -> None:
        stacked: dict[str, Any] = {name: np.stack(found) for name, found in self._planes.items() if found}
        np.savez_compressed(self._file, **stacked)


@contextlib.contextmanager
def _opened(
    output: Path | None, make: Callable[[Path], AbstractContextManager[_Output]]
) -> Iterator[_Output]:
    """Opens an output; a path that cannot be written is one clear error, before any work."""
    assert output is not None
    try:
        manager = make(output)
        opened = manager.__enter__()
    except OSError as error:
        raise ConfigError(f"cannot write {output}: {error.strerror}") from None
    with contextlib.ExitStack() as stack:
        stack.push(manager)
        yield opened
    console.print(f"[dim]written: {escape(str(output))}[/]", highlight=False)


def _outputs(
    png: Path | None, every: int, jsonl: Path | None, npz: Path | None
) -> Iterator[AbstractContextManager[_Output]]:
    if png is not None:
        yield _opened(png, lambda path: contextlib.nullcontext(_HeatMaps(path, every)))
    if jsonl is not None:
        yield _opened(jsonl, _lines)
    if npz is not None:
        yield _opened(npz, _planes)


@contextlib.contextmanager
def _lines(path: Path) -> Iterator[_Lines]:
    with path.open("w", encoding="utf-8") as file:
        yield _Lines(file)


@contextlib.contextmanager
def _planes(path: Path) -> Iterator[_Planes]:
    with path.open("wb") as file:
        planes = _Planes(file)
        yield planes
        planes.save()


def as_record(number: int, frame: FrameMetadata) -> dict[str, Any]:
    """Flat summary of one picture."""
    classes = np.bincount(frame.block_class.ravel(), minlength=len(BlockClass)) / frame.block_class.size
    blocks = frame.blocks
    used = blocks["ref_idx"].max(axis=-1) >= 0
    speed = np.hypot(*np.moveaxis(blocks["mv"].astype(np.float32), -1, 0)).max(axis=-1) / 4
    return {
        "number": number,
        "pts_seconds": frame.pts_seconds,
        "codec": frame.codec,
        "width": frame.width,
        "height": frame.height,
        "slice_type": frame.slice_type,
        "keyframe": frame.keyframe,
        "reference": frame.reference,
        "poc": frame.poc,
        "origin": frame.origin,
        "coverage": round(frame.coverage, 4),
        "unread": frame.unread,
        "motion_exact": frame.motion_exact,
        "bytes": frame.bits // 8,
        "qp_mean": round(float(frame.qp.mean()), 2),
        "skip_share": round(float(classes[BlockClass.SKIP]), 4),
        "inter_share": round(float(classes[BlockClass.INTER]), 4),
        "intra_share": round(float(classes[BlockClass.INTRA] + classes[BlockClass.PCM]), 4),
        "motion_mean_px": round(float(speed[used].mean()) if used.any() else 0.0, 3),
        "residual_rms": round(float(np.sqrt(frame.residual_energy.mean() / 256)), 3),
    }


def _line(cells: Sequence[str]) -> str:
    *fixed, notes = cells
    return "".join(f"{cell:>{width}}" for cell, width in zip(fixed, _WIDTHS, strict=True)) + f"  {notes}"


def _cells(record: dict[str, Any]) -> list[str]:
    when = "-" if record["pts_seconds"] is None else f"{record['pts_seconds']:.2f}"
    notes = [record["origin"]] if record["origin"] != "bitstream" else []
    if record["unread"]:
        notes.append("costly: unread" if record["unread"] == "costly" else "unread")
    elif record["coverage"] < 1:
        notes.append(f"{record['coverage']:.0%} known")
    kind = f"{record['slice_type']} key" if record["keyframe"] else record["slice_type"]
    return [
        str(record["number"]),
        when,
        kind,
        f"{record['bytes']:,}",
        f"{record['qp_mean']:.1f}",
        f"{record['skip_share']:.0%}",
        f"{record['inter_share']:.0%}",
        f"{record['intra_share']:.0%}",
        f"{record['motion_mean_px']:.2f}",
        f"{record['residual_rms']:.2f}",
        "[yellow]" + ", ".join(notes) + "[/]" if notes else "",
    ]


def _count(record: dict[str, Any]) -> Counter[str]:
    size = f"{record['codec']} {record['width']}x{record['height']}"
    return Counter({"pictures": 1, record["slice_type"]: 1, record["origin"]: 1, size: 1})


def _print_totals(totals: Counter[str], shown: int) -> None:
    count = totals.pop("pictures", 0)
    if not count:
        console.print("[yellow]no picture could be read[/]")
        return
    kinds = ", ".join(f"{totals.pop(kind)} {kind}" for kind in "IPB" if totals[kind])
    parsed = totals.pop("bitstream", 0)
    sizes = ", then ".join(name for name in totals if "x" in name)
    more = f"(the first {shown} are shown; --frames N shows more)  " if count > shown else ""
    console.print(
        f"{more}[bold]{count}[/] pictures, {sizes}: {kinds}; read without decoding: [bold]{parsed / count:.0%}[/]",
        highlight=False,
    )
