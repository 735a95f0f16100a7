"""Real servers, each on a free port, that can be stopped and started again with what they kept."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.sinks.waiting import free_port, listens, until


class Server:
    """A process that listens on `port`."""

    def __init__(self, command: Sequence[str | Path], *, port: int) -> None:
        self.port = port
        self._command = command
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: listens(self.port))

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)


def needs(program: str) -> None:
    """Skips where a program is missing; fails on a build machine."""
    if shutil.which(program) is None and not Path("/usr/sbin", program).exists():
        if os.environ.get("CI"):
            pytest.fail(f"{program} is missing: .ci/run installs it")
        pytest.skip(f"needs apt: {program}")


def mosquitto(folder: Path, *, tls: tuple[Path, Path] | None = None) -> Server:
    """A broker with the user camera, password hunter2, that keeps its sessions when it is stopped.

    Args:
        folder: For its files.
        tls: Certificate and key, to speak TLS alone.
    """
    needs("mosquitto")
    port = free_port()
    subprocess.run(
        ["mosquitto_passwd", "-b", "-c", folder / "passwords", "camera", "hunter2"],
        check=True,
        capture_output=True,
    )
    lines = [
        f"listener {port} 127.0.0.1",
        "allow_anonymous false",
        f"password_file {folder}/passwords",
        "persistence true",
        f"persistence_location {folder}/",
        *([f"certfile {tls[0]}", f"keyfile {tls[1]}"] if tls else []),
        *(["user root"] if os.geteuid() == 0 else []),
    ]
    (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")
    search = os.environ["PATH"] + os.pathsep + "/usr/sbin"
    program = shutil.which("mosquitto", path=search) or "mosquitto"
    return Server([program, "-c", folder / "mosquitto.conf"], port=port)


def redis_server(folder: Path) -> Server:
    """A Redis with the password hunter2, that writes everything to disk before it answers."""
    needs("redis-server")
    port = free_port()
    options = f"--port {port} --bind 127.0.0.1 --dir {folder} --appendonly yes --appendfsync always --requirepass hunter2"
    return Server(["redis-server", *options.split()], port=port)
