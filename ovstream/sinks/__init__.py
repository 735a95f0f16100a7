"""Where results can go beside the network."""

from ovstream.sinks.base import Sink
from ovstream.sinks.jsonl import JsonlSink
from ovstream.sinks.memory import MemorySink

__all__ = ["JsonlSink", "MemorySink", "Sink"]
