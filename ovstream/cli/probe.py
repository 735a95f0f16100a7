"""`ovstream probe`: what a camera sends, whether that suits us, and what to change in its settings."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ovstream.cli.console import console, error_console, run_until_stopped
from ovstream.errors import OvstreamError
from ovstream.probing import Finding, ProbeReport
from ovstream.probing import probe as probe_stream

_VERDICTS = {
    "good": "[bold green]good[/]: compressed-domain analysis will work well",
    "usable": "[bold yellow]usable[/]: it works; the advice below makes it better",
    "poor": "[bold red]poor[/]: results will suffer until the problems below are mended",
}
_MARKS = {"good": "[green]✓[/]", "advice": "[yellow]→[/]", "problem": "[bold red]✗[/]"}


class Transport(StrEnum):
    """Choices of --transport."""

    TCP = "tcp"
    UDP = "udp"


class Backend(StrEnum):
    """Choices of --backend."""

    AUTO = "auto"
    NATIVE = "native"
    FFMPEG = "ffmpeg"


def probe(
    url: Annotated[str, typer.Argument(help="rtsp:// URL, or anything else that `ovstream run` takes.")],
    seconds: Annotated[
        float, typer.Option("--seconds", "-s", help="How long to look.", min=0.5, max=600)
    ] = 10.0,
    transport: Annotated[Transport, typer.Option(help="RTSP: how packets travel.")] = Transport.TCP,
    backend: Annotated[Backend, typer.Option(help="RTSP: who reads.")] = Backend.AUTO,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Looks at what a camera sends and says, in plain words, what to change in its settings.

    Nothing is decoded. The password may stand in the URL (percent-encoded) or in OVSTREAM_SOURCE__PASSWORD.
    It is never shown. With --json errors are JSON too, with exit status 1.
    """
    options = {"transport": transport.value, "backend": backend.value}
    try:
        with _progress(hidden=as_json) as advance:
            report = run_until_stopped(probe_stream(url, seconds=seconds, on_progress=advance, **options))
    except OvstreamError as error:
        if not as_json:
            raise
        typer.echo(json.dumps({"error": {"kind": type(error).__name__, "message": str(error)}}))
        raise typer.Exit(1) from None
    if report is None:  # Ctrl-C
        raise typer.Exit(130)
    if as_json:
        typer.echo(json.dumps(report.as_dict(), indent=2))
    else:
        _show(report)


@contextlib.contextmanager
def _progress(*, hidden: bool) -> Iterator[Callable[[float], None]]:
    with Progress(
        TextColumn("looking"),
        BarColumn(),
        TimeRemainingColumn(),
        console=error_console,
        transient=True,
        disable=hidden or not error_console.is_terminal,
    ) as progress:
        task = progress.add_task("probe", total=1.0)
        yield lambda share: progress.update(task, completed=share)


def _show(report: ProbeReport) -> None:
    console.print(f"[bold]{escape(report.name)}[/]", highlight=False, soft_wrap=True)
    console.print(_VERDICTS[report.verdict], highlight=False)
    console.print()
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim")
    facts.add_column()
    for name, value in _facts(report):
        facts.add_row(name, escape(value))
    console.print(facts)
    console.print()
    for finding in report.findings:
        _show_finding(finding)


def _show_finding(finding: Finding) -> None:
    table = Table.grid(padding=(0, 1))
    table.add_row(_MARKS[finding.weight], escape(finding.text))
    if finding.remedy:
        table.add_row("", f"[bold]{escape(finding.remedy)}[/]")
    console.print(table)


def _facts(report: ProbeReport) -> Iterator[tuple[str, str]]:
    """What there is to tell, name and value."""
    words = [report.codec.upper(), report.profile, report.level and f"level {report.level}"]
    yield "video", ", ".join(word for word in words if word)
    size = f"{report.width} x {report.height}" if report.width else ""
    rates = [_unit(report.fps, "pictures a second"), _unit(report.bitrate_kbps, "kbit/s", digits=0)]
    yield "size and rate", ", ".join(filter(None, [size, *rates]))
    yield "keyframes", _keyframes(report)
    if report.gop_structure:
        slices = f", {report.slices_per_picture} slices each" if report.slices_per_picture > 1 else ""
        yield "pictures", f"{report.gop_structure}…  ({report.b_frames} B in a row{slices})"
    if report.qp is not None:
        blocks = f"{report.skip_share or 0:.0%} skipped, {report.intra_share or 0:.0%} coded anew"
        yield "blocks", f"QP {report.qp:.0f}, {blocks}, moving by {report.motion_px or 0:.1f} px"
    if report.clock != "none":
        yield "clock", _clock(report)
        yield (
            "arrival",
            f"first picture after {report.open_seconds:.2f} s"
            + (f", jitter {report.jitter_ms:.0f} ms" if report.jitter_ms is not None else ""),
        )
    yield "losses", f"{report.lost} lost, {report.dropped} left out, {report.reconnects} reconnects"
    yield "looked at", f"{report.pictures} pictures in {report.seconds:.1f} s"


def _keyframes(report: ProbeReport) -> str:
    if report.gop_pictures is None:
        return f"one in {report.seconds:.1f} s, {report.keyframe_share:.0%} of the bits"
    every = f"every {report.gop_pictures:.0f} pictures"
    seconds = f" ({report.gop_seconds:.1f} s)" if report.gop_seconds is not None else ""
    varies = ", irregular" if report.gop_varies else ""
    return f"{every}{seconds}{varies}, {report.keyframe_share:.0%} of the bits"


def _clock(report: ProbeReport) -> str:
    if report.clock_offset_seconds is None:
        return "none: times of arrival"
    return f"the camera's, {1000 * report.clock_offset_seconds:+.0f} ms from ours"


def _unit(value: float | None, unit: str, *, digits: int = 1) -> str:
    return "" if value is None else f"{value:,.{digits}f} {unit}"
