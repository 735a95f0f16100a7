"""Runs the command line as users do: as processes of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

ENVIRONMENT = {**os.environ, "COLUMNS": "120", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "ovstream", *arguments]


def ovstream(*arguments: str, seconds: float = 110, status: int = 0) -> str:
    """Runs to the end; returns stdout and stderr together."""
    done = subprocess.run(
        command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        env=ENVIRONMENT,
        check=False,
    )
    assert done.returncode == status, done.stdout
    return done.stdout


_EACH = """
import contextlib, io, json, sys
from ovstream.cli import main

results = []
for arguments in json.load(sys.stdin):
    sys.argv = ["ovstream", *arguments]
    text, status = io.StringIO(), 0
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        try:
            main()
        except SystemExit as end:
            status = end.code or 0
    results.append((status, text.getvalue()))
print(json.dumps(results))
"""


def ovstream_each(*calls: Sequence[str], status: int = 0) -> list[str]:
    """Runs one after the other in one process, which saves loading the libraries again; stdout and stderr of each."""
    done = subprocess.run(
        [sys.executable, "-c", _EACH],
        input=json.dumps(calls),
        capture_output=True,
        text=True,
        timeout=110,
        env=ENVIRONMENT,
        check=True,
    )
    results = json.loads(done.stdout.splitlines()[-1])
    assert [one for one, _ in results] == [status] * len(calls), results
    return [text for _, text in results]


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Runs in the background; ended by SIGTERM, or hard if that does not help."""
    with subprocess.Popen(
        command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=ENVIRONMENT,
        start_new_session=True,
        preexec_fn=_hear_control_c,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(timeout=10)
                except subprocess.TimeoutExpired:
                    process.kill()


def _hear_control_c() -> None:
    """Undoes what shells do to programs in the background: they ignore SIGINT, and so would their children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def free_endpoint() -> str:
    """A loopback endpoint that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"
