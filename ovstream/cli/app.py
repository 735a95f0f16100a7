"""The verbs of the command line: each lives in a module of its own, imported when the verb is called.

So `ovstream --help` waits for no library of a verb, and no verb for those of another.
"""

from __future__ import annotations

import importlib
import inspect as reflection
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final

import typer
import typer.core
import typer.main

from ovstream import __version__

_MARKUP: Final = "rich"


@dataclass(frozen=True, slots=True)
class Verb:
    """What the list of verbs tells about one.

    Attributes:
        home: Module and name of the function, or of the Typer with verbs of its own.
        summary: One line; what `ovstream VERB --help` says stands at the function.
    """

    home: str
    summary: str


PANELS: dict[str, dict[str, Verb]] = {
    "Look": {
        "demo": Verb("demo:demo", "Shows the whole way of the data, with nothing to configure."),
        "doctor": Verb("doctor:doctor", "Checks the installation, or a running service."),
        "discover": Verb("discover:discover", "Asks the local network for ONVIF cameras."),
        "probe": Verb("probe:probe", "Says what a camera sends, and what to change in its settings."),
        "inspect": Verb("inspect:inspect", "Reads a stream's metadata without decoding it."),
        "bench": Verb("bench:bench", "Tells how many cameras this box will carry."),
    },
    "Run": {
        "run": Verb("run:run", "Turns cameras into embeddings and publishes them."),
        "listen": Verb("listen:listen", "Prints embeddings as they arrive."),
        "serve": Verb("serve:serve", "Runs the cameras of a file as a service, with a page."),
        "top": Verb("top:top", "Shows the streams of a running service."),
        "config": Verb("config:config", "Describes and checks configuration files."),
        "keys": Verb("keys:keys", "Makes keys and says who may listen to a publisher."),
    },
    "Keep": {
        "record": Verb("record:record", "Writes down metadata, plans and embeddings; no picture is kept."),
        "replay": Verb("record:replay", "Runs again from a recording, without video and model."),
        "search": Verb("search:search", "Finds the kept moments that are most like something."),
    },
    "Models": {
        "train": Verb("train:train", "Trains a small model on your own clips, without labels."),
        "adapt": Verb("adapt:adapt", "Adapts a model to your own cameras, keeping no picture."),
        "eval": Verb("eval:evaluate", "Judges a model on labelled pictures and clips of yours."),
        "export": Verb("export:export", "Exports a OneVision-Encoder checkpoint to ONNX."),
    },
}
VERBS = {name: verb for verbs in PANELS.values() for name, verb in verbs.items()}

app = typer.Typer(
    name="ovstream",
    help="""Understand live video at the edge without paying for pixels.

Start with [bold]ovstream demo[/]: an embedded camera and model, nothing to configure. \
Then [bold]ovstream run rtsp://camera/stream --publish tcp://127.0.0.1:5555[/] in one terminal, \
[bold]ovstream listen tcp://127.0.0.1:5555[/] in another.""",
    no_args_is_help=True,
    rich_markup_mode=_MARKUP,
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


def load_command(name: str) -> Any:
    """Imports a verb.

    Returns:
        Its click command, with the options.
    """
    module, _, attribute = VERBS[name].home.partition(":")
    verb = getattr(importlib.import_module(f"ovstream.cli.{module}"), attribute)
    group = typer.Typer(rich_markup_mode=_MARKUP)
    if isinstance(verb, typer.Typer):
        group.add_typer(verb, name=name)
    else:
        group.command(name, help=_help(verb))(verb)
    return typer.main.get_group(group).commands[name]


class _Late(typer.core.TyperCommand):
    """Stands in the list for a verb, and hands over to it when called."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        assert self.name is not None
        return load_command(self.name).make_context(info_name, args, parent, **extra)


def _help(verb: Callable[..., Any]) -> str:
    """The docstring with each paragraph on one line, for the terminal to wrap; lists of commands stay lists."""
    paragraphs = [one.splitlines() for one in reflection.cleandoc(verb.__doc__ or "").split("\n\n")]
    commands = [all(line.startswith("ovstream ") for line in lines) for lines in paragraphs]
    return "\n\n".join(
        ("\n" if listed else " ").join(lines) for lines, listed in zip(paragraphs, commands, strict=True)
    )


for panel, verbs in PANELS.items():
    for name, verb in verbs.items():
        app.command(name, cls=_Late, help=verb.summary, rich_help_panel=panel)(lambda: None)
