"""The deployment files pass the linters of their formats; each skips where its tool is not installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def tool(name: str) -> str:
    """Path of a linter, from beside this interpreter or from the system."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def check(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def shell_scripts() -> list[Path]:
    return [DEPLOY / "healthcheck", ROOT / ".ci" / "run"]


def test_dockerfile() -> None:
    check(tool("hadolint"), "deploy/Dockerfile")


@pytest.mark.parametrize("path", sorted(DEPLOY.glob("*.yaml")), ids=lambda path: path.name)
def test_yaml(path: Path) -> None:
    check(tool("yamllint"), "--strict", "--config-file", "deploy/.yamllint", str(path))


def test_compose() -> None:
    check(tool("docker-compose"), "--file", "deploy/compose.yaml", "config", "--quiet")


@pytest.mark.parametrize("path", shell_scripts(), ids=lambda path: path.name)
def test_shell(path: Path) -> None:
    check(tool("shellcheck"), str(path))
    assert path.stat().st_mode & 0o111, f"{path} is not executable"


def test_systemd_unit_is_tightly_sandboxed() -> None:
    command = [tool("systemd-analyze"), "security", "--offline=true", "deploy/ovstream.service"]
    # Known to systemd 250 and later; an old one says so and is no judge.
    if "offline" not in subprocess.run([*command[:1], "--help"], capture_output=True, text=True).stdout:
        pytest.skip("this systemd-analyze cannot judge a unit offline")
    report = check(*command, "--threshold=15", "--no-pager")
    assert "Overall exposure level" in report


def test_the_image_gets_every_file_that_the_dockerfile_copies() -> None:
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    admitted = {line[1:] for line in ignore if line.startswith("!")}
    copied = set()
    for line in (DEPLOY / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            copied |= set(line.split()[1:-1])
    assert ignore[0] == "*"
    assert admitted == copied
    for name in copied:
        assert (ROOT / name).exists(), name
