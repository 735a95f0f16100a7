"""Importing stays cheap: heavy libraries load where they are used, not before."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {"torch", "onnx", "onnxruntime", "av", "aiortc", "zmq", "PIL", "msgpack", "pydantic", "typer"}


def modules_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after running `code`."""
    script = (
        f"{code}\nimport json, sys\nprint(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_probe_sees_what_is_loaded() -> None:
    assert "zmq" in modules_after("import zmq")


@pytest.mark.parametrize(
    "code",
    [
        "import ovstream",
        "import ovstream; dir(ovstream); ovstream.__version__",
        "import ovstream; ovstream.Embedding, ovstream.OvstreamError",
    ],
)
def test_import_ovstream_loads_nothing_heavy(code: str) -> None:
    assert not modules_after(code) & HEAVY


def test_configuration_loads_no_media_library() -> None:
    assert not modules_after("import ovstream; ovstream.StreamConfig") & (HEAVY - {"pydantic"})


def test_the_command_line_starts_without_torch() -> None:
    assert not modules_after("import ovstream.cli") & {"torch", "onnx"}
