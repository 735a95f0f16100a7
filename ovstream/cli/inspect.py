"""`ovstream inspect`: what the codec says about every picture of a stream."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

from ovstream.cli.console import console
from ovstream.cli.drawing import heat_maps
from ovstream.pipeline import inspect as inspect_stream
from ovstream.types import BlockClass, FrameMetadata

_SHOWN = 40  # rows of the table unless more are asked for


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
    jsonl: Annotated[
        Path | None,
        typer.Option(help="Write a line per picture, flat (loads into Parquet).", show_default=False),
    ] = None,
    npz: Annotated[
        Path | None,
        typer.Option(help="Write the planes of all pictures as a NumPy archive.", show_default=False),
    ] = None,
) -> None:
    """Reads a stream's metadata without decoding it: a table, heat maps, exports."""
    records: list[dict[str, Any]] = []
    planes: dict[str, list[np.ndarray[Any, Any]]] = {
        "block_class": [],
        "qp": [],
        "residual_energy": [],
        "bit_cost": [],
    }
    if png is not None:
        png.mkdir(parents=True, exist_ok=True)
    shown = frames or _SHOWN
    table = _new_table()
    for number, frame in enumerate(islice(inspect_stream(url), frames)):
        record = as_record(number, frame)
        records.append(record)
        if number < shown:
            table.add_row(*_cells(record))
        if png is not None and number % every == 0:
            heat_maps(frame).save(png / f"frame-{number:05d}.png")
        if npz is not None:
            for name, found in planes.items():
                found.append(getattr(frame, name).copy())
    console.print(table)
    _totals(records, shown)
    if jsonl is not None:
        jsonl.write_text("".join(json.dumps(record) + "\n" for record in records))
        console.print(f"[dim]{len(records)} lines written to {jsonl}[/]", highlight=False)
    if npz is not None:
        stacked: dict[str, Any] = {name: np.stack(found) for name, found in planes.items()}
        np.savez_compressed(npz, **stacked)
        console.print(f"[dim]planes written to {npz}[/]", highlight=False)
    if png is not None:
        console.print(f"[dim]heat maps written to {png}/[/]", highlight=False)


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
        "bytes": frame.bits // 8,
        "qp_mean": round(float(frame.qp.mean()), 2),
        "skip_share": round(float(classes[BlockClass.SKIP]), 4),
        "inter_share": round(float(classes[BlockClass.INTER]), 4),
        "intra_share": round(float(classes[BlockClass.INTRA] + classes[BlockClass.PCM]), 4),
        "motion_mean_px": round(float(speed[used].mean()) if used.any() else 0.0, 3),
        "residual_rms": round(float(np.sqrt(frame.residual_energy.mean() / 256)), 3),
    }


def _new_table() -> Table:
    table = Table(header_style="dim", box=None)
    for name in (
        "#",
        "time",
        "type",
        "bytes",
        "QP",
        "skip",
        "inter",
        "intra",
        "motion px",
        "residual rms",
        "",
    ):
        table.add_column(name, justify="right")
    return table


def _cells(record: dict[str, Any]) -> list[str]:
    when = "-" if record["pts_seconds"] is None else f"{record['pts_seconds']:.2f}"
    notes = [record["origin"]] if record["origin"] != "bitstream" else []
    if record["coverage"] < 1:
        notes.append(f"{record['coverage']:.0%} known")
    kind = f"[bold]{record['slice_type']}[/] key" if record["keyframe"] else record["slice_type"]
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


def _totals(records: list[dict[str, Any]], shown: int) -> None:
    if not records:
        console.print("[yellow]no picture could be read[/]")
        return
    kinds = {kind: sum(one["slice_type"] == kind for one in records) for kind in "IPB"}
    parsed = sum(one["origin"] == "bitstream" for one in records)
    more = f"(the first {shown} are shown; --frames N shows more)  " if len(records) > shown else ""
    console.print(
        f"{more}[bold]{len(records)}[/] pictures, {records[0]['codec']} {records[0]['width']}x{records[0]['height']}: "
        + ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
        + f"; read without decoding: [bold]{parsed / len(records):.0%}[/]",
        highlight=False,
    )
