"""`ovstream discover`: cameras in the local network."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from ovstream.cli.console import console, error_console, run_until_stopped
from ovstream.sources.discovery import discover as find_cameras


def discover(
    seconds: Annotated[
        float, typer.Option("--seconds", "-s", help="How long to wait for answers.", min=0.2, max=60)
    ] = 3.0,
    interface: Annotated[
        str, typer.Option(help="Our address in the cameras' network, when there are several networks.")
    ] = "0.0.0.0",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Asks the local network for ONVIF cameras (WS-Discovery, UDP port 3702).

    A camera answers with its address and model; the path of its stream stands in its manual or its web page. Try it
    with [bold]ovstream probe rtsp://USER:PASSWORD@ADDRESS/PATH[/].
    """
    found = run_until_stopped(find_cameras(seconds=seconds, interface=interface))
    if found is None:  # Ctrl-C
        raise typer.Exit(130)
    if as_json:
        typer.echo(json.dumps([asdict(camera) for camera in found], indent=2))
        return
    if not found:
        error_console.print(
            "No camera answered. Discovery does not pass routers and many containers' networks, and some cameras "
            "have it switched off.",
            highlight=False,
        )
        return
    table = Table(box=None, header_style="dim")
    for name in ("address", "name", "model", "location", "service"):
        table.add_column(name, overflow="fold")
    for camera in found:
        cells = (camera.address, camera.name, camera.hardware, camera.location, camera.services[0])
        table.add_row(*map(escape, cells))
    console.print(table)
