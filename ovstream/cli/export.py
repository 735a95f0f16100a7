"""`ovstream export`: an official checkpoint becomes a model folder that needs no torch."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ovstream.cli.console import console
from ovstream.encode import Mode, load_encoder
from ovstream.errors import MissingExtraError


class Weights(StrEnum):
    """Choices of --weights."""

    FLOAT32 = "float32"
    INT8 = "int8"


def export(
    checkpoint: Annotated[
        str, typer.Argument(help="Folder with config.json and *.safetensors, or owner/name on the model hub.")
    ],
    out: Annotated[Path, typer.Argument(help="Model folder to write.")],
    model_id: Annotated[
        str | None, typer.Option(help="Name in messages.", show_default="name of the checkpoint's folder")
    ] = None,
    weights: Annotated[Weights, typer.Option(help="How weights are stored.")] = Weights.FLOAT32,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit on the hub.")] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Only what the hub's cache holds already.")
    ] = False,
) -> None:
    """Exports a OneVision-Encoder checkpoint to ONNX and checks the result; needs the extra 'torch'."""
    try:
        from ovstream.model import OneVisionEncoder
        from ovstream.model.export import STAGES, export_model
    except ImportError as error:
        raise MissingExtraError(error.name or "torch", extra="torch") from None
    modes: tuple[Mode, ...] = ("exact", "fast")
    errors: dict[Mode, float] = {}
    columns = (BarColumn(30), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        work = bar.add_task("reading the checkpoint", total=1 + len(STAGES) + len(modes))

        def begin(stage: str) -> None:
            bar.update(work, advance=1, description=stage)

        model = OneVisionEncoder.from_pretrained(checkpoint, revision=revision, offline=offline)
        name = model_id or Path(checkpoint).resolve().name
        folder = export_model(model, out, model_id=name, weights=weights.value, trained=True, on_stage=begin)
        for mode in modes:
            begin(f"checking mode {mode}")
            errors[mode] = load_encoder(out, mode=mode).golden_error
    console.print(f"[bold]{folder.model_id}[/] {folder.digest} written to {out}", highlight=False)
    for mode, missed in errors.items():
        console.print(
            f"  {mode:5s}  off torch by {missed:.1e} of the distance between two different pictures",
            highlight=False,
        )
    console.print(f"try it: ovstream run synthetic: --model {out}", highlight=False)
