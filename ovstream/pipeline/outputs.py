"""Opens the places where the results of streams go, each once."""

from __future__ import annotations

import contextlib
from typing import Self

from ovstream.config import PublishConfig, SinkConfig, StreamConfig
from ovstream.sinks import Sink, open_sink


class Outputs:
    """Publishers and sinks of the streams of a process; streams that name the same one share it.

    Use it as a context manager, or call `close`: sinks stay open until then, whatever becomes of the streams.
    """

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._publishers: dict[str, Sink] = {}
        self._sinks: list[tuple[SinkConfig, Sink]] = []

    def of(self, config: StreamConfig) -> list[Sink]:
        """Returns the outputs of one stream, in the order of its configuration; opens those that are new.

        Raises:
            ConfigError: An endpoint cannot be bound, or a sink makes no sense.
        """
        found = [self._publisher(config.publish)] if config.publish.endpoint else []
        return found + [self._sink(one) for one in config.sinks]

    def close(self) -> None:
        """Closes all of them; may wait for their last messages, and be called twice."""
        self._publishers.clear()
        self._sinks.clear()
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _publisher(self, config: PublishConfig) -> Sink:
        endpoint = str(config.endpoint)
        if endpoint not in self._publishers:
            from ovstream.publish import Publisher

            self._publishers[endpoint] = self._kept(Publisher(endpoint, config=config))
        return self._publishers[endpoint]

    def _sink(self, config: SinkConfig) -> Sink:
        for known, sink in self._sinks:
            if known == config:
                return sink
        sink = self._kept(open_sink(config))
        self._sinks.append((config, sink))
        return sink

    def _kept(self, sink: Sink) -> Sink:
        self._stack.callback(sink.close)
        return sink
