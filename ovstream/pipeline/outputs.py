"""Opens the places where the results of streams go, each once, and closes those that nobody uses any more."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from ovstream.config import PublishConfig, SinkConfig, StreamConfig
from ovstream.errors import ConfigError
from ovstream.sinks import Sink, SinkCounts, open_sink


@dataclass(slots=True, eq=False)
class _Opened:
    """One output, its name, and the streams that use it."""

    key: PublishConfig | SinkConfig
    name: str
    sink: Sink
    users: set[str] = field(default_factory=set)


class Outputs:
    """Publishers and sinks of the streams of a process; streams that name the same one share it.

    Use it as a context manager, or call `close`: outputs stay open until then, or until `release` finds that no stream
    is left that uses them.
    """

    def __init__(self) -> None:
        self._opened: list[_Opened] = []

    def of(self, config: StreamConfig) -> list[Sink]:
        """Returns the outputs of one stream, in the order of its configuration; opens those that are new.

        Raises:
            ConfigError: An endpoint cannot be bound, or a sink makes no sense.
        """
        found = [self._publisher(config.publish)] if config.publish.endpoint else []
        found += [self._sink(one) for one in config.sinks]
        for one in found:
            one.users.add(config.stream_id)
        return [one.sink for one in found]

    def release(self, stream_id: str, *, keep: StreamConfig | None = None) -> list[Sink]:
        """Ends the use by a stream, but for what its next configuration names.

        Returns:
            Outputs that nobody uses any more, for the caller to close: that may wait for their last messages.
        """
        kept = [] if keep is None else [keep.publish, *keep.sinks]
        for one in self._opened:
            if one.key not in kept:
                one.users.discard(stream_id)
        gone = [one for one in self._opened if not one.users]
        self._opened = [one for one in self._opened if one.users]
        return [one.sink for one in gone]

    def counts(self) -> dict[str, SinkCounts]:
        """What became of the results, by the name of the sink; sinks that do not count are left out."""
        return {one.name: found for one in self._opened if (found := one.sink.counts) is not None}

    def names(self, stream_id: str) -> list[str]:
        """Outputs of one stream."""
        return [one.name for one in self._opened if stream_id in one.users]

    def close(self) -> None:
        """Closes all of them, beside each other; waits for their last messages, and may be called twice."""
        opened, self._opened = self._opened, []
        close_all([one.sink for one in opened])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _publisher(self, config: PublishConfig) -> _Opened:
        known = self._known(config)
        if known is not None:
            return known
        if any(
            isinstance(one.key, PublishConfig) and one.key.endpoint == config.endpoint for one in self._opened
        ):
            raise ConfigError(
                f"publish.endpoint {config.endpoint}: streams that share it share one publisher, so that their other "
                "options of 'publish' must be the same, too"
            )
        from ovstream.publish import Publisher

        return self._add(config, "zeromq", Publisher(str(config.endpoint), config=config))

    def _sink(self, config: SinkConfig) -> _Opened:
        return self._known(config) or self._add(config, config.type, open_sink(config))

    def _known(self, key: PublishConfig | SinkConfig) -> _Opened | None:
        return next((one for one in self._opened if one.key == key), None)

    def _add(self, key: PublishConfig | SinkConfig, kind: str, sink: Sink) -> _Opened:
        taken = {one.name for one in self._opened}
        names = (kind if number == 1 else f"{kind}-{number}" for number in range(1, len(taken) + 2))
        opened = _Opened(key, next(name for name in names if name not in taken), sink)
        self._opened.append(opened)
        return opened


def close_all(sinks: Sequence[Sink]) -> None:
    """Closes sinks beside each other, for each may wait for its target; the first error is raised when all are closed."""
    errors: list[BaseException] = []

    def close(sink: Sink) -> None:
        try:
            sink.close()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=close, args=(sink,), daemon=True) for sink in sinks[1:]]
    for thread in threads:
        thread.start()
    for sink in sinks[:1]:
        close(sink)
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
