"""`ovstream eval`: how well a model tells your own pictures and clips apart, beside simpler features."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from ovstream.cli.bars import bar_of
from ovstream.cli.console import console, error_console, model_line
from ovstream.encode import load_encoder
from ovstream.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from ovstream.training.evaluation import Evaluation
    from ovstream.training.extractors import Extractor
    from ovstream.training.measures import Score
    from ovstream.training.readout import Readout

SHOWN_UNREAD = 5
COLUMNS = {
    "kNN": "named by its nearest files of other groups",
    "probe": "named by a linear probe that has not seen its group",
    "same clip": "the nearest other picture comes from the same clip",
    "same moment": "the nearest other picture of the clip is next in time",
}


def evaluate(
    data: Annotated[
        Path,
        typer.Argument(
            help="Folder whose sub-folders are classes, of pictures or clips; or a table: path TAB label [TAB group].",
            exists=True,
        ),
    ],
    model: Annotated[str, typer.Option(help="Embedded model or model folder.")] = "ov-nano",
    against: Annotated[
        str,
        typer.Option(help="What to compare with, separated by commas: raw, hog, untrained, or ONNX files."),
    ] = "raw",
    readout: Annotated[
        str, typer.Option(help="What is taken of the model: scene, layout (tokens of 4 x 4 parts), or both.")
    ] = "scene",
    k: Annotated[int, typer.Option("--neighbours", "-k", help="Neighbours that vote.", min=1)] = 5,
    samples: Annotated[int, typer.Option(help="Pictures of each clip.", min=1)] = 8,
    pictures: Annotated[int, typer.Option(help="Pictures of each clip that are looked at.", min=2)] = 150,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Judges a model on labelled pictures and clips of yours; needs the extra 'training'.

    Files of one group never help each other: give clips of the same camera the same group in a table, else a nearest
    neighbour finds the camera, not what happens. Errors are standard errors over groups.

    ovstream eval recordings/
    ovstream eval labels.tsv --against raw,hog,untrained --readout both
    ovstream eval labels.tsv --model mine/model --against teacher.onnx --json
    """
    try:
        from ovstream.training.evaluation import evaluate as judge
        from ovstream.training.labelled import read_labelled
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "sklearn", extra="training") from None
    items = read_labelled(data)
    encoder = load_encoder(model)
    extractors = [*_own(model, readout), *_others(model, against)]
    with bar_of("looking", on=error_console, transient=True) as bar:
        task = bar.add_task("", total=len(items), note="")
        found = judge(
            items,
            extractors,
            encoder,
            k=k,
            samples=samples,
            most=pictures,
            progress=lambda done: bar.update(task, completed=done),
        )
    if as_json:
        typer.echo(json.dumps(_plain(dataclasses.asdict(found)), indent=1))
        return
    console.print(model_line(encoder.info), highlight=False)
    _show(found, k)


def _own(model: str, readout: str) -> list[Extractor]:
    from ovstream.training.extractors import Eye, ModelFeatures

    wanted: dict[str, list[Readout]] = {"scene": ["scene"], "layout": ["layout"], "both": ["scene", "layout"]}
    if readout not in wanted:
        raise ConfigError(f"--readout {readout}: must be one of {', '.join(wanted)}")
    eye = Eye(load_encoder(model, probes=0))
    return [ModelFeatures(eye, readout=one) for one in wanted[readout]]


def _others(model: str, against: str) -> list[Extractor]:
    from ovstream.training.extractors import Eye, Hog, ModelFeatures, OnnxFeatures, RawPixels, untrained_like

    found: list[Extractor] = []
    for name in dict.fromkeys(part.strip() for part in against.split(",") if part.strip()):
        if name == "raw":
            found.append(RawPixels())
        elif name == "hog":
            found.append(Hog())
        elif name == "untrained":
            found.append(ModelFeatures(Eye(untrained_like(model)), name="untrained"))
        elif name.lower().endswith(".onnx"):
            found.append(OnnxFeatures(Path(name)))
        else:
            raise ConfigError(f"--against {name}: must be raw, hog, untrained, or an ONNX file")
    return found


def _show(found: Evaluation, k: int) -> None:
    console.print(
        f"{found.items:,} files, {found.classes:,} classes, {found.groups:,} groups; naming the largest class "
        f"always would score {found.chance:.1%}",
        highlight=False,
    )
    measures = [name for name in COLUMNS if any(name in scores for scores in found.scores.values())]
    table = Table(box=None, header_style="dim", padding=(0, 3, 0, 0))
    table.add_column("features")
    for name in measures:
        table.add_column(f"{k}-NN" if name == "kNN" else name, justify="right")
    for number, (name, scores) in enumerate(found.scores.items()):
        cells = [_cell(scores.get(measure)) for measure in measures]
        table.add_row(f"[bold]{escape(name)}[/]" if number == 0 else escape(name), *cells)
    console.print(table)
    for name in measures:
        console.print(f"[dim]{f'{k}-NN' if name == 'kNN' else name}: {COLUMNS[name]}[/]", highlight=False)
    for name, reason in found.left_out.items():
        console.print(f"[yellow]no {name}:[/] {escape(reason)}", highlight=False)
    if found.fidelity is not None:
        near = found.fidelity
        console.print(
            f"incremental against whole passes, {near.clips} clips: cosine {near.cosine:.4f}, FVU "
            f"{near.unexplained:.3f} at {near.flops:.1%} of the operations",
            highlight=False,
        )
    if found.unread:
        console.print(f"[yellow]{len(found.unread)} files gave nothing:[/]", highlight=False)
        for path, reason in found.unread[:SHOWN_UNREAD]:
            console.print(f"  {escape(path)}: {escape(reason)}", highlight=False)


def _cell(score: Score | None) -> str:
    if score is None:
        return "-"
    return (
        f"{score.value:.1%}"
        if math.isnan(score.error)
        else f"{score.value:.1%} [dim]± {100 * score.error:.1f}[/]"
    )


def _plain(value: object) -> object:
    """Without NaN, which JSON does not know."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value
