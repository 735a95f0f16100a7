"""onnxruntime, kept from reporting to its makers: import it from here.

Official wheels of onnxruntime for Linux (seen in 1.32) start a telemetry thread when they are imported, keep a device id and
a database under `~/.cache/Microsoft/DeveloperTools/.onnxruntime`, and send what models ran to Microsoft. What a camera's box
does is nobody else's business. `ORT_DISABLE_TELEMETRY=0` in the environment leaves it on.
"""

from __future__ import annotations

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read once, while onnxruntime is imported

import onnxruntime

if os.environ["ORT_DISABLE_TELEMETRY"] != "0":
    onnxruntime.disable_telemetry_events()  # where the application imported it first

__all__ = ["onnxruntime"]
