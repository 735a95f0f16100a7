"""`ovstream doctor`: what is installed, what works, what to do about the rest."""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import typer
from rich.markup import escape
from rich.table import Table

from ovstream import __version__
from ovstream.cli.console import console

Verdict = Literal["ok", "absent", "broken"]

_MARKS = {"ok": "[green]ok[/]", "absent": "[yellow]absent[/]", "broken": "[bold red]broken[/]"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        name: What was looked at.
        verdict: "ok", "absent" (optional and not there) or "broken".
        detail: Version, figure or what to do.
    """

    name: str
    verdict: Verdict
    detail: str


def doctor(
    quick: Annotated[bool, typer.Option("--quick", help="Only say whether everything needed works.")] = False,
) -> None:
    """Checks the installation end to end; exit status 1 when something that is needed is broken."""
    findings = [_try(name, check) for name, check in _CHECKS]
    if not quick:
        findings += [_optional(package, extra, use) for package, extra, use in _OPTIONAL]
        console.print(f"ovstream {__version__}, Python {platform.python_version()}, {platform.platform()}")
        table = Table(box=None, show_header=False)
        for finding in findings:
            table.add_row(finding.name, _MARKS[finding.verdict], escape(finding.detail))
        console.print(table)
    broken = [finding for finding in findings if finding.verdict == "broken"]
    for finding in broken if quick else []:
        console.print(f"{finding.name}: {finding.detail}", highlight=False, markup=False)
    sys.exit(1 if broken else 0)


def _try(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name, "ok", check())
    except Exception as error:  # every failure is a finding
        return Finding(name, "broken", f"{type(error).__name__}: {error}")


def _optional(package: str, extra: str, use: str) -> Finding:
    try:
        module = importlib.import_module(package)
    except ImportError:
        return Finding(package, "absent", f"pip install 'ovstream-edge[{extra}]', for {use}")
    return Finding(package, "ok", f"{getattr(module, '__version__', '')}  {use}")


def _package() -> str:
    owners = set(importlib.metadata.packages_distributions().get("ovstream", []))
    foreign = owners - {"ovstream-edge"}
    if foreign:
        raise RuntimeError(
            f"another product also installs a package 'ovstream' here ({', '.join(sorted(foreign))}): "
            "pip uninstall ovstream, then reinstall ovstream-edge"
        )
    return "ovstream-edge"


def _parser() -> str:
    from ovstream.pipeline import inspect

    frames = list(inspect("synthetic:?width=320&height=192&seconds=0.4"))
    native = sum(frame.origin == "bitstream" for frame in frames)
    if not frames or native < len(frames):
        raise RuntimeError(f"only {native} of {len(frames)} pictures were read without decoding")
    return f"{native} pictures read without decoding"


def _ffmpeg() -> str:
    import av

    wanted = ("h264", "hevc", "vp8", "vp9", "av1", "mjpeg")
    missing = [name for name in wanted if name not in av.codecs_available]
    if missing:
        raise RuntimeError(f"this FFmpeg lacks decoders: {', '.join(missing)}")
    return f"PyAV {av.__version__}, decoders {', '.join(wanted)}"


def _model() -> str:
    from ovstream.encode import load_encoder

    encoder = load_encoder("ov-nano")
    output = encoder.encode_image(np.zeros((120, 160, 3), np.uint8))
    note = "" if encoder.info.trained else " (untrained weights)"
    return f"{encoder.info.model_id} {encoder.info.digest}, {output.scene.size} numbers per embedding{note}"


def _pipeline() -> str:
    from ovstream.config import PRIVATE
    from ovstream.pipeline import iterate
    from ovstream.sinks import MemorySink

    sink = MemorySink()
    options = {**PRIVATE, "sinks": [sink]}
    count = sum(1 for _ in iterate("synthetic:?width=320&height=192&seconds=0.4", **options))
    if not count or len(sink.embeddings) != count:
        raise RuntimeError(f"{count} embeddings, {len(sink.embeddings)} in the sink")
    return f"{count} embeddings from the embedded camera"


def _zeromq() -> str:
    import zmq

    from ovstream.publish import Publisher

    publisher = Publisher("tcp://127.0.0.1:*")
    publisher.close()
    curve = "with" if zmq.has("curve") else "WITHOUT"
    return f"libzmq {zmq.zmq_version()} {curve} CURVE"


def _webrtc() -> str:
    from ovstream.sources.webrtc.support import describe_support

    return describe_support()


_CHECKS: list[tuple[str, Callable[[], str]]] = [
    ("package", _package),
    ("FFmpeg", _ffmpeg),
    ("bitstream parser", _parser),
    ("model", _model),
    ("ZeroMQ", _zeromq),
    ("WebRTC", _webrtc),
    ("whole pipeline", _pipeline),
]
_OPTIONAL = [
    ("torch", "torch", "official checkpoints and export"),
    ("onnx", "torch", "export"),
    ("safetensors", "torch", "official checkpoints"),
    ("starlette", "server", "HTTP service, WebRTC publishers"),
]
