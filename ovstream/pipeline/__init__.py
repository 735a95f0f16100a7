"""Wires the stages of one stream together, and runs it."""

from ovstream.pipeline.at_work import AT_WORK
from ovstream.pipeline.dropping import DROP_REASONS
from ovstream.pipeline.effort import FULL_EFFORT, Effort
from ovstream.pipeline.encoders import encoder_of
from ovstream.pipeline.inspection import inspect
from ovstream.pipeline.latency import BOUNDS_SECONDS, Latency
from ovstream.pipeline.opening import iterate, open
from ovstream.pipeline.outputs import Outputs, close_all
from ovstream.pipeline.passes import PASSES
from ovstream.pipeline.replay import Replay, Replayed
from ovstream.pipeline.stats import StreamStats
from ovstream.pipeline.stream import Stream
from ovstream.pipeline.turns import TURNS
from ovstream.pipeline.worker import FrameTrace, StreamWorker

__all__ = [
    "AT_WORK",
    "BOUNDS_SECONDS",
    "DROP_REASONS",
    "FULL_EFFORT",
    "PASSES",
    "TURNS",
    "Effort",
    "FrameTrace",
    "Latency",
    "Outputs",
    "Replay",
    "Replayed",
    "Stream",
    "StreamStats",
    "StreamWorker",
    "close_all",
    "encoder_of",
    "inspect",
    "iterate",
    "open",
]
