"""`ovstream adapt`: a model learns to keep up with cameras of one's own; no picture is kept."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import shutil
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from ovstream.cli.bars import bar_of
from ovstream.cli.console import console
from ovstream.config import StreamConfig, load_config
from ovstream.errors import ConfigError, MissingExtraError, TrainingError
from ovstream.sources import redact_url

if TYPE_CHECKING:
    from ovstream.model.folder import ModelFolder
    from ovstream.training.adapt import Adapter
    from ovstream.training.gain import Gain
    from ovstream.training.stretches import Reservoir

MOST_JUDGED = 32


class OnStop(StrEnum):
    """Choices of --on-stop."""

    ADAPT = "adapt"
    DISCARD = "discard"


def adapt(
    out: Annotated[Path, typer.Option(help="Folder; gets the adapted model as OUT/model.")],
    source: Annotated[
        list[str] | None,
        typer.Option(help="As of 'ovstream run': rtsp://, whip://, file ... Repeat it for several cameras."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="YAML file of 'ovstream run': cameras with masks, passwords ..."),
    ] = None,
    hours: Annotated[
        float,
        typer.Option(help="How long to watch, from the first picture on; files end by themselves.", min=0.0),
    ] = 2.0,
    model: Annotated[str, typer.Option(help="Embedded model or model folder to begin with.")] = "ov-nano",
    steps: Annotated[int, typer.Option(help="Updates of the weights.", min=1)] = 200,
    minutes: Annotated[float, typer.Option(help="Most time for them.", min=0.01)] = 20.0,
    keep: Annotated[
        int, typer.Option(help="Most stretches held in memory, about 0.2 MB each.", min=8, max=10_000)
    ] = 256,
    on_stop: Annotated[OnStop, typer.Option(help="What Ctrl-C while watching means.")] = OnStop.ADAPT,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with weights that Ctrl-C left.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write the model even if it is no better.")] = False,
    seed: Annotated[int, typer.Option(help="Of what is kept and drawn.")] = 0,
) -> None:
    """Adapts a model to your own cameras, without labels and without keeping pictures; needs the extra 'training'.

    Watches the cameras as 'ovstream run' does. Of the patches that the codec says have changed, a fair sample of short
    stretches stays in memory; nothing of them is ever written, and they are overwritten at the end. Then the model
    learns from them to say the same of patches that come bit by bit as of the whole picture, with what it was before
    as the anchor. It is judged on stretches kept from the training; a model that is no better is not written.

    ovstream adapt --source rtsp://camera/stream --hours 2 --out mine
    ovstream run rtsp://camera/stream --model mine/model

    Masks of a configuration hold here as well: what lies under one is grey before anything is kept.

    Ctrl-C while watching ends the watching; Ctrl-C while learning saves the weights in OUT, and the same command with
    --resume watches again and does the steps that are left.
    """
    try:
        from ovstream.training.adapt import STATE_NAME, Adapter, AdaptOptions
        from ovstream.training.gain import judge
        from ovstream.training.stretches import Reservoir
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "torch", extra="training") from None
    from ovstream.encode.load import find_model
    from ovstream.model.encoder import OneVisionEncoder
    from ovstream.model.folder import ModelFolder

    if (out / STATE_NAME).exists() is not resume:
        told = (
            "holds a run: go on with --resume, or name another" if not resume else "holds no run to resume:"
        )
        raise ConfigError(f"{out} {told} --out")
    cameras: list[str | StreamConfig] = [*(source or ()), *(load_config(config).streams if config else ())]
    if not cameras:
        raise ConfigError("give cameras: --source URL, or --config FILE")
    folder = find_model(model)
    manifest = ModelFolder.read(folder)
    original = OneVisionEncoder.from_pretrained(folder, offline=True)
    no_core_dumps()
    reservoir = Reservoir(most=keep, seed=seed)
    try:
        stopped = _watch(cameras, reservoir, model=folder, seconds=3600 * hours)
        if stopped and on_stop is OnStop.DISCARD:
            console.print("stopped: what was seen is forgotten, nothing was written")
            raise typer.Exit(130)
        if not reservoir.held_out:
            raise TrainingError(
                f"{reservoir.offered} stretches: the streams changed too little; watch longer"
            )
        out.mkdir(parents=True, exist_ok=True)
        options = AdaptOptions(steps=steps, minutes=minutes, seed=seed)
        adapter = Adapter(original, manifest, reservoir.training, options, out)
        _learn(adapter)
        with console.status("judging"):
            gain = judge(original, adapter.average.model, manifest, reservoir.held_out[:MOST_JUDGED])
    finally:
        reservoir.forget()
    (out / STATE_NAME).unlink(missing_ok=True)
    _show(gain)
    if gain.trouble and not force:
        console.print(f"[yellow]not written:[/] {gain.trouble} (--force writes it all the same)")
        raise typer.Exit(1)
    _export(adapter, out / "model", manifest)


def no_core_dumps() -> None:
    """What is in memory shall not be written when the process crashes."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _watch(cameras: list[str | StreamConfig], reservoir: Reservoir, *, model: Path, seconds: float) -> bool:
    """Whether it was stopped before its time."""
    from ovstream.training.watch import watch

    for camera in cameras:
        url = camera.url if isinstance(camera, StreamConfig) else camera
        console.print(f"[dim]watching[/] {escape(redact_url(url))}", highlight=False)
    with bar_of("watching", counted=False) as bar:
        task = bar.add_task("", total=seconds, note="")

        def progress(elapsed: float) -> None:
            note = (
                "waiting for a picture"
                if not elapsed
                else (
                    f"{reservoir.offered:,} stretches, {len(reservoir.training) + len(reservoir.held_out):,} kept"
                )
            )
            bar.update(task, completed=min(elapsed, seconds), note=note)

        try:
            failed = asyncio.run(watch(cameras, reservoir, model=model, seconds=seconds, progress=progress))
        except KeyboardInterrupt:
            return True
    for url, why in failed.items():
        console.print(f"[yellow]{escape(redact_url(url))}:[/] {escape(why)}", highlight=False)
    return False


def _learn(adapter: Adapter) -> None:
    with bar_of("learning", counted=False) as bar:
        task = bar.add_task("", total=1.0, note="")
        try:
            for log in adapter.run():
                note = f"step {int(log['step'])}, loss {log['loss']:.3f}"
                bar.update(task, completed=min(1.0, log["done"]), note=note)
        except KeyboardInterrupt:
            adapter.save()
            console.print(f"saved after step {adapter.step}: --resume watches again and goes on")
            raise typer.Exit(130) from None
    adapter.save()


def _show(gain: Gain) -> None:
    table = Table(box=None, header_style="dim", padding=(0, 3, 0, 0))
    for name in ("", "FVU of the tokens", "cosine of the scenes"):
        table.add_column(name, justify="left" if not name else "right")
    for name, found in (("before", gain.before), ("adapted", gain.after)):
        table.add_row(name, f"{found.unexplained:.4f}", f"{found.cosine:.5f}")
    console.print(
        f"incremental against whole passes, {gain.stretches} stretches kept from the training, both at "
        f"{gain.share:.1%} of the patches:",
        highlight=False,
    )
    console.print(table)
    console.print(
        f"nearer on {gain.better} of {gain.stretches}; whole pictures: cosine to the original {gain.agreement:.4f}, "
        f"variance {gain.spread:.2f} of the original's",
        highlight=False,
    )


def _export(adapter: Adapter, folder: Path, manifest: ModelFolder) -> None:
    from ovstream.model.export import export_model

    partial = folder.with_name(folder.name + ".partial")
    with console.status("exporting"):
        made = export_model(
            adapter.average.model,
            partial,
            model_id=folder.parent.resolve().name,
            trained=manifest.trained,
            licence=f"that of {manifest.model_id}, {manifest.digest}, from which it was adapted: {manifest.licence}",
            max_tokens=manifest.max_tokens,
            mean=manifest.mean,
            std=manifest.std,
        )
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)
    os.replace(partial, folder)
    console.print(f"[bold]{made.model_id}[/] {made.digest} written to {folder}", highlight=False)
    console.print(f"try it: ovstream run SOURCE --model {folder}", highlight=False)
