"""The verbs of the command line; each lives in a file of its own."""

from __future__ import annotations

import inspect as reflection
from collections.abc import Callable
from typing import Annotated, Any

import typer

from ovstream import __version__
from ovstream.cli.adapt import adapt
from ovstream.cli.bench import bench
from ovstream.cli.config import config
from ovstream.cli.demo import demo
from ovstream.cli.discover import discover
from ovstream.cli.doctor import doctor
from ovstream.cli.eval import evaluate
from ovstream.cli.export import export
from ovstream.cli.inspect import inspect
from ovstream.cli.keys import keys
from ovstream.cli.listen import listen
from ovstream.cli.probe import probe
from ovstream.cli.record import record, replay
from ovstream.cli.run import run
from ovstream.cli.search import search
from ovstream.cli.serve import serve
from ovstream.cli.top import top
from ovstream.cli.train import train

app = typer.Typer(
    name="ovstream",
    help="""Understand live video at the edge without paying for pixels.

Start with [bold]ovstream demo[/]: an embedded camera and model, nothing to configure. \
Then [bold]ovstream run rtsp://camera/stream --publish tcp://127.0.0.1:5555[/] in one terminal, \
[bold]ovstream listen tcp://127.0.0.1:5555[/] in another.""",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ovstream {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Takes the options that stand before the verb."""


def _help(verb: Callable[..., Any]) -> str:
    """The docstring with each paragraph on one line, for the terminal to wrap; lists of commands stay lists."""
    paragraphs = [one.splitlines() for one in reflection.cleandoc(verb.__doc__ or "").split("\n\n")]
    commands = [all(line.startswith("ovstream ") for line in lines) for lines in paragraphs]
    return "\n\n".join(
        ("\n" if listed else " ").join(lines) for lines, listed in zip(paragraphs, commands, strict=True)
    )


for verb in (
    demo, discover, probe, run, serve, top, listen, inspect, record, replay, search, bench, export, train, adapt,
    doctor,
):  # fmt: skip
    app.command(help=_help(verb))(verb)
app.command("eval", help=_help(evaluate))(evaluate)
app.add_typer(config, name="config")
app.add_typer(keys, name="keys")
