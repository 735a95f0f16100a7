"""Importing stays cheap: heavy libraries load where they are used, not before."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {"torch", "onnx", "onnxruntime", "av", "aiortc", "zmq", "PIL", "msgpack", "pydantic", "typer"}


def modules_after(*steps: str) -> list[set[str]]:
    """Modules that a fresh interpreter holds after each step; foreign ones by their top level."""
    show = "print(json.dumps(list(sys.modules)), file=out)"
    lines = ["import json, os, sys", "out, sys.stdout = sys.stdout, open(os.devnull, 'w')"]
    script = "\n".join([*lines, *(f"{step}\n{show}" for step in steps)])
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    return [
        {name if name.startswith("ovstream") else name.partition(".")[0] for name in json.loads(line)}
        for line in done.stdout.splitlines()
    ]


def test_the_probe_sees_what_is_loaded() -> None:
    before, after = modules_after("", "import zmq")
    assert "zmq" in after - before


@pytest.mark.parametrize(
    "code",
    [
        "import ovstream",
        "import ovstream; dir(ovstream); ovstream.__version__",
        "import ovstream; ovstream.Embedding, ovstream.OvstreamError",
    ],
)
def test_import_ovstream_loads_nothing_heavy(code: str) -> None:
    (loaded,) = modules_after(code)
    assert not loaded & HEAVY


def test_configuration_loads_no_media_library() -> None:
    (loaded,) = modules_after("import ovstream; ovstream.StreamConfig")
    assert not loaded & (HEAVY - {"pydantic"})


@pytest.mark.parametrize("word", ["--version", "--help", "--no-such-option"])
def test_the_command_line_answers_without_the_libraries_of_its_verbs(word: str) -> None:
    (loaded,) = modules_after(
        "import contextlib, sys\nfrom ovstream.cli import main\n"
        f"sys.argv = ['ovstream', {word!r}]\n"
        "with contextlib.suppress(SystemExit):\n    main()"
    )
    assert "typer" in loaded
    assert not loaded & (HEAVY - {"typer"} | {"numpy", "structlog", "yaml"})
    assert {name for name in loaded if name.startswith("ovstream.")} == {
        "ovstream.cli",
        "ovstream.cli.app",
        "ovstream.errors",
    }


# Verbs and what they must not load, where each line forbids no less than the next: one process loads them all.
FRUGAL = {
    "serve top train": {"numpy", "structlog", "pydantic"},
    "config": {"numpy", "structlog"},
    "doctor discover probe adapt": {"av", "zmq", "msgpack", "PIL"},
    "keys": {"av", "PIL"},
    "listen run inspect": {"torch", "onnx", "onnxruntime", "aiortc"},
}


def test_a_verb_loads_what_it_uses() -> None:
    steps = [
        "from ovstream.cli.app import load_command\n"
        + "\n".join(f"load_command({v!r})" for v in verbs.split())
        for verbs in FRUGAL
    ]
    for (verbs, forbidden), loaded in zip(FRUGAL.items(), modules_after(*steps), strict=True):
        assert not loaded & (forbidden | {"torch", "onnx", "onnxruntime", "aiortc"}), verbs
