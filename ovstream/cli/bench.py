"""`ovstream bench`: how many cameras will this box carry."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlencode

import typer
from rich.progress import Progress
from rich.table import Table

from ovstream.cli.bench_plot import draw
from ovstream.cli.console import console
from ovstream.config import stream_config
from ovstream.errors import ConfigError
from ovstream.pipeline import StreamStats, StreamWorker, encoder_of
from ovstream.service.usage import available_cores
from ovstream.sources.synthetic import make_units, parse_options
from ovstream.types import AccessUnit

_SCENES = {
    "quiet": {"objects": 0, "noise": 2.0},
    "usual": {"objects": 3, "noise": 2.0, "rest": 0.7, "speed": 4.0},
    "busy": {"objects": 8, "noise": 2.0, "speed": 6.0},
}
_FILL = 0.8
"""Of the cores: more, and pictures come late."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one camera takes, in cores.

    Attributes:
        scene: Its name.
        ours: Stage -> cores.
        usual: Decoding every picture and encoding every patch with the same model.
    """

    scene: str
    ours: dict[str, float]
    usual: float

    @property
    def total(self) -> float:
        """Of all stages."""
        return sum(self.ours.values())


def bench(
    size: Annotated[str, typer.Option(help="Of the pictures.")] = "1280x720",
    fps: Annotated[int, typer.Option(help="Pictures per second of a camera.", min=1, max=60)] = 15,
    seconds: Annotated[int, typer.Option(help="Of every scene.", min=2, max=120)] = 10,
    model: Annotated[str, typer.Option(help="Embedded model, or folder.")] = "ov-nano",
    codec: Annotated[str, typer.Option(help="h264, h265 or vp8.")] = "h264",
    png: Annotated[
        Path | None, typer.Option(help="Draw the answer into this file.", show_default=False)
    ] = None,
) -> None:
    """Tells how many cameras this box will carry, from what one quiet, usual and busy camera costs on one core.

    The cameras are made here: a textured scene with sensor noise and moving objects, encoded before the clock runs.
    Each is taken through all stages, from compressed pictures to embeddings, and then the usual way: decoding every
    picture and encoding every patch with the same model. Receiving from a network is not in it (a few percent).
    """
    if (found := re.fullmatch(r"(\d+)x(\d+)", size)) is None:
        raise ConfigError(f"--size {size}: give WIDTHxHEIGHT, for example 1280x720")
    width, height = found.groups()
    config = stream_config("bench", model=model)
    encoder = encoder_of(config.encode)
    costs = []
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("", total=2 * len(_SCENES))
        for name, scene in _SCENES.items():
            progress.update(task, description=f"{name}: making the camera")
            options = {
                "width": width,
                "height": height,
                "fps": fps,
                "seconds": seconds,
                "codec": codec,
                "gop": 4 * fps,
                **scene,
            }
            units = make_units(parse_options(f"synthetic:?{urlencode(options)}"))
            progress.update(task, description=f"{name}: our way", advance=1)
            ours = _run(
                units, StreamWorker(config, encoder=encoder, stats=(stats := StreamStats())), stats, fps
            )
            progress.update(task, description=f"{name}: the usual way", advance=1)
            everything = stream_config("bench", model=model, everything=True, max_flops=1e9)
            few = units[: max(len(units) // 4, 2 * fps)]
            worker = StreamWorker(everything, encoder=encoder, stats=(stats := StreamStats()))
            usual = _run(few, worker, stats, fps)
            costs.append(Cost(name, ours, sum(usual.values())))
    _show(costs, size=size, fps=fps)
    if png is not None:
        draw(png, {one.scene: one.ours for one in costs}, cores=available_cores(), fill=_FILL)
        console.print(f"drawn: {png}", highlight=False)


def _run(units: list[AccessUnit], worker: StreamWorker, stats: StreamStats, fps: int) -> dict[str, float]:
    """Cores per stage; what is not in a stage (Python between them) is "rest"."""
    for unit in units[:fps]:  # the first second: caches fill, memory is taken
        worker.process(unit)
    before, start = dict(stats.cpu_seconds), time.thread_time()
    for unit in units[fps:]:
        worker.process(unit)
    total = time.thread_time() - start
    worker.close()
    length = (len(units) - fps) / fps
    stages = {stage: (used - before.get(stage, 0.0)) / length for stage, used in stats.cpu_seconds.items()}
    return {**stages, "rest": max(total / length - sum(stages.values()), 0.0)}


def _show(costs: list[Cost], *, size: str, fps: int) -> None:
    cores = available_cores()
    table = Table(
        header_style="dim", box=None, title=f"One camera, {size}, {fps} pictures/s", title_justify="left"
    )
    for name in ("scene", "of a core", "usual way", "saved", f"cameras on {cores:g} cores", "the usual way"):
        table.add_column(name, justify="left" if name == "scene" else "right")
    for one in costs:
        table.add_row(
            one.scene,
            f"{one.total:.1%}",
            f"{one.usual:.1%}",
            f"{one.usual / one.total:.1f} times",
            f"[bold]{int(_FILL * cores / one.total)}[/]",
            f"{int(_FILL * cores / one.usual)}",
        )
    console.print(table)
    console.print(
        f"[dim]At {_FILL:.0%} of all cores. Other work on this machine makes the figures worse: run it alone.[/]",
        highlight=False,
    )
