"""`ovstream listen`: shows the embeddings that somebody publishes."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from ovstream.cli.console import console, run_until_stopped
from ovstream.cli.moments import parse_time
from ovstream.publish import Gap, Reset, Stale, Subscription, subscribe
from ovstream.sinks import as_json
from ovstream.types import Embedding, StreamEvent

_PATIENCE_SECONDS = 5.0  # a publisher gives a sign of life every second


def listen(
    endpoint: Annotated[str, typer.Argument(help="ZeroMQ endpoint, e.g. tcp://127.0.0.1:5555.")],
    stream: Annotated[
        list[str] | None, typer.Option("--stream", "-s", help="Only this stream; may be repeated.")
    ] = None,
    start: Annotated[
        str,
        typer.Option(
            help="live, last, oldest, a number, an age (90s, 10m, 2h, 7d) or a date (2026-05-01T12:30)."
        ),
    ] = "live",
    keys: Annotated[
        Path | None,
        typer.Option(help="Key file that the publisher allows; see 'ovstream keys'.", show_default=False),
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", "-n", help="Stop after this many.", min=1, show_default=False)
    ] = None,
    until_end: Annotated[
        bool, typer.Option("--until-end", help="Stop when the streams say that they ended.")
    ] = False,
    json_lines: Annotated[
        bool, typer.Option("--json", help="One JSON object per line, with the vector.")
    ] = False,
) -> None:
    """Prints embeddings as they arrive, a line each, and says which sequence numbers are missing."""
    subscription = subscribe(
        endpoint,
        streams=stream,
        start=_start(start),
        policy="lossless",
        keys=keys,
        until_end=until_end,
    )
    run_until_stopped(_listen(endpoint, subscription, count, json_lines))


def _start(text: str) -> str | int | timedelta:
    """Reads --start."""
    if text in ("live", "last", "oldest"):
        return text
    if text.isdigit():
        return int(text)
    now_ns = time.time_ns()
    return timedelta(microseconds=(now_ns - parse_time(text, now_ns)) / 1000)


async def _listen(endpoint: str, subscription: Subscription, count: int | None, json_lines: bool) -> None:
    async with subscription:
        waiting = asyncio.create_task(_say_when_silent(endpoint, subscription, quiet=json_lines))
        try:
            if not json_lines:
                console.print(f"[dim]listening on {endpoint}, Ctrl-C ends[/]", highlight=False)
            received = 0
            async for event in subscription:
                if not isinstance(event, Embedding):
                    if not json_lines:
                        _say(event)
                    continue
                print(as_json(event, vectors="list") if json_lines else as_line(event), flush=True)
                received += 1
                if received == count:
                    break
        finally:
            waiting.cancel()
            if not json_lines:
                _summary(subscription)


async def _say_when_silent(endpoint: str, subscription: Subscription, *, quiet: bool) -> None:
    """Says so once when nobody answers: a wrong address, a wrong key and a publisher that is away look the same."""
    await asyncio.sleep(_PATIENCE_SECONDS)
    stats = subscription.stats
    if not quiet and not (stats.received or stats.heartbeats or stats.invalid):
        console.print(
            f"[yellow]nothing heard from {escape(endpoint)} yet[/]: is the address right, does a publisher run there, does it "
            "allow this key? Waiting goes on.",
            highlight=False,
        )


def _summary(subscription: Subscription) -> None:
    stats = subscription.stats
    console.print(
        f"{stats.delivered:,} received, {stats.recovered:,} of them by asking again, [bold]{stats.lost:,} lost[/] in "
        f"{len(subscription.gaps)} gaps, {stats.invalid:,} not readable",
        highlight=False,
    )


def _say(event: Gap | Reset | Stale | StreamEvent) -> None:
    """Prints what is no embedding; details come from the network, so they are no markup."""
    match event:
        case Gap():
            what = "events" if event.channel == "s" else "missing"
            told = f"epoch {event.epoch}: {event.first} to {event.last} {what}, {event.reason}"
        case Reset():
            told = f"epoch {event.old_epoch} to {event.epoch}, " + (
                "numbers go on" if event.continues else f"numbers begin anew at {event.seq}"
            )
        case Stale():
            told = f"{event.age_seconds:.1f} s {event.reason}"
        case _:
            told = f"{event.kind}  {event.detail}"
    name = type(event).__name__.removeprefix("Stream").lower()
    style = "bold yellow" if isinstance(event, Gap) else "cyan"
    console.print(f"[{style}]{name}[/]  {escape(event.stream_id)} {escape(told)}", highlight=False)


def as_line(embedding: Embedding) -> str:
    """One line for people."""
    when = "      -" if embedding.pts_seconds is None else f"{embedding.pts_seconds:7.2f}"
    rows, cols = embedding.grid
    age_ms = (time.time_ns() - embedding.publish_time_ns) / 1e6
    return (
        f"{embedding.stream_id} {embedding.seq:<6d} {when} s  {embedding.kind:6s} "
        f"{embedding.action:6s} {int(embedding.changed.sum()):4d}/{rows * cols} patches  "
        f"{embedding.vector.shape[-1]} numbers  {age_ms:6.1f} ms old  {embedding.reason}"
        + ("" if embedding.trained else "  [untrained]")
    )
