"""Where results can go beside the network."""

from ovstream.sinks.base import Sink
from ovstream.sinks.jsonl import JsonlSink, as_json
from ovstream.sinks.memory import MemorySink
from ovstream.sinks.registry import check_sink, open_sink, sink_types
from ovstream.types import SinkCounts

__all__ = [
    "JsonlSink",
    "MemorySink",
    "Sink",
    "SinkCounts",
    "as_json",
    "check_sink",
    "open_sink",
    "sink_types",
]
