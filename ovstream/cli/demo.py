"""`ovstream demo`: the whole way of the data on one machine, with nothing to configure."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ovstream.cli.console import console, model_line, run_until_stopped, savings_table, set_up_logging
from ovstream.cli.drawing import Tile, contact_sheet, draw_motion, highlight, shrink
from ovstream.config import PRIVATE, stream_config
from ovstream.pipeline import FrameTrace, Stream, StreamStats
from ovstream.publish import Publisher, Subscription, subscribe
from ovstream.sources import redact_url
from ovstream.types import Embedding, FloatArray, ModelInfo

_TILES = 9
_TILE_WIDTH = 400
_GRACE_SECONDS = 1.0
_LISTENER_SECONDS = 30.0
_SETTLE_SECONDS = 0.3  # a subscriber needs a moment to join


@dataclass(slots=True)
class _Album:
    """Collects one drawn picture per equal span of the clip."""

    seconds: float
    tiles: dict[int, Tile] = field(default_factory=dict)
    _start: float | None = None
    _parsed: int = 0
    _decoded: int = 0

    def observe(self, trace: FrameTrace) -> None:
        """Draws a picture when its span has none yet; the first picture always gets its own."""
        self._parsed += 1
        self._decoded += trace.picture is not None
        now = trace.frame.pts_seconds or 0.0
        self._start = now if self._start is None else self._start
        at = now - self._start
        slot = 0 if not self.tiles else 1 + int(at / self.seconds * (_TILES - 1))
        if slot in self.tiles or trace.picture is None or not trace.encoded.any():
            return
        rgb = shrink(trace.picture.to_rgb(), _TILE_WIDTH)
        drawn = draw_motion(highlight(rgb, trace.encoded), trace.frame, scale=_TILE_WIDTH / trace.frame.width)
        count, total = int(trace.encoded.sum()), trace.encoded.size
        title = f"{at:5.2f} s   {count} of {total} patches   {trace.plan.reason}"
        detail = f"so far {self._decoded} of {self._parsed} pictures decoded"
        self.tiles[slot] = Tile(drawn, title, detail)


@dataclass(slots=True)
class _Heard:
    """What came back over ZeroMQ."""

    count: int = 0
    first: Embedding | None = None
    last: Embedding | None = None
    similarity: float = 1.0

    @property
    def seconds(self) -> float:
        """Presentation time heard so far."""
        if self.first is None or self.last is None:
            return 0.0
        return (self.last.pts_seconds or 0.0) - (self.first.pts_seconds or 0.0)

    async def listen(self, subscription: Subscription) -> None:
        async for embedding in subscription.embeddings():
            self.first = self.first or embedding
            if self.last is not None:
                self.similarity = _cosine(self.last.vector, embedding.vector)
            self.count, self.last = self.count + 1, embedding


def demo(
    seconds: Annotated[float, typer.Option(help="Length of the clip.", min=2, max=40)] = 12.0,
    out: Annotated[Path, typer.Option(help="Folder for the contact sheet.")] = Path("ovstream-demo"),
    url: Annotated[
        str | None,
        typer.Option(help="A file or camera instead of the embedded one.", show_default="embedded camera"),
    ] = None,
) -> None:
    """Shows the whole way: an embedded camera, its bitstream, the patches that changed, embeddings over ZeroMQ.

    Ends by itself in under a minute, with what was saved and a contact sheet (PNG).
    """
    set_up_logging(verbose=False)
    source = url or f"synthetic:?width=640&height=360&fps=25&seconds={seconds:g}&rest=0.5"
    run_until_stopped(_demo(source, seconds, out, endless=url is not None))


async def _demo(url: str, seconds: float, out: Path, *, endless: bool) -> None:
    album, heard = _Album(seconds), _Heard()
    publisher = Publisher("tcp://127.0.0.1:*")
    try:
        stream = Stream(
            stream_config(url, stream_id="demo", pace="realtime", **PRIVATE),
            sinks=[publisher],
            observe=album.observe,
        )
        subscription = subscribe(publisher.endpoint, policy="lossless", until_end=True)
        async with subscription, stream:
            console.print(f"[dim]camera[/]     {escape(redact_url(url))}", highlight=False)
            console.print(f"[dim]model[/]      {model_line(stream.model)}", highlight=False)
            console.print(f"[dim]publishing[/] {publisher.endpoint}, and listening to it", highlight=False)
            listener = asyncio.create_task(heard.listen(subscription))
            await asyncio.sleep(_SETTLE_SECONDS)
            await _watch(stream, heard, seconds, endless=endless)
            await stream.aclose()
            with contextlib.suppress(TimeoutError):  # a slow machine: what is missing is told below
                await asyncio.wait_for(listener, timeout=_LISTENER_SECONDS)
            model, stats, lost = stream.model, stream.stats, subscription.stats.lost
    finally:
        publisher.close()
    console.print(savings_table(stats, title="\nWhat it took"))
    baseline = await _everything(url, stats.frames)
    _compare(stats, baseline)
    _received(stats, heard, lost, model)
    _save(album, stats, out)


async def _watch(stream: Stream, heard: _Heard, seconds: float, *, endless: bool) -> None:
    """Follows the stream to its end on a live display; one that may have none, for `seconds`."""
    limit = time.monotonic() + seconds + _GRACE_SECONDS if endless else math.inf
    with Live(console=console, refresh_per_second=10, transient=True) as live:
        async for _ in stream:
            live.update(_display(stream.stats, heard, seconds))
            if time.monotonic() > limit:
                break


def _display(stats: StreamStats, heard: _Heard, seconds: float) -> Group:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(justify="right", style="dim")
    grid.add_column(width=40)
    grid.add_column(justify="right")
    last = heard.last
    grid.add_row("clip", ProgressBar(total=seconds, completed=heard.seconds), f"{heard.seconds:.1f} s")
    for name, share in (("decoded", stats.decoded_ratio), ("patches encoded", stats.encoded_ratio)):
        grid.add_row(name, ProgressBar(total=1, completed=share), f"{share:.1%}")
    if last is None:
        return Group("", grid)
    line = Text.assemble(
        ("embedding ", "dim"),
        f"#{last.seq} ",
        (f"{last.action:6s} ", "bold"),
        f"{int(last.changed.sum()):3d} patches, {last.reason}; cosine to the one before {heard.similarity:.5f}",
    )
    return Group("", grid, line)


async def _everything(url: str, pictures: int) -> StreamStats:
    """As many pictures the usual way: each decoded, and every patch of it encoded."""
    with console.status("the same clip the usual way: decode every picture, encode every patch ..."):
        async with Stream(
            stream_config(url, stream_id="baseline", everything=True, pace="fast", **PRIVATE)
        ) as stream:
            async for _ in stream:
                if stream.stats.frames >= pictures:
                    break
            return stream.stats


def _compare(ours: StreamStats, usual: StreamStats) -> None:
    table = Table(title="\nCPU seconds of one core", title_justify="left", title_style="bold", box=None)
    table.header_style = "dim"
    stages = list(dict.fromkeys(stage for stats in (ours, usual) for stage in stats.cpu_seconds))
    for name in ["", *stages, "sum", "per picture"]:
        table.add_column(name, justify="right" if name else "left")
    for name, stats in (("ovstream", ours), ("everything, always", usual)):
        spent = [stats.cpu_seconds.get(stage, 0.0) for stage in stages]
        each = sum(spent) / max(stats.frames, 1) * 1000
        table.add_row(name, *(f"{one:.2f}" for one in spent), f"[bold]{sum(spent):.2f}[/]", f"{each:.2f} ms")
    console.print(table)
    per = [sum(one.cpu_seconds.values()) / max(one.frames, 1) for one in (ours, usual)]
    if per[0] > 0:
        console.print(
            f"[bold green]{per[1] / per[0]:.1f} times less CPU[/] for the same pictures", highlight=False
        )


def _received(stats: StreamStats, heard: _Heard, lost: int, model: ModelInfo) -> None:
    console.print(
        f"\n{heard.count:,} of {stats.embeddings:,} embeddings came back over ZeroMQ, {lost} lost; "
        f"each {model.dim} numbers",
        highlight=False,
    )


def _save(album: _Album, stats: StreamStats, out: Path) -> None:
    if not album.tiles:
        console.print("[yellow]no picture was encoded: nothing to draw[/]")
        return
    sheet = contact_sheet(
        [album.tiles[slot] for slot in sorted(album.tiles)],
        title="Bright: patches that were encoded. Dark: kept from the cache. Lines: motion told by the codec.",
        subtitle=(
            f"{stats.frames} pictures, {stats.decoded_ratio:.0%} decoded, "
            f"{stats.encoded_ratio:.1%} of the patches encoded"
        ),
    )
    out.mkdir(parents=True, exist_ok=True)
    path = out / "contact-sheet.png"
    sheet.save(path)
    console.print(f"contact sheet: [bold]{path}[/]", highlight=False)


def _cosine(a: FloatArray, b: FloatArray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b) + 1e-12))
