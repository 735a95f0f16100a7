"""What the deployment files promise about the running service, as far as it can run here."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.net.certificates import make_identity
from tests.service.running import service as serving

DEPLOY = Path(__file__).parents[2] / "deploy"
HEALTHCHECK = DEPLOY / "healthcheck"
OVSTREAM = [sys.executable, "-m", "ovstream"]


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
        "OVSTREAM_HEALTH_SECONDS": "50",  # on a busy machine
        "OVSTREAM_HTTP_PORT": "1",  # no service answers: the embeddings are asked for
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


def test_health_check_asks_a_service_over_https(environment: dict[str, str], tmp_path: Path) -> None:
    identity = make_identity(tmp_path)
    door = {"tls_cert_file": str(identity.ca_file), "tls_key_file": str(identity.key_file)}
    with serving(tmp_path, [], http=door) as found:
        port = found.address.rstrip("/").rpartition(":")[2]
        asking = {**environment, "OVSTREAM_HTTP_PORT": port, "OVSTREAM_HEALTH_SECONDS": "1"}
        assert subprocess.run([HEALTHCHECK], env=asking, timeout=60).returncode == 0


def test_the_example_configuration_runs(environment: dict[str, str], tmp_path: Path) -> None:
    """With embedded cameras in the place of those that are not here."""
    text = (DEPLOY / "ovstream.example.yaml").read_text()
    config = tmp_path / "ovstream.yaml"
    config.write_text(re.sub(r"rtsp://\S+", "'synthetic:?seconds=1&width=320&height=192'", text))
    records = tmp_path / "embeddings.jsonl"
    command = [*OVSTREAM, "run", "--config", str(config), "--jsonl", str(records)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    streams = Counter(json.loads(line)["stream_id"] for line in records.read_text().splitlines())
    assert streams["entrance"] == 25
    assert 1 <= streams["car-park"] <= 25, "emits changes only"


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
