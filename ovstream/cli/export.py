"""`ovstream export`: an official checkpoint becomes a model folder that needs no torch."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ovstream.cli.console import console


class Weights(StrEnum):
    """Choices of --weights."""

    FLOAT32 = "float32"
    INT8 = "int8"


def export(
    checkpoint: Annotated[Path, typer.Argument(help="Folder with config.json and *.safetensors.")],
    out: Annotated[Path, typer.Argument(help="Model folder to write.")],
    model_id: Annotated[
        str | None, typer.Option(help="Name in messages.", show_default="name of the folder")
    ] = None,
    weights: Annotated[Weights, typer.Option(help="How weights are stored.")] = Weights.FLOAT32,
) -> None:
    """Exports a OneVision-Encoder checkpoint to ONNX and checks the result; needs the extra 'torch'."""
    from ovstream.model import OneVisionEncoder
    from ovstream.model.export import export_model

    with console.status("reading the checkpoint"):
        model = OneVisionEncoder.from_pretrained(checkpoint)
    with console.status("writing and checking the graphs"):
        info = export_model(
            model, out, model_id=model_id or checkpoint.resolve().name, weights=weights.value, trained=True
        )
    console.print(f"[bold]{info.model_id}[/] {info.digest} written to {out}", highlight=False)
    console.print(f"try it: ovstream run synthetic: --model {out}", highlight=False)
