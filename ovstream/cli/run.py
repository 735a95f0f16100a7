"""`ovstream run`: cameras in, embeddings out, until stopped."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from ovstream.cli.console import (
    LogFormat,
    console,
    error_console,
    model_line,
    run_until_stopped,
    savings_table,
    set_up_logging,
    trouble_line,
)
from ovstream.config import SinkConfig, StreamConfig, load_config, stream_config
from ovstream.errors import ConfigError
from ovstream.pipeline import Outputs, Stream, encoder_of

_REPORT_SECONDS = 10.0
_GOOD_NEWS = ("connected", "ended", "params", "recovered")


class Mode(StrEnum):
    """Choices of --mode."""

    FAST = "fast"
    EXACT = "exact"
    DENSE = "dense"


class Pace(StrEnum):
    """Choices of --pace."""

    REALTIME = "realtime"
    FAST = "fast"


def run(
    url: Annotated[
        str | None,
        typer.Argument(
            help="rtsp://, whip://, whep+https:// or other URL, video file, or 'synthetic:' (an embedded camera).",
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="YAML file with one or many streams.", show_default=False),
    ] = None,
    publish: Annotated[
        str | None,
        typer.Option(
            "--publish", "-p", help="ZeroMQ endpoint, e.g. tcp://127.0.0.1:5555.", show_default=False
        ),
    ] = None,
    stream_id: Annotated[
        str | None, typer.Option("--stream-id", help="Name in messages.", show_default="stream")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Embedded model or model folder.", show_default="ov-nano")
    ] = None,
    mode: Annotated[Mode | None, typer.Option(help="How to encode.", show_default="fast")] = None,
    keep_ratio: Annotated[
        float | None,
        typer.Option(help="Most patches per picture, as a share.", min=0.001, max=1.0, show_default="0.125"),
    ] = None,
    pace: Annotated[
        Pace | None, typer.Option(help="Speed of files.", show_default="realtime with --publish, else fast")
    ] = None,
    loop: Annotated[bool, typer.Option("--loop", help="Play files for ever.")] = False,
    jsonl: Annotated[
        Path | None, typer.Option(help="Write every embedding to this file, a line each.", show_default=False)
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log everything.")] = False,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log as JSON lines.")] = False,
) -> None:
    """Turns cameras into embeddings and publishes them; Ctrl-C or SIGTERM ends it cleanly.

    Passwords may stand in the URL (percent-encoded) or in OVSTREAM_SOURCE__PASSWORD; they are never shown.

    whip://127.0.0.1:8080/cam1 takes publishers over WebRTC: open http://127.0.0.1:8080/publish there. For other
    machines listen on 0.0.0.0, with a token in OVSTREAM_SOURCE__TOKEN.
    """
    log_format: LogFormat = "json" if log_json else "console"
    set_up_logging(verbose=verbose, log_format=log_format)
    options: dict[str, Any] = {
        "stream_id": stream_id,
        "endpoint": publish,
        "model": model,
        "mode": mode and mode.value,
        "keep_ratio": keep_ratio,
        "pace": pace.value if pace else "realtime" if publish and url else None,
        "loop": loop or None,
    }
    given = {name: value for name, value in options.items() if value is not None}
    configs = _streams(url, config, given)
    failures = run_until_stopped(_run([_with_jsonl(one, jsonl) for one in configs]))
    if failures and len(configs) == 1:
        raise next(iter(failures.values()))
    if failures:
        raise typer.Exit(1)


def _streams(url: str | None, config: Path | None, options: dict[str, Any]) -> list[StreamConfig]:
    if (url is None) == (config is None):
        raise ConfigError("give either a URL or --config FILE (see 'ovstream run --help')")
    if url is not None:
        return [stream_config(url, **options)]
    if options:
        raise ConfigError(f"with --config, these belong into the file: {', '.join(sorted(options))}")
    assert config is not None
    return [_patient(one) for one in load_config(config).streams]


def _patient(config: StreamConfig) -> StreamConfig:
    """Cameras of a file are tried for ever, unless the file says otherwise: one may be off at the start."""
    if "keep_trying" in config.source.model_fields_set:
        return config
    return config.model_copy(update={"source": config.source.model_copy(update={"keep_trying": True})})


def _with_jsonl(config: StreamConfig, path: Path | None) -> StreamConfig:
    """The same stream, with its embeddings in that file too."""
    if path is None:
        return config
    return config.model_copy(
        update={"sinks": (*config.sinks, SinkConfig.model_validate({"type": "jsonl", "path": path}))}
    )


@dataclass(slots=True)
class _Fleet:
    """The streams of this process, and what is known about each beside its counters."""

    streams: list[Stream]
    started: float = field(default_factory=time.monotonic)
    failures: dict[str, Exception] = field(default_factory=dict)
    news: dict[str, str] = field(default_factory=dict)


async def _run(configs: list[StreamConfig]) -> dict[str, Exception]:
    """Runs all streams to their ends; returns the errors of those that failed."""
    encoders = {
        one.encode: await asyncio.to_thread(encoder_of, one.encode)
        for one in {one.encode: one for one in configs}.values()
    }
    with Outputs() as outputs:
        streams = [Stream(one, encoder=encoders[one.encode], outputs=outputs) for one in configs]
        fleet = _Fleet(streams)
        report = asyncio.create_task(_report(fleet))
        try:
            async with asyncio.TaskGroup() as group:
                for stream in streams:
                    group.create_task(_one(stream, fleet))
        finally:
            report.cancel()
            await asyncio.gather(report, return_exceptions=True)
            _summary(fleet)
    return fleet.failures


async def _one(stream: Stream, fleet: _Fleet) -> None:
    """Runs one stream; its failure must not end the others."""
    name = stream.config.stream_id
    news = asyncio.create_task(_follow(stream, fleet))
    try:
        async with stream:
            await stream.run()
    except Exception as error:  # also an unexpected one: the stream has logged it
        fleet.failures[name] = error
        fleet.news[name] = f"failed: {error}"
        if len(fleet.streams) > 1 and console.is_terminal:
            error_console.print(f"[bold red]{name}[/]  {escape(str(error))}", highlight=False)
    finally:
        news.cancel()
        await asyncio.gather(news, return_exceptions=True)


async def _follow(stream: Stream, fleet: _Fleet) -> None:
    """Keeps the latest trouble of a stream for the display; without a terminal, prints it."""
    async for event in stream.events():
        fleet.news[event.stream_id] = "" if event.kind in _GOOD_NEWS else f"{event.kind}: {event.detail}"
        if not console.is_terminal and event.kind not in _GOOD_NEWS:
            line = f"{event.stream_id}: {event.kind}: {event.detail}"
            error_console.print(line, soft_wrap=True, highlight=False, markup=False)


async def _report(fleet: _Fleet) -> None:
    if not console.is_terminal:
        while True:
            await asyncio.sleep(_REPORT_SECONDS)
            for stream in fleet.streams:
                console.print(_plain_line(stream, fleet), soft_wrap=True, highlight=False, markup=False)
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        while True:
            live.update(_live_table(fleet))
            await asyncio.sleep(0.25)


def _plain_line(stream: Stream, fleet: _Fleet) -> str:
    stats = stream.stats
    fps = stats.frames / max(time.monotonic() - fleet.started, 1e-9)
    trouble = trouble_line(stats)
    return (
        f"{stream.config.stream_id}: {stats.frames} pictures ({fps:.1f}/s), decoded {stats.decoded_ratio:.1%}, "
        f"patches encoded {stats.encoded_ratio:.1%}, {stats.embeddings} embeddings"
        + (f", {trouble}" if trouble else "")
    )


def _live_table(fleet: _Fleet) -> Table:
    table = Table(header_style="dim", box=None)
    for name in ("stream", "pictures", "per second", "decoded", "patches encoded", "embeddings", ""):
        table.add_column(name, justify="left" if name in ("stream", "") else "right")
    elapsed = max(time.monotonic() - fleet.started, 1e-9)
    for stream in fleet.streams:
        stats, name = stream.stats, stream.config.stream_id
        table.add_row(
            f"[bold]{name}[/]",
            f"{stats.frames:,}",
            f"{stats.frames / elapsed:.1f}",
            f"{stats.decoded_ratio:.1%}",
            f"{stats.encoded_ratio:.1%}",
            f"{stats.embeddings:,}",
            f"[yellow]{escape(fleet.news.get(name, '') or trouble_line(stats))}[/]",
        )
    return table


def _summary(fleet: _Fleet) -> None:
    for stream in fleet.streams:
        name = stream.config.stream_id
        if name in fleet.failures and not stream.stats.frames:
            continue
        with contextlib.suppress(ConfigError):  # stopped before it was open
            console.print(model_line(stream.model), highlight=False)
        console.print(savings_table(stream.stats, title=f"{name}: {stream.stats.embeddings:,} embeddings"))
        cpu = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in stream.stats.cpu_seconds.items())
        console.print(f"[dim]CPU seconds: {cpu}[/]", highlight=False)
        if trouble := trouble_line(stream.stats):
            console.print(f"[yellow]{trouble}[/]", highlight=False)
