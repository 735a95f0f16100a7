"""Patches in, vectors out: runs a model folder with a state that remembers every other patch of a stream."""

from __future__ import annotations

from ovstream.encode.audit import Audit
from ovstream.encode.backend import Backend, Job
from ovstream.encode.encoder import Encoder, Mode
from ovstream.encode.load import Provider, load_encoder
from ovstream.encode.output import Output
from ovstream.encode.scheduler import Scheduler
from ovstream.encode.state import EncoderState
from ovstream.encode.watch import CollapseWatch

__all__ = [
    "Audit",
    "Backend",
    "CollapseWatch",
    "Encoder",
    "EncoderState",
    "Job",
    "Mode",
    "Output",
    "Provider",
    "Scheduler",
    "load_encoder",
]
