"""`ovstream discover`: cameras in the local network, and what they offer."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
from rich.markup import escape
from rich.table import Table

from ovstream.cli.console import console, error_console, run_until_stopped
from ovstream.config import stream_config
from ovstream.errors import SourceError
from ovstream.sources.credentials import credentials
from ovstream.sources.discovery import FoundCamera
from ovstream.sources.discovery import discover as find_cameras
from ovstream.sources.onvif import Profile, profiles, service_url
from ovstream.sources.urls import parse_url, redact_url

Answer = list[Profile] | SourceError
Answers = list[tuple[str, Answer]]  # by service
_AT_ONCE = 8


def discover(
    seconds: Annotated[
        float, typer.Option("--seconds", "-s", help="How long to wait for answers.", min=0.2, max=60)
    ] = 3.0,
    interface: Annotated[
        str, typer.Option(help="Our address in the cameras' network, when there are several networks.")
    ] = "0.0.0.0",
    with_profiles: Annotated[
        bool, typer.Option("--profiles", help="Ask each camera for its streams, too (extra 'onvif').")
    ] = False,
    camera: Annotated[
        list[str] | None,
        typer.Option(
            help="Ask this camera for its streams, not the network: address, or URL of its ONVIF service."
        ),
    ] = None,
    username: Annotated[
        str | None, typer.Option(help="Of the cameras; or OVSTREAM_SOURCE__USERNAME.")
    ] = None,
    password_file: Annotated[
        Path | None, typer.Option(help="Its first line is the password; or OVSTREAM_SOURCE__PASSWORD.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Asks the local network for ONVIF cameras (WS-Discovery, UDP port 3702).

    A camera answers with its address and model. With [bold]--profiles[/] each is asked for its streams: codec, size, rate,
    and the URL to give to [bold]ovstream probe[/] and [bold]ovstream run[/]. Most cameras want a user for that:
    [bold]ovstream discover --profiles --username admin[/] asks for the password. It is shown nowhere and does not
    travel: cameras get a digest of it. Anybody in the network can answer, though: where you do not trust all of them, name
    the cameras with [bold]--camera[/].
    """
    user, password = _credentials(username, password_file) if with_profiles or camera else (None, None)

    async def look() -> tuple[list[FoundCamera], Answers]:
        found = [] if camera else await find_cameras(seconds=seconds, interface=interface)
        services = [service_url(one) for one in camera] if camera else [_own_service(one) for one in found]
        if not camera and not with_profiles:
            return found, []
        return found, await _ask_all(services, user, password)

    looked = run_until_stopped(look())
    if looked is None:  # Ctrl-C
        raise typer.Exit(130)
    found, answers = looked
    if as_json:
        typer.echo(json.dumps(_as_json(found, answers), indent=2))
    else:
        _show(found, answers)
    if camera and all(isinstance(answer, SourceError) for _, answer in answers):
        raise typer.Exit(1)


def _credentials(username: str | None, password_file: Path | None) -> tuple[str | None, str | None]:
    options: dict[str, Any] = {} if username is None else {"username": username}
    if password_file is not None:
        options["password_file"] = str(password_file)
    user, password = credentials(stream_config("onvif:", **options).source, parse_url(""))
    if user and password is None and os.isatty(0):
        password = typer.prompt(f"Password of {user}", hide_input=True, err=True)
    return user, password


async def _ask_all(services: Sequence[str], username: str | None, password: str | None) -> Answers:
    """Profiles by service; one camera that does not answer costs the others nothing."""
    places = asyncio.Semaphore(_AT_ONCE)

    async def ask(service: str) -> Answer:
        async with places:
            try:
                return await profiles(service, username=username, password=password)
            except SourceError as error:
                return error

    return list(zip(services, await asyncio.gather(*map(ask, services)), strict=True))


def _own_service(camera: FoundCamera) -> str:
    """The service at the address that answered, if it is among those that the camera names."""
    own = (url for url in camera.services if urlsplit(url).hostname == camera.address)
    return next(own, camera.services[0])


def _as_json(found: list[FoundCamera], answers: Answers) -> list[dict[str, Any]]:
    cameras = [asdict(one) for one in found] or [
        {"services": [redact_url(service)]} for service, _ in answers
    ]
    for one, (_, answer) in zip(cameras, answers, strict=False):
        if isinstance(answer, SourceError):
            one["error"] = {"kind": type(answer).__name__, "message": str(answer)}
        else:
            one["profiles"] = [asdict(profile) for profile in answer]
    return cameras


def _show(found: list[FoundCamera], answers: Answers) -> None:
    if not found and not answers:
        error_console.print(
            "No camera answered. Discovery does not pass routers and many containers' networks, and some cameras "
            "have it switched off.",
            highlight=False,
        )
        return
    if not answers:
        console.print(_cameras(found))
        return
    titles = [f"[bold]{escape(_title(one))}[/]" for one in found] or [
        f"[bold]{escape(redact_url(service))}[/]" for service, _ in answers
    ]
    for title, (_, answer) in zip(titles, answers, strict=True):
        console.print(title, highlight=False)
        if isinstance(answer, SourceError):
            console.print(f"  [red]{escape(str(answer))}[/]", highlight=False)
        elif not answer:
            console.print("  it has no profile", highlight=False)
        else:
            _show_profiles(answer)


def _cameras(found: list[FoundCamera]) -> Table:
    table = Table(box=None, header_style="dim")
    for name in ("address", "name", "model", "location", "service"):
        table.add_column(name, overflow="fold")
    for camera in found:
        cells = (camera.address, camera.name, camera.hardware, camera.location, camera.services[0])
        table.add_row(*map(escape, cells))
    return table


def _title(camera: FoundCamera) -> str:
    return "  ".join(part for part in (camera.address, camera.name, camera.hardware, camera.location) if part)


def _show_profiles(offered: list[Profile]) -> None:
    """The URL stands on a line of its own, whole, so that it can be copied."""
    for one in offered:
        told = (
            one.codec,
            f"{one.width}x{one.height}" if one.width else "",
            f"{one.fps:g} pictures/s" if one.fps else "",
            f"{one.kbps} kbit/s" if one.kbps else "",
            f"keyframe every {one.gop}" if one.gop else "",
        )
        console.print(
            f"  {escape(one.name)}: {escape(', '.join(part for part in told if part))}", highlight=False
        )
        console.print(f"    {escape(one.url)}", highlight=False, soft_wrap=True)
