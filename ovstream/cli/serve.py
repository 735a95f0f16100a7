"""`ovstream serve`: many cameras, a page, a REST API, until stopped."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from ovstream.cli.console import console, set_up_logging
from ovstream.errors import MissingExtraError

if TYPE_CHECKING:
    from ovstream.service.supervisor import Supervisor

_NEEDED = ("fastapi", "uvicorn", "prometheus_client", "watchfiles")


def serve(
    config: Annotated[
        Path, typer.Argument(help="YAML file; it may have no streams yet.", exists=True, dir_okay=False)
    ],
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log everything.")] = False,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log as JSON lines.")] = False,
) -> None:
    """Runs the cameras of a file as a service, with a page that shows them.

    Changes of the file, and SIGHUP, are taken over while it runs; only streams whose entry changed are touched. The
    page and the REST API (its description: /api/openapi.json) add, remove, pause and change streams, too. SIGTERM and
    Ctrl-C drain: last results leave, and the next start goes on with the next sequence numbers.

    Start with:  echo 'streams: []' > ovstream.yaml && ovstream serve ovstream.yaml
    """
    for package in _NEEDED:
        if find_spec(package) is None:
            raise MissingExtraError(package, extra="server")
    from ovstream.service.server import serve as run

    set_up_logging(verbose=verbose, log_format="json" if log_json else "console")

    def started(address: str, supervisor: Supervisor) -> None:
        console.print(f"[bold]{address}[/]  {len(supervisor.cameras)} streams", highlight=False)

    asyncio.run(run(config, on_start=started, on_stop=_leave_in_time))
    _leave()


def _leave() -> NoReturn:
    """Ends the process: all is said and written, and taking the interpreter apart takes seconds on a busy machine."""
    logging.shutdown()
    atexit._run_exitfuncs()  # of libraries: what is left of traces, for example
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _leave_in_time(supervisor: Supervisor) -> None:
    """Ends the process in time, even if a decoder or driver hangs: their threads would keep it for ever."""
    seconds = supervisor.config.drain_seconds

    def leave() -> None:
        supervisor.save_now()
        logging.getLogger("ovstream").warning("not over after %.0f s; leaving all the same", seconds)
        os._exit(0)

    timer = threading.Timer(seconds, leave)
    timer.daemon = True
    timer.start()
