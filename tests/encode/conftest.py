"""A small exported model, opened in every mode once per session."""

from __future__ import annotations

from pathlib import Path

import pytest

from ovstream.encode import Encoder, load_encoder
from ovstream.model import export_model

from ..model.models import nano


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("nano")
    export_model(nano(), path, model_id="nano", trained=False)
    return path


@pytest.fixture(scope="session")
def exact(folder: Path) -> Encoder:
    return load_encoder(folder, mode="exact")


@pytest.fixture(scope="session")
def graph(folder: Path) -> Encoder:
    """As `exact`, on onnxruntime whatever the processor."""
    return load_encoder(folder, mode="exact", backend="onnx")


@pytest.fixture(scope="session")
def fast_graph(folder: Path) -> Encoder:
    """As `fast`, on onnxruntime whatever the processor."""
    return load_encoder(folder, mode="fast", probes=8, backend="onnx")


@pytest.fixture(scope="session")
def fast(folder: Path) -> Encoder:
    return load_encoder(folder, mode="fast", probes=8)


@pytest.fixture(scope="session")
def dense(folder: Path) -> Encoder:
    return load_encoder(folder, mode="dense")
