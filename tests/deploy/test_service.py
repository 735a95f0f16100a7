"""What the deployment files promise about the running service, as far as it can run here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HEALTHCHECK = Path(__file__).parents[2] / "deploy" / "healthcheck"
OVSTREAM = [sys.executable, "-c", "from ovstream.cli import main; main()"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """As in the image: the endpoint comes from the environment, `ovstream` is on the path."""
    command = tmp_path / "bin" / "ovstream"
    command.parent.mkdir()
    command.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -c "from ovstream.cli import main; main()" "$@"\n'
    )
    command.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "OVSTREAM_PUBLISH__ENDPOINT": f"ipc://{tmp_path}/e.ipc",
    }


@pytest.fixture
def service(environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    command = [*OVSTREAM, "run", "synthetic:?width=320&height=192", "--pace", "realtime", "--log-json"]
    with subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        yield process
        process.kill()


def test_health_check_asks_for_a_result(service: subprocess.Popen[str], environment: dict[str, str]) -> None:
    assert subprocess.run([HEALTHCHECK], env=environment, timeout=60).returncode == 0
    service.send_signal(signal.SIGTERM)
    printed, _ = service.communicate(timeout=15)  # TimeoutStopSec of the unit
    assert service.returncode == 0, printed
    assert "Traceback" not in printed
    dead = {**environment, "OVSTREAM_HEALTH_SECONDS": "2"}
    assert subprocess.run([HEALTHCHECK], env=dead, timeout=60).returncode != 0


def test_it_needs_no_memory_that_is_writable_and_executable() -> None:
    """MemoryDenyWriteExecute=yes of the unit, by the system call of Linux 6.3."""
    script = (
        "import ctypes, sys\n"
        "if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0): sys.exit(77)\n"
        "import ovstream\n"
        "print(sum(1 for _ in ovstream.iterate('synthetic:?seconds=0.4&width=320&height=192')))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    if done.returncode == 77:
        pytest.skip("this kernel has no PR_SET_MDWE")
    assert done.stdout.split() == ["10"], done.stderr
