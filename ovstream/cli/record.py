"""`ovstream record` and `ovstream replay`: a stream without its pixels, written down and run again."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from ovstream.cli.console import console, error_console, run_until_stopped, savings_table, set_up_logging
from ovstream.config import PublishConfig, StreamConfig, stream_config
from ovstream.errors import ConfigError
from ovstream.pipeline import Outputs, Replay, Stream
from ovstream.sinks import Sink
from ovstream.types import Embedding


def record(
    url: Annotated[str, typer.Argument(help="rtsp:// URL, video file, or 'synthetic:'.")],
    file: Annotated[Path, typer.Argument(help="File to make, or an existing folder.")],
    seconds: Annotated[
        float | None, typer.Option(help="Record this long.", min=0.1, show_default="until Ctrl-C or the end")
    ] = None,
    depth: Annotated[
        Literal["plan", "all"],
        typer.Option(
            help="What the planner reads, or all that the bitstream says, at several times the size."
        ),
    ] = "plan",
    max_megabytes: Annotated[int, typer.Option(help="Size at which it ends.", min=1)] = 1000,
    stream_id: Annotated[str, typer.Option("--stream-id", help="Name in messages.")] = "stream",
    model: Annotated[
        str | None, typer.Option(help="Embedded model or model folder.", show_default="the embedded one")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log everything.")] = False,
) -> None:
    """Writes down what the bitstream says, what was planned and what the model answered. No picture is kept.

    The file replays a camera without its video: for finding out why something was or was not encoded, for tests, for
    trying other budgets.
    """
    set_up_logging(verbose=verbose)
    if file.is_file():
        raise ConfigError(f"{file} exists: choose another name")
    options: dict[str, Any] = {"record": {"path": str(file), "depth": depth, "max_megabytes": max_megabytes}}
    if model is not None:
        options["model"] = model
    config = stream_config(url, stream_id=stream_id, **options)
    run_until_stopped(_record(config, seconds))


async def _record(config: StreamConfig, seconds: float | None) -> None:
    stream, started = Stream(config), time.monotonic()
    try:
        async with stream:
            with _live("recorded {n:,} pictures, {seconds:.0f} s") as show:
                async for _ in stream:
                    elapsed = time.monotonic() - started
                    show(n=stream.stats.frames, seconds=elapsed)
                    if seconds is not None and elapsed >= seconds:
                        break
    finally:
        path = stream.recording
        if path is not None and stream.stats.units == 0:
            path.unlink(missing_ok=True)  # so that the name is free for the next try
            error_console.print("[dim]nothing was recorded[/]", highlight=False)
        elif path is not None and path.exists():
            size = path.stat().st_size
            rate = size / 1000 / max(time.monotonic() - started, 1e-9)
            console.print(
                f"[bold]{path}[/]: {stream.stats.frames:,} pictures, {size / 1e6:.2f} MB ({rate:.1f} kB/s of run time)",
                highlight=False,
            )
            console.print(f"[dim]run it again: ovstream replay {path}[/]", highlight=False)


def replay(
    file: Annotated[Path, typer.Argument(help="Recording, made by 'ovstream record'.")],
    publish: Annotated[
        str | None,
        typer.Option("--publish", "-p", help="ZeroMQ endpoint for the embeddings.", show_default=False),
    ] = None,
    keep_ratio: Annotated[
        float | None,
        typer.Option(help="Try another budget of patches.", min=0.001, max=1.0, show_default="recorded"),
    ] = None,
    max_flops: Annotated[
        float | None,
        typer.Option(help="Try another budget of operations.", min=0.001, show_default="recorded"),
    ] = None,
    sensitivity: Annotated[
        float | None, typer.Option(help="Try another sensitivity.", min=0.01, show_default="recorded")
    ] = None,
    realtime: Annotated[bool, typer.Option("--realtime", help="At the speed of the camera.")] = False,
) -> None:
    """Runs planner, scheduler and publisher again from a recording; no video and no model are needed.

    Without other options the embeddings must equal the recorded ones to the bit: the exit status is 1 when they do
    not. With other budgets, the cost is what it would have been, counted from what was looked at then.
    """
    tried = {"keep_ratio": keep_ratio, "max_flops": max_flops, "sensitivity": sensitivity}
    options = {name: value for name, value in tried.items() if value is not None}
    with Replay(file, **options) as run, contextlib.ExitStack() as stack:
        sinks = _sinks(run, publish, stack)
        total = same = 0
        for embeddings, equal in _paced(run, realtime=realtime):
            total, same = total + 1, same + equal
            for embedding in embeddings:
                for sink in sinks:
                    sink.publish(embedding)
        for sink in sinks:
            sink.end(run.config.stream_id)
        _tell(run, total, same, changed=bool(options))
    if not options and same < total:
        raise typer.Exit(1)


def _sinks(run: Replay, publish: str | None, stack: contextlib.ExitStack) -> list[Sink]:
    if publish is None:
        return []
    outputs = stack.enter_context(contextlib.closing(Outputs()))
    config = run.config.model_copy(update={"publish": PublishConfig(endpoint=publish)})
    sinks = outputs.of(config)
    for sink in sinks:
        sink.announce(run.config.stream_id, epoch=run.header.epoch, next_seq=run.header.next_seq)
    return sinks


def _paced(run: Replay, *, realtime: bool) -> Iterator[tuple[list[Embedding], bool]]:
    columns = (TextColumn("replaying"), BarColumn(), MofNCompleteColumn(), TextColumn("access units"))
    with Progress(*columns, console=error_console, transient=True) as progress:
        task = progress.add_task("", total=run.units)
        first: float | None = None
        started = time.monotonic()
        for done in run.run():
            seconds = None if done.unit is None else done.unit.pts_seconds
            if realtime and seconds is not None:
                first = seconds if first is None else first
                time.sleep(max(0.0, seconds - first - (time.monotonic() - started)))
            progress.advance(task)
            yield done.embeddings, done.same


def _tell(run: Replay, total: int, same: int, *, changed: bool) -> None:
    info, stats = run.header.model, run.stats
    console.print(
        f"[bold]{run.header.stream_id}[/]: {info.model_id} {info.digest}, mode {run.header.mode}",
        highlight=False,
    )
    console.print(savings_table(stats, title="What it took" if not changed else "What it would have taken"))
    if run.damaged:
        console.print(f"[yellow]the file is damaged behind this: {run.damaged}[/]", highlight=False)
    if changed:
        console.print(
            f"[dim]{run.guesses:,} answers are not in the recording: such patches count as changed[/]",
            highlight=False,
        )
    else:
        colour = "green" if same == total else "red"
        console.print(
            f"[{colour}]{same:,} of {total:,} access units gave the recorded embeddings to the bit[/]",
            highlight=False,
        )


@contextlib.contextmanager
def _live(text: str) -> Iterator[Any]:
    """A line that is written anew, on a terminal only."""
    if not error_console.is_terminal:
        yield lambda **values: None
        return
    with error_console.status("starting") as status:
        yield lambda **values: status.update(text.format(**values))
