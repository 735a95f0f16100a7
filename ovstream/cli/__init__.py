"""The command line: `ovstream VERB`; `app` has the verbs."""

from __future__ import annotations

import errno
import signal
import sys

from ovstream.cli.app import app
from ovstream.errors import OvstreamError

__all__ = ["main"]


# What no program can help; other errors of the operating system are mistakes of ours, and keep their traceback.
_FROM_OUTSIDE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)


def main() -> None:
    """Runs the command line; errors that are ours become one clear sentence and exit status 1.

    SIGTERM ends a verb as Ctrl-C does; those with an event loop listen to both themselves.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except OvstreamError as error:
        _say(str(error))
        sys.exit(1)
    except OSError as error:
        if error.errno not in _FROM_OUTSIDE:
            raise
        _say(f"{error.filename}: {error.strerror}" if error.filename else f"cannot write: {error.strerror}")
        sys.exit(1)


def _say(problem: str) -> None:
    from rich.markup import escape

    from ovstream.cli.console import error_console

    error_console.print(f"[bold red]error[/]  {escape(problem)}", highlight=False, soft_wrap=True)
