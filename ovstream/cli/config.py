"""`ovstream config`: the configuration file, described and checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ovstream.cli.console import console
from ovstream.config import RunConfig, StreamConfig, file_schema, load_config
from ovstream.errors import ConfigError

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
    """Reads a file as `run` and `serve` do, and says in which lines something is wrong.

    Nothing is opened: neither cameras nor models, sockets and places of results.
    """
    found = load_config(file, may_be_empty=True)
    problems = [f"{file}: {problem}" for problem in _problems(found)]
    if problems:
        raise ConfigError("\n".join(problems))
    names = ", ".join(stream.stream_id for stream in found.streams) or "none yet"
    console.print(f"{file}: good. Streams: {names}", highlight=False, markup=False)


def _problems(found: RunConfig) -> Iterator[str]:
    """What would be refused later, when streams and the service start."""
    from ovstream.service.security import check_door

    checks: list[tuple[str, Callable[[], object]]] = [("service", partial(check_door, found.service.http))]
    for stream in found.streams:
        checks += [(f"stream '{stream.stream_id}'", one) for one in _checks(stream)]
    for name, one in checks:
        try:
            one()
        except ConfigError as error:
            yield from (f"{name}: {line}" for line in str(error).splitlines())


def _checks(stream: StreamConfig) -> Iterator[Callable[[], object]]:
    from ovstream.publish.binding import bind_address
    from ovstream.sinks import check_sink
    from ovstream.sources import open_source

    if not stream.url.startswith("whip:"):  # takes publishers: its port is the service's affair
        yield partial(open_source, stream.url, config=stream.source)
    publish = stream.publish
    if publish.endpoint is not None:
        guarded = publish.keys is not None
        yield partial(bind_address, publish.endpoint, guarded=guarded, allow_insecure=publish.allow_insecure)
    yield from (partial(check_sink, one) for one in stream.sinks)
