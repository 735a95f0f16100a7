"""Where the command line prints, and how it stops."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from ovstream.pipeline import StreamStats
    from ovstream.types import ModelInfo

console = Console()
error_console = Console(stderr=True)

_DELAYED = 16  # units that a reordering decoder may hold back

LogFormat = Literal["console", "json"]
_T = TypeVar("_T")


def set_up_logging(*, verbose: bool, log_format: LogFormat = "console") -> None:
    """Sends the log to stderr: warnings only, or everything with `verbose`; in colours to a terminal."""
    handler = logging.StreamHandler(sys.stderr)
    colours = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    handler.setFormatter(log_formatter(log_format, colours=colours))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("ovstream").setLevel(logging.INFO if verbose else logging.WARNING)


def log_formatter(log_format: LogFormat, *, colours: bool) -> logging.Formatter:
    """Makes lines of log records: for people, or JSON with the fields `stream` and `kind` where an event has them."""
    import structlog

    known, time_format = ["stream", "kind"], "iso"
    renderer: list[Any] = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    if log_format == "console":
        plain = (
            structlog.dev.plain_traceback
        )  # the others show local variables: there may be secrets among them
        renderer = [structlog.dev.ConsoleRenderer(0, colors=colours, exception_formatter=plain)]
        known, time_format = [], "%Y-%m-%dT%H:%M:%SZ"
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.add_logger_name,
            structlog.stdlib.add_log_level,
            structlog.stdlib.ExtraAdder(known),
            structlog.processors.TimeStamper(fmt=time_format, utc=True),
        ],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
    )


def run_until_stopped(work: Coroutine[Any, Any, _T]) -> _T | None:
    """Runs a coroutine to its end, or cancels it cleanly on Ctrl-C or SIGTERM.

    Returns:
        Its result, or None when it was stopped.
    """
    return asyncio.run(_until_stopped(work))


async def _until_stopped(work: Coroutine[Any, Any, _T]) -> _T | None:
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        return await task
    return None


def model_line(info: ModelInfo) -> str:
    """One line about the model, plain about missing training."""
    note = "" if info.trained else "  [yellow]untrained weights: vectors tell change, not meaning[/]"
    return f"[bold]{info.model_id}[/] {info.digest}  {info.dim} numbers per embedding{note}"


def savings_table(stats: StreamStats, *, title: str = "What it took") -> Table:
    """What was read, decoded and encoded, of how much."""
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None)
    table.add_column("")
    table.add_column("done", justify="right")
    table.add_column("of", justify="right")
    table.add_column("share", justify="right")
    rows = [
        ("pictures understood from the bitstream", stats.frames_parsed, stats.frames),
        ("pictures decoded to pixels", stats.frames_decoded, stats.frames),
        ("pictures that reached the model", stats.frames_encoded, stats.frames),
        ("patches encoded", stats.patches_encoded, stats.patches_total),
    ]
    for name, done, total in rows:
        share = f"[bold]{done / total:.1%}[/]" if total else "-"
        table.add_row(name, f"{done:,}", f"{total:,}", share)
    return table


def trouble_line(stats: StreamStats) -> str:
    """What went wrong, or an empty text."""
    troubles = {
        "decoded because there is no parser": stats.frames_fallback,
        "damaged": stats.parse_errors,
        "lost before arrival": stats.source_lost,
        "not decodable": stats.decode_errors,
        "with missing pixels": stats.frames_damaged,
        "refused by a sink": stats.sink_errors,
        "units without a picture": stats.units - stats.frames - stats.parse_errors
        if stats.units > stats.frames + stats.parse_errors + _DELAYED
        else 0,
        "dropped": stats.dropped,
        "reconnects": stats.reconnects,
    }
    return ", ".join(f"{count} {name}" for name, count in troubles.items() if count)
