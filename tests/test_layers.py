"""Imports only point down, and each foreign library has one home (docs/architecture.md)."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ovstream"

# Top first. Siblings on one line do not know each other, except where SIBLINGS says so.
LAYERS: list[list[str]] = [
    ["__main__"],
    ["cli"],
    ["service", "training"],
    ["pipeline", "probing"],
    ["sources", "decode", "encode", "publish", "sinks", "watch"],
    ["model"],
    ["plan", "health"],
    ["bitstream", "rtp", "store", "recording"],
    ["wire", "config"],
    ["types"],
    ["errors", "nal"],
]
RANK = {name: -depth for depth, names in enumerate(LAYERS) for name in names}
SIBLINGS: set[tuple[str, str]] = set()

# What each layer may import beside the standard library; the empty path is the layer's whole folder.
FOREIGN: dict[str, set[str]] = {
    "__main__": set(),
    "cli": {"numpy", "typer", "rich", "structlog", "PIL"},
    "cli/doctor.py": {"av", "zmq"},  # reports their versions
    "service": {"numpy", "pydantic"},
    "service/api.py": {"fastapi"},
    "service/page.py": {"fastapi"},
    "service/metrics.py": {"prometheus_client"},
    "service/connections.py": {"uvicorn"},
    "service/server.py": {"uvicorn", "watchfiles"},
    "service/preview.py": {"PIL"},
    "service/link.py": {"msgpack"},
    "training": {"numpy", "torch", "onnxruntime", "skimage", "sklearn", "PIL"},
    "training/graph.py": {"onnx"},
    "training/recipe.py": {"yaml"},
    "pipeline": {"numpy", "structlog"},
    "pipeline/tracing.py": {"opentelemetry"},
    "probing": {"numpy"},
    "sources": {"numpy", "av", "aiortc", "tenacity", "structlog"},
    "sources/synthetic.py": {"pydantic"},  # checks the query of its URL
    "sources/onvif.py": {"onvif"},
    "sources/webrtc/app.py": {"starlette"},
    "sources/webrtc/server.py": {"uvicorn"},
    "decode": {"numpy", "av"},
    "encode": {"numpy", "onnxruntime", "PIL"},
    "encode/torch_backend.py": {"torch"},
    "publish": {"numpy", "zmq", "structlog"},
    "sinks": {"numpy"},
    "sinks/registry.py": {"pydantic"},  # checks options of sinks that other packages bring
    "sinks/databases.py": {"pydantic"},
    "sinks/kafka.py": {"aiokafka", "pydantic"},
    "sinks/mqtt.py": {"paho", "pydantic"},
    "sinks/parquet.py": {"numpy", "pyarrow"},
    "sinks/redis_stream.py": {"redis", "pydantic"},
    "sinks/rerun_log.py": {"numpy", "rerun"},
    "sinks/webhook.py": {"httpx", "pydantic"},
    "watch": {"numpy"},
    "model": {"numpy", "torch", "onnx", "safetensors", "huggingface_hub"},
    "plan": {"numpy"},
    "health": {"numpy"},
    "store": {"numpy"},
    "recording": {"numpy", "msgpack"},
    "store/ann.py": {"usearch"},
    "store/lance.py": {"lancedb", "numpy", "pyarrow"},
    "store/qdrant.py": {"numpy", "qdrant_client"},
    "bitstream": {"numpy"},
    "rtp": set(),
    "wire": {"numpy", "msgpack"},
    "config": {"pydantic", "pydantic_settings", "yaml"},
    "types": {"numpy"},
    "errors": set(),
    "nal": set(),
}
# Layers that only some others may know, although they lie below them.
ONLY_FOR: dict[str, set[str]] = {"decode": {"pipeline"}, "_native": {"bitstream", "encode", "wire"}}


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module: its full dotted name and where it stands."""

    name: str
    line: int


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "_native" not in path.parts)


def layer_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(source: str, *, package: str) -> Iterator[Import]:
    """Yields every import of a module, however deep in functions, as absolute names.

    Args:
        source: Text of the module.
        package: Dotted name of the package that holds it, for relative imports.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            base = ".".join(parents[: len(parents) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            # `from ovstream import plan` names a layer by its alias
            names = [f"ovstream.{alias.name}" for alias in node.names] if module == "ovstream" else [module]
            yield from (Import(name, node.lineno) for name in names)


def complaints(source: str, *, layer: str, where: str, package: str) -> list[str]:
    """Everything in a module that breaks the layering."""
    allowed = FOREIGN[layer] | FOREIGN.get(where, set())
    found = []
    for one in imports_of(source, package=package):
        top, _, rest = one.name.partition(".")
        problem = ""
        if top == "ovstream":
            problem = _inner_problem(layer, rest.partition(".")[0])
        elif top not in sys.stdlib_module_names and top not in allowed:
            problem = f"'{top}' has no business in '{layer}'"
        if problem:
            found.append(f"ovstream/{where}:{one.line}: {problem}")
    return found


def _inner_problem(layer: str, target: str) -> str:
    if target in ONLY_FOR and layer not in {target, *ONLY_FOR[target]}:
        return f"'{target}' is only for {sorted(ONLY_FOR[target])}"
    if target not in RANK or target == layer or (layer, target) in SIBLINGS:
        return ""  # a name of the package itself, such as __version__
    if RANK[target] > RANK[layer]:
        return f"'{layer}' imports upwards from '{target}'"
    return (
        f"siblings '{layer}' and '{target}' must not know each other" if RANK[target] == RANK[layer] else ""
    )


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_keeps_to_its_layer(path: Path) -> None:
    where = path.relative_to(PACKAGE).as_posix()
    if where == "__init__.py":
        return  # the lazy table of public names; test_public_names.py has it
    package = ".".join(path.relative_to(ROOT).parent.parts)
    found = complaints(path.read_text(), layer=layer_of(path), where=where, package=package)
    assert not found, "\n".join(found)


def test_every_module_has_a_layer() -> None:
    known = RANK.keys() | {"__init__"}
    assert {layer_of(path) for path in modules()} <= known


@pytest.mark.parametrize(
    ("layer", "line", "expected"),
    [
        ("plan", "from ovstream.pipeline import Stream", "upwards"),
        ("plan", "def late():\n    import ovstream.cli.app", "upwards"),
        ("plan", "from ovstream import encode", "upwards"),
        ("plan", "from ..publish import zmq_publisher", "upwards"),
        ("sources", "from ovstream.publish import subscribe", "siblings"),
        ("publish", "from ovstream.decode import Picture", "only for"),
        ("cli", "from ovstream.decode import Picture", "only for"),
        ("plan", "from ovstream._native import lib", "only for"),
        ("plan", "import torch.nn", "no business"),
        ("publish", "import av", "no business"),
    ],
)
def test_the_check_finds_what_it_should(layer: str, line: str, expected: str) -> None:
    (found,) = complaints(line, layer=layer, where=f"{layer}/x.py", package=f"ovstream.{layer}")
    assert expected in found


@pytest.mark.parametrize(
    ("layer", "line"),
    [
        ("pipeline", "from ovstream.decode import Picture"),
        ("plan", "from ovstream.types import PatchPlan\nimport numpy as np\nimport math"),
        ("cli", "from ovstream import __version__"),
        ("plan", "from .grid import PatchGrid"),
        ("bitstream", "from ovstream._native import ffi"),
    ],
)
def test_the_check_lets_good_imports_pass(layer: str, line: str) -> None:
    assert not complaints(line, layer=layer, where=f"{layer}/x.py", package=f"ovstream.{layer}")
