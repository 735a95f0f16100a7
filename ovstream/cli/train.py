"""`ovstream train`: clips and pictures become a model folder."""

from __future__ import annotations

import dataclasses
import math
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ovstream.cli.bars import bar_of
from ovstream.cli.console import console
from ovstream.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from ovstream.model.encoder import OneVisionEncoder
    from ovstream.training.fit import Trainer
    from ovstream.training.packs import History
    from ovstream.training.peers import Peers
    from ovstream.training.recipe import Recipe

SHOWN_SKIPPED = 5
GPU_STEPS = 10  # between looks at the losses, for which a GPU waits


def train(
    data: Annotated[
        Path,
        typer.Option(
            help="Folder of clips and pictures, or of packs; or a text file that names clips, pictures and folders.",
            exists=True,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for packs, checkpoints and the model.")],
    teacher: Annotated[
        Path | None,
        typer.Option(
            help="ONNX feature extractor: normalised RGB (B, 3, H, W) in.", show_default="the model itself"
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", "--recipe", help="YAML or JSON of options: docs/training.md.", show_default="nano"
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option("--from", help="Begin with this model: its folder, or ov-nano.", show_default="random"),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Updates of the weights.", min=1, show_default="of the recipe")
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            help="Stop after so long, to go on with --resume.", min=0.0, show_default="until it is done"
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in OUT.")] = False,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    compiled: Annotated[
        bool | None,
        typer.Option("--compile/--no-compile", help="Compile the layers first.", show_default="on cuda"),
    ] = None,
) -> None:
    """Trains a small model on your own clips and pictures, without labels; needs the extra 'training'.

    Collects data (clips run through the codec parser as cameras do), trains along update histories, and exports
    OUT/model for 'ovstream run --model'. After Ctrl-C, the same command with --resume goes on from the last checkpoint.
    Several GPUs: torchrun --nproc-per-node 4 -m ovstream train ... --device cuda.
    """
    try:
        from ovstream.training.bank import load_bank
        from ovstream.training.fit import CHECKPOINT_NAME, Trainer
        from ovstream.training.packs import SOURCES_NAME, read_histories
        from ovstream.training.peers import Peers
        from ovstream.training.teachers import OnnxTeacher
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "torch", extra="training") from None
    run = out / "run"
    packs = data if (data / SOURCES_NAME).exists() else out / "data"
    if (run / CHECKPOINT_NAME).exists() and not resume:
        raise ConfigError(f"{out} holds a run: go on with --resume, or name another --out")
    if resume and not (run / CHECKPOINT_NAME).exists():
        raise ConfigError(f"{out} holds no checkpoint to resume: leave --resume out")
    on_gpu = device.startswith("cuda")
    peers, device = Peers.join(device)
    console.quiet = console.quiet or not peers.first
    if packs != data and peers.first:
        _collect(data, packs)
    peers.told(None)  # the others wait for the packs
    histories = list(read_histories(packs))
    chosen = _recipe(config, run, histories, resume=resume)
    if steps is not None:
        chosen = dataclasses.replace(chosen, steps=steps)
    trainer = Trainer(
        chosen,
        load_bank(packs),
        run,
        teacher=OnnxTeacher(teacher, device=device) if teacher is not None else None,
        histories=histories,
        start=_start(start) if start else None,
        device=device,
        compiled=on_gpu if compiled is None else compiled,
        peers=peers,
    )
    with console.status("preparing") as status:
        trainer.prepare(status.update)
    done = _run(trainer, peers, every=GPU_STEPS if on_gpu else 1, minutes=minutes)
    if peers.first:
        _report(run, len(trainer.bank.photos) + len(trainer.bank.sprites), len(histories))
        if done:
            _export(trainer, out / "model")
        else:
            console.print(f"stopped after step {trainer.step} of {trainer.recipe.steps}: --resume goes on")
    peers.leave()


def _collect(data: Path, packs: Path) -> None:
    from ovstream.training.collect import collect
    from ovstream.training.packs import SOURCES_NAME

    if (packs / SOURCES_NAME).exists():
        console.print(f"data: as collected in {packs}", highlight=False)
        return
    with bar_of("reading files") as bar:
        task = bar.add_task("", total=None, note="")
        found = collect(
            data, packs, progress=lambda done, total: bar.update(task, completed=done, total=total)
        )
    console.print(
        f"data: {found.pictures:,} pictures, {found.clips:,} clips, {len(found.skipped):,} files skipped",
        highlight=False,
    )
    for name, reason in found.skipped[:SHOWN_SKIPPED]:
        console.print(f"  [dim]{name}: {reason}[/]", highlight=False)


def _recipe(path: Path | None, run: Path, histories: list[History], *, resume: bool) -> Recipe:
    """The given one, or that of the run, or the default one on the grids of the data."""
    from ovstream.training.fit import RECIPE_NAME
    from ovstream.training.recipe import Recipe, read_recipe

    if resume:
        return read_recipe(run / RECIPE_NAME)
    if path is not None:
        return read_recipe(path)
    usual = Recipe()
    fitting = [history.grid for history in histories if history.grid[0] * history.grid[1] < usual.versions]
    common = [grid for grid, _ in Counter(fitting).most_common(1)]
    return dataclasses.replace(usual, grids=tuple(dict.fromkeys([usual.grids[0], *common])))


def _start(name: str) -> OneVisionEncoder:
    """The model to begin with, from a folder or embedded."""
    from ovstream.encode.load import EMBEDDED
    from ovstream.model.encoder import OneVisionEncoder

    embedded = EMBEDDED / name
    return OneVisionEncoder.from_pretrained(embedded if embedded.is_dir() else Path(name), offline=True)


def _run(trainer: Trainer, peers: Peers, *, every: int, minutes: float | None) -> bool:
    """Whether the run came to its end."""
    end = math.inf if minutes is None else time.monotonic() + 60 * minutes
    with bar_of("training") as bar:
        task = bar.add_task("", total=trainer.recipe.steps, completed=trainer.step, note="")
        for log in trainer.run(every=every):
            bar.update(task, completed=int(log["step"]), note=f"loss {log['loss']:.3f}")
            if peers.told(time.monotonic() > end) and trainer.step < trainer.recipe.steps:
                trainer.save()
                return False
    return True


def _report(run: Path, pictures: int, histories: int) -> None:
    from ovstream.training.fit import LOG_NAME, RECIPE_NAME
    from ovstream.training.report import write_report

    page = write_report(
        run, log=run / LOG_NAME, recipe=run / RECIPE_NAME, pictures=pictures, histories=histories
    )
    console.print(f"how it went: {page}", highlight=False)


def _export(trainer: Trainer, folder: Path) -> None:
    from ovstream.model.export import export_model

    with console.status("exporting"):
        made = export_model(
            trainer.average.model.cpu(),
            folder,
            model_id=folder.parent.resolve().name,
            trained=True,
            licence="of whoever trained it",
        )
    console.print(f"[bold]{made.model_id}[/] {made.digest} written to {folder}", highlight=False)
    console.print(f"try it: ovstream run synthetic: --model {folder}", highlight=False)
