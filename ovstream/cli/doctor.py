"""`ovstream doctor`: what is installed, what works, what to do about the rest."""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal, NoReturn

import numpy as np
import typer
from rich.markup import escape
from rich.table import Table

from ovstream import __version__
from ovstream.cli.asking import ask
from ovstream.cli.complaints import complaints
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
    service: Annotated[
        str,
        typer.Argument(
            help="Address of a running service to look at, such as http://127.0.0.1:8080; without one: the installation.",
            show_default=False,
        ),
    ] = "",
    quick: Annotated[bool, typer.Option("--quick", help="Only say whether everything needed works.")] = False,
    token: Annotated[
        str,
        typer.Option(
            help="Bearer token; better in the environment.", envvar="OVSTREAM_TOKEN", show_default=False
        ),
    ] = "",
) -> None:
    """Checks the installation end to end, or a running service: what is wrong, and how to mend it.

    Exit status 1 when something that is needed does not work.
    """
    if service:
        _look_at(service, token=token, quick=quick)
    findings = [_try(name, check, remedy) for name, check, remedy in _CHECKS]
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


def _look_at(address: str, *, token: str, quick: bool) -> NoReturn:
    """Says what is wrong with a running service; exit status 1 when something does not work."""
    whole, streams = ask(address, "/api/service", token), ask(address, "/api/streams", token)
    found = complaints(whole, streams, now=time.time())
    if not quick:
        console.print(
            f"ovstream {whole['version']} at {address}: {whole['live']} of {whole['streams']} streams live",
            highlight=False,
        )
    for one in found:
        if one.bad or not quick:
            mark = "[bold red]broken[/]" if one.bad else "[yellow]poor[/]"
            console.print(f"\n{mark}  [bold]{escape(one.where)}[/]: {escape(one.what)}", highlight=False)
            console.print(f"        [dim]→[/] {escape(one.remedy)}", highlight=False)
    if not found and not quick:
        console.print("[green]All is well.[/]")
    sys.exit(1 if any(one.bad for one in found) else 0)


def _try(name: str, check: Callable[[], str], remedy: str) -> Finding:
    try:
        return Finding(name, "ok", check())
    except Exception as error:  # every failure is a finding
        return Finding(
            name, "broken", f"{type(error).__name__}: {error}" + (f" → {remedy}" if remedy else "")
        )


def _optional(package: str, extra: str, use: str) -> Finding:
    name = package.partition(".")[0]
    try:
        module = importlib.import_module(package)
    except ImportError:
        return Finding(name, "absent", f"pip install 'ovstream-edge[{extra}]', for {use}")
    return Finding(name, "ok", f"{getattr(module, '__version__', '')}  {use}")


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
    from ovstream.encode.native import NativeBackend

    encoder = load_encoder("ov-nano")
    output = encoder.encode_image(np.zeros((120, 160, 3), np.uint8))
    note = "" if encoder.info.trained else " (untrained weights)"
    where = (
        "the native core" if isinstance(encoder.backend, NativeBackend) else "onnxruntime (no AVX-512 VNNI)"
    )
    return f"{encoder.info.model_id} {encoder.info.digest}, {output.scene.size} numbers per embedding, by {where}{note}"


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


_AGAIN = "pip install --force-reinstall --no-deps"
_CHECKS: list[tuple[str, Callable[[], str], str]] = [
    ("package", _package, ""),
    ("FFmpeg", _ffmpeg, f"{_AGAIN} av"),
    (
        "bitstream parser",
        _parser,
        f"{_AGAIN} ovstream-edge; in a clone: pip install -e . (needs gcc and cargo)",
    ),
    ("model", _model, f"{_AGAIN} onnxruntime ovstream-edge"),
    ("ZeroMQ", _zeromq, f"{_AGAIN} pyzmq"),
    ("WebRTC", _webrtc, f"{_AGAIN} aiortc"),
    ("whole pipeline", _pipeline, "mend what is broken above first"),
]
_OPTIONAL = [
    ("fastapi", "server", "ovstream serve"),
    ("torch", "torch", "official checkpoints, export, training"),
    ("onnx", "torch", "export"),
    ("redis", "sinks", "sinks: Redis"),
    ("aiokafka", "sinks", "sinks: Kafka"),
    ("paho.mqtt", "sinks", "sinks: MQTT"),
    ("httpx", "sinks", "sinks: webhook"),
    ("pyarrow", "sinks", "sinks: Parquet"),
    ("rerun", "rerun", "sinks: rerun"),
    ("usearch", "search", "quick search in large stores"),
    ("opentelemetry.sdk.version", "otel", "traces"),
]
