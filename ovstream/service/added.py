"""Streams that came through the API: what was asked for, apart from what became of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ovstream.config import StreamConfig, added_config, nested_options
from ovstream.config.layers import merge
from ovstream.errors import ConfigError
from ovstream.service.checkpoints import StateFolder
from ovstream.service.events import EventLog
from ovstream.service.preserve import as_plain

Options = Mapping[str, Any]


class AddedStreams:
    """Keeps what was asked for; the `defaults` of the file and the environment fill in the rest at every start.

    Args:
        state: Where it is kept; None: nowhere.
        log: Is told about entries that nobody can read.
        defaults: Of the configuration file.
    """

    def __init__(self, state: StateFolder | None, log: EventLog, defaults: Options) -> None:
        self._state = state
        self._log = log
        self._defaults = defaults
        self._asked: dict[str, Options] = {}
        self._unread: list[Options] = []

    def load(self) -> Iterator[StreamConfig]:
        """Yields the streams of earlier; an entry that makes no sense stays in the file, and is told about.

        Raises:
            ConfigError: The file is damaged.
        """
        for asked in self._state.load_added() if self._state is not None else []:
            try:
                config = added_config(asked, defaults=self._defaults)
            except ConfigError as error:
                self._unread.append(asked)
                self.tell(str(asked.get("stream_id", "")), error)
                continue
            self._asked[config.stream_id] = asked
            yield config

    def tell(self, name: str, error: ConfigError) -> None:
        """Says that a stream of earlier does not run."""
        self._log.add(name, "error", f"added earlier, not started: {error}")

    def asked(self, options: StreamConfig | Options) -> tuple[Options, StreamConfig]:
        """Makes the configuration of a new stream; returns what `keep` wants, too.

        Raises:
            ConfigError: An option is unknown or has a wrong value.
        """
        if isinstance(options, StreamConfig):
            return as_plain(options), options
        asked = as_plain(nested_options(options))
        return asked, added_config(asked, defaults=self._defaults)

    def changed(self, name: str, changes: Options) -> tuple[Options, StreamConfig]:
        """Likewise, of a stream that is here."""
        asked = as_plain(merge(self._asked[name], changes))
        return asked, added_config(asked, defaults=self._defaults)

    def under(self, defaults: Options) -> dict[str, StreamConfig]:
        """What the streams are under other defaults; nothing where those are the same.

        Raises:
            ConfigError: One makes no sense under them.
        """
        if defaults == self._defaults:
            return {}
        return {name: added_config(asked, defaults=defaults) for name, asked in self._asked.items()}

    def take_defaults(self, defaults: Options) -> None:
        """From now on."""
        self._defaults = defaults

    def keep(self, name: str, asked: Options) -> None:
        """Remembers a stream, or what it was changed to."""
        self._asked[name] = asked

    def forget(self, name: str) -> None:
        """The stream is gone, or belongs to the file now."""
        self._asked.pop(name, None)

    def save(self) -> None:
        """Writes all."""
        if self._state is not None:
            self._state.save_added([*self._asked.values(), *self._unread])
