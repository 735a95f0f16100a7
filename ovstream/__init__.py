"""Understands live video at the edge without paying for pixels.

```python
async with ovstream.open("rtsp://camera/stream") as stream:
    async for embedding in stream:
        print(embedding.pts_seconds, embedding.keep_ratio, embedding.vector.shape)
```

The names below load on first use, so that `import ovstream` stays cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "ovstream.config": ("StreamConfig", "load_config"),
    "ovstream.encode": ("Encoder", "EncoderState", "load_encoder"),
    "ovstream.errors": (
        "BitstreamError",
        "ConfigError",
        "DecodeError",
        "FencedError",
        "InvalidBitstream",
        "ModelError",
        "OvstreamError",
        "SourceError",
        "UnsupportedBitstream",
        "WireError",
    ),
    "ovstream.pipeline": ("Stream", "StreamStats", "inspect", "iterate", "open"),
    "ovstream.probing": ("ProbeReport", "probe"),
    "ovstream.publish": ("Gap", "Reset", "Stale", "subscribe"),
    "ovstream.sinks": ("MemorySink",),
    "ovstream.sources": ("MemorySource",),
    "ovstream.types": (
        "AccessUnit",
        "BlockClass",
        "Checkpoint",
        "Embedding",
        "FrameMetadata",
        "IntraMode",
        "PatchPlan",
        "StreamEvent",
    ),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}
_SUBMODULES = ("bitstream", "model")

__all__ = [
    "AccessUnit",
    "BitstreamError",
    "BlockClass",
    "Checkpoint",
    "ConfigError",
    "DecodeError",
    "Embedding",
    "Encoder",
    "EncoderState",
    "FencedError",
    "FrameMetadata",
    "Gap",
    "IntraMode",
    "InvalidBitstream",
    "MemorySink",
    "MemorySource",
    "ModelError",
    "OvstreamError",
    "PatchPlan",
    "ProbeReport",
    "Reset",
    "SourceError",
    "Stale",
    "Stream",
    "StreamConfig",
    "StreamEvent",
    "StreamStats",
    "UnsupportedBitstream",
    "WireError",
    "__version__",
    "bitstream",
    "inspect",
    "iterate",
    "load_config",
    "load_encoder",
    "model",
    "open",
    "probe",
    "subscribe",
]


def __getattr__(name: str) -> Any:
    try:
        if name in _HOME_OF:
            value = getattr(importlib.import_module(_HOME_OF[name]), name)
        elif name in _SUBMODULES:
            value = importlib.import_module(f"ovstream.{name}")
        else:
            raise AttributeError(f"module 'ovstream' has no attribute {name!r}")
    except ModuleNotFoundError as error:
        if error.name != "ovstream._native":
            raise
        raise ImportError(
            f"{__path__[0]} holds the sources of ovstream without its native core, and Python found them before the "
            "installed package: start from another folder, or install the clone with pip install -e ."
        ) from None
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


if TYPE_CHECKING:
    from ovstream import bitstream, model
    from ovstream.config import StreamConfig, load_config
    from ovstream.encode import Encoder, EncoderState, load_encoder
    from ovstream.errors import (
        BitstreamError,
        ConfigError,
        DecodeError,
        FencedError,
        InvalidBitstream,
        ModelError,
        OvstreamError,
        SourceError,
        UnsupportedBitstream,
        WireError,
    )
    from ovstream.pipeline import Stream, StreamStats, inspect, iterate, open
    from ovstream.probing import ProbeReport, probe
    from ovstream.publish import Gap, Reset, Stale, subscribe
    from ovstream.sinks import MemorySink
    from ovstream.sources import MemorySource
    from ovstream.types import (
        AccessUnit,
        BlockClass,
        Checkpoint,
        Embedding,
        FrameMetadata,
        IntraMode,
        PatchPlan,
        StreamEvent,
    )
