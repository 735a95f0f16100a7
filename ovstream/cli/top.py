"""`ovstream top`: a running service as a live table."""

from __future__ import annotations

import contextlib
import time
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ovstream.cli.asking import ask
from ovstream.cli.console import console
from ovstream.errors import ConfigError

_COLOURS = {"live": "green", "waiting": "yellow", "starting": "yellow", "failed": "red"}
_BARS = " ▁▂▃▄▅▆▇█"


def top(
    address: Annotated[str, typer.Argument(help="Of the service.")] = "http://127.0.0.1:8080",
    token: Annotated[
        str,
        typer.Option(
            help="Bearer token; better in the environment.", envvar="OVSTREAM_TOKEN", show_default=False
        ),
    ] = "",
    once: Annotated[bool, typer.Option("--once", help="Print the table once, and end.")] = False,
    interval: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.2)] = 1.0,
) -> None:
    """Shows the streams of a running `ovstream serve`: what lives, what moves, what it costs. Ctrl-C ends it.

    skip, sparse and dense are shares of the last ten seconds; CPU is of one core; late is the median from the arrival
    of a picture to its embedding.
    """
    if once:
        console.print(_table(ask(address, "/api/service", token), ask(address, "/api/streams", token)))
        return
    shown = _table(ask(address, "/api/service", token), ask(address, "/api/streams", token))
    with (
        contextlib.suppress(KeyboardInterrupt),
        Live(shown, console=console, screen=console.is_terminal, auto_refresh=False) as live,
    ):
        while True:
            live.refresh()
            time.sleep(interval)
            try:
                shown = _table(ask(address, "/api/service", token), ask(address, "/api/streams", token))
                live.update(shown)
            except ConfigError as error:  # it may be back at the next look: what was seen stays
                live.update(Group(Text(str(error), style="bold red"), shown))


def _table(service: dict[str, Any], streams: list[dict[str, Any]]) -> Group:
    head = Text.from_markup(
        f"[bold]{service['live']} of {service['streams']}[/] live   CPU [bold]{service['cpu']:.2f}[/] of "
        f"{service['cores']:g} cores   memory [bold]{service['memory_bytes'] / 2**20:.0f} MB[/]   "
        f"degraded {service['degraded']}"
        + (f"   [yellow]{service['overload']:.0%} too much to do[/]" if service["overload"] else "")
    )
    table = Table(header_style="dim", box=None, pad_edge=False)
    for name in (
        "stream",
        "state",
        "fps",
        "activity",
        "",
        "skip",
        "sparse",
        "dense",
        "CPU",
        "late",
        "fidelity",
        "",
    ):
        table.add_column(name, justify="left" if name in ("stream", "state", "") else "right")
    for one in streams:
        table.add_row(*_row(one))
    parts: list[RenderableType] = [head, Text(), table]
    if service["sinks"]:
        parts += [Text(), _sink_table(service["sinks"])]
    return Group(*parts)


def _sink_table(sinks: list[dict[str, Any]]) -> Table:
    table = Table(header_style="dim", box=None, pad_edge=False)
    for name in ("sink", "sent", "failed", "dropped", "waiting", "spooled"):
        table.add_column(name, justify="left" if name == "sink" else "right")
    for one in sinks:
        table.add_row(
            f"[bold]{escape(one['name'])}[/]",
            str(one["sent"]),
            *(f"[red]{one[name]}[/]" if one[name] else "0" for name in ("failed", "dropped")),
            f"[yellow]{one['waiting']}[/]" if one["waiting"] else "0",
            f"{one['waiting_bytes'] / 2**20:.1f} MB",
        )
    return table


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    colour = _COLOURS.get(one["state"], "dim")
    activity = one["activity"].get("", 0.0)
    late, fidelity = one["latency"]["p50"], one["fidelity"]
    notes = [one["detail"], ", ".join(one["conditions"]), ", ".join(one["active_rules"])]
    if one["level"]:
        notes.append(f"degraded to level {one['level']}")
    return (
        f"[bold]{escape(one['id'])}[/]",
        f"[{colour}]{one['state']}[/]",
        f"{one['fps']:.1f}",
        f"{activity:.1%}",
        f"[cyan]{_BARS[min(round(activity * 16), 8)]}[/]",
        *(f"{one['shares'][name]:.0%}" if one["fps"] else "-" for name in ("skip", "sparse", "dense")),
        f"{sum(one['cpu'].values()):.1%}",
        "-" if late is None else f"{1000 * late:.0f} ms",
        "-" if fidelity is None else f"{fidelity:.4f}",
        f"[yellow]{escape('; '.join(note for note in notes if note))}[/]",
    )
