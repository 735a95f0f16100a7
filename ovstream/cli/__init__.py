"""The command line: `ovstream VERB`; `app` has the verbs."""

from __future__ import annotations

import sys

from ovstream.cli.app import app
from ovstream.errors import OvstreamError

__all__ = ["main"]


def main() -> None:
    """Runs the command line; errors that are ours become one clear sentence and exit status 1."""
    try:
        app()
    except OvstreamError as error:
        from rich.markup import escape

        from ovstream.cli.console import error_console

        error_console.print(f"[bold red]error[/]  {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(1)
