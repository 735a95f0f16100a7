"""The progress bar of work on one's own data: training, adapting, judging."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ovstream.cli.console import console


def bar_of(what: str, *, counted: bool = True, on: Console = console, transient: bool = False) -> Progress:
    """A bar whose tasks have a `note` behind it.

    Args:
        what: Stands before it.
        counted: Steps are numbered; else only the time that is left is shown.
        on: Where it is drawn: `error_console` where the results are for other programs.
        transient: It goes when it is done.
    """
    count = [MofNCompleteColumn()] if counted else []
    return Progress(
        TextColumn(what),
        BarColumn(),
        *count,
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=on,
        transient=transient,
    )
