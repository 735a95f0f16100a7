"""`ovstream config`: the configuration file, described and checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ovstream.cli.console import console
from ovstream.config import file_schema, load_config

config = typer.Typer(help="Describe and check configuration files.", no_args_is_help=True)


@config.command()
def schema() -> None:
    """Prints the JSON Schema of the file, for editors.

    ovstream config schema > ovstream.schema.json, then as the first line of the YAML file:
    # yaml-language-server: $schema=ovstream.schema.json
    """
    typer.echo(json.dumps(file_schema(), indent=2))


@config.command()
def check(
    file: Annotated[Path, typer.Argument(help="YAML file.", exists=True, dir_okay=False)],
) -> None:
    """Reads a file as `run` and `serve` do, and says in which lines something is wrong."""
    found = load_config(file, may_be_empty=True)
    names = ", ".join(stream.stream_id for stream in found.streams) or "none yet"
    console.print(f"{file}: good. Streams: {names}", highlight=False, markup=False)
