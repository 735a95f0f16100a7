"""Starts and stops the GStreamer RTSP server under the system's Python."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

SYSTEM_PYTHON = "/usr/bin/python3"
SCRIPT = Path(__file__).with_name("gst_rtsp_server.py")
DEBIAN_PACKAGES = (
    "gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-good gstreamer1.0-plugins-bad "
    "gstreamer1.0-plugins-ugly gstreamer1.0-rtsp glib-networking"
)


class RtspServer(NamedTuple):
    process: subprocess.Popen[str]
    port: int

    def url(self, path: str, credentials: str = "") -> str:
        return f"rtsp://{credentials}127.0.0.1:{self.port}{path}"


@cache
def missing_packages() -> str:
    """Why the server cannot run on this machine; empty when it can."""
    check = "import gi; gi.require_version('GstRtspServer', '1.0')"
    try:
        done = subprocess.run(
            [SYSTEM_PYTHON, "-c", check], capture_output=True, text=True, timeout=20, check=False
        )
    except OSError as error:
        return str(error)
    return "" if done.returncode == 0 else f"apt-get install {DEBIAN_PACKAGES}"


def require_server() -> None:
    """Skips the test where the server is not installed; fails in CI, where it must be."""
    if reason := missing_packages():
        if os.environ.get("CI"):
            pytest.fail(f"the RTSP server of the tests is missing: {reason}")
        pytest.skip(f"the RTSP server of the tests is missing: {reason}")


@contextmanager
def rtsp_server(*arguments: str) -> Iterator[RtspServer]:
    """Runs the server until the block ends; `arguments` are those of gst_rtsp_server.py."""
    require_server()
    command = [SYSTEM_PYTHON, str(SCRIPT), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            word, _, port = process.stdout.readline().partition(" ")
            assert word == "ready", f"{command} did not start"
            yield RtspServer(process, int(port))
        finally:
            process.kill()
