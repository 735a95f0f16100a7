"""`ovstream listen`: shows the embeddings that somebody publishes."""

from __future__ import annotations

import json
import time
from typing import Annotated

import typer

from ovstream.cli.console import console, run_until_stopped
from ovstream.publish import Gap, Subscription, subscribe
from ovstream.types import Embedding


def listen(
    endpoint: Annotated[str, typer.Argument(help="ZeroMQ endpoint, e.g. tcp://127.0.0.1:5555.")],
    stream: Annotated[
        list[str] | None, typer.Option("--stream", "-s", help="Only this stream; may be repeated.")
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", "-n", help="Stop after this many.", min=1, show_default=False)
    ] = None,
    until_end: Annotated[
        bool, typer.Option("--until-end", help="Stop when the streams say that they ended.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object per line, with the vector.")
    ] = False,
) -> None:
    """Prints embeddings as they arrive, a line each, and says which sequence numbers are missing."""
    run_until_stopped(_listen(endpoint, stream, count, until_end, as_json))


async def _listen(
    endpoint: str, streams: list[str] | None, count: int | None, until_end: bool, as_json: bool
) -> None:
    subscription = subscribe(
        endpoint,
        streams=streams,
        policy="lossless",
        until_end=until_end,
        on_gap=_say_gap if not as_json else None,
    )
    async with subscription:
        try:
            if not as_json:
                console.print(f"[dim]listening on {endpoint}, Ctrl-C ends[/]", highlight=False)
            received = 0
            async for embedding in subscription:
                print(json.dumps(as_record(embedding)) if as_json else as_line(embedding), flush=True)
                received += 1
                if received == count:
                    break
        finally:
            if not as_json:
                _summary(subscription)


def _summary(subscription: Subscription) -> None:
    stats = subscription.stats
    console.print(
        f"{stats.received:,} received, [bold]{stats.lost:,} lost[/] in {len(subscription.gaps)} gaps, "
        f"{stats.invalid:,} not readable",
        highlight=False,
    )


def _say_gap(gap: Gap) -> None:
    console.print(
        f"[bold yellow]gap[/]  {gap.stream_id} epoch {gap.epoch}: {gap.first} to {gap.last} missing",
        highlight=False,
    )


def as_line(embedding: Embedding) -> str:
    """One line for people."""
    when = "      -" if embedding.pts_seconds is None else f"{embedding.pts_seconds:7.2f}"
    rows, cols = embedding.grid
    age_ms = (time.time_ns() - embedding.publish_time_ns) / 1e6
    return (
        f"{embedding.stream_id} {embedding.epoch}:{embedding.seq:<6d} {when} s  {embedding.kind:6s} "
        f"{embedding.action:6s} {int(embedding.changed.sum()):4d}/{rows * cols} patches  "
        f"{embedding.vector.shape[-1]} numbers  {age_ms:6.1f} ms old  {embedding.reason}"
        + ("" if embedding.trained else "  [untrained]")
    )


def as_record(embedding: Embedding) -> dict[str, object]:
    """One object for programs."""
    return {
        "stream_id": embedding.stream_id,
        "epoch": embedding.epoch,
        "seq": embedding.seq,
        "pts_seconds": embedding.pts_seconds,
        "capture_time_ns": embedding.capture_time_ns,
        "publish_time_ns": embedding.publish_time_ns,
        "kind": embedding.kind,
        "action": embedding.action,
        "reason": embedding.reason,
        "grid": list(embedding.grid),
        "changed": embedding.changed.nonzero()[0].size,
        "model": f"{embedding.model_id}@{embedding.model_digest}",
        "trained": embedding.trained,
        "counters": embedding.counters,
        "vector": [round(float(x), 6) for x in embedding.vector.ravel()],
    }
