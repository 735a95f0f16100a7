"""The OneVision-Encoder in torch (arXiv 2602.08683), and its export to the folders that `ovstream.encode` runs.

torch, safetensors and onnx belong to the extra `ovstream-edge[torch]` and are imported with the first use of a
name below; `config`, `folder` and `rope` need numpy alone, so that the runtime can share them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from ovstream.errors import MissingExtraError
from ovstream.model.config import PRESETS, VisionConfig
from ovstream.model.folder import ModelFolder

if TYPE_CHECKING:
    from ovstream.model.encoder import OneVisionEncoder
    from ovstream.model.export import export_model

__all__ = ["PRESETS", "ModelFolder", "OneVisionEncoder", "VisionConfig", "export_model"]

_NEEDS_TORCH = {"OneVisionEncoder": "ovstream.model.encoder", "export_model": "ovstream.model.export"}


def __getattr__(name: str) -> object:
    if name not in _NEEDS_TORCH:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    try:
        return getattr(importlib.import_module(_NEEDS_TORCH[name]), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("ovstream"):
            raise
        raise MissingExtraError(error.name, extra="torch") from error
