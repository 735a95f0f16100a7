"""What follows a failed connection: another attempt after a pause, or the end."""

from __future__ import annotations

import logging

from ovstream.config import SourceConfig
from ovstream.errors import SourceAuthError, SourceError, SourceProtocolError
from ovstream.sources.pacing import Backoff

_log = logging.getLogger("ovstream")


class Retry:
    """Never gives a camera up that has been seen; one that has not, only where the user said so.

    Args:
        config: Uses `keep_trying` and the pauses.
        give_up: Errors of this kind are final in any case, as long as no unit has arrived.
    """

    def __init__(self, config: SourceConfig, *, give_up: tuple[type[SourceError], ...] = ()) -> None:
        self._keep_trying = config.keep_trying
        self._give_up = give_up
        self._last_arrival_ns: int | None = None
        self._backoff = Backoff(
            initial_seconds=config.reconnect_initial_seconds, max_seconds=config.reconnect_max_seconds
        )

    def pause_seconds(self, failure: SourceError, *, connected: bool, last_arrival_ns: int | None) -> float:
        """How long to wait; the shortest pause again after a connection that gave a unit.

        Args:
            failure: Of the last attempt.
            connected: Whether there has been a connection.
            last_arrival_ns: When the newest unit came; None before the first.

        Raises:
            SourceError: `failure`, when it is final.
        """
        if last_arrival_ns is None and self._is_final(failure, connected):
            raise failure
        if last_arrival_ns != self._last_arrival_ns:
            self._last_arrival_ns = last_arrival_ns
            self._backoff.reset()
        return self._backoff.next_seconds(slow=isinstance(failure, SourceAuthError))

    def _is_final(self, failure: SourceError, connected: bool) -> bool:
        hopeless = not connected or isinstance(failure, SourceProtocolError)
        return isinstance(failure, self._give_up) or (hopeless and not self._keep_trying)


def unexpected(name: str, error: Exception) -> SourceError:
    """A defect of ours, met by one camera, must not cost it for ever. Call it where `error` is caught."""
    _log.exception("%s: the connection ended in an unexpected way", name)
    return SourceError(f"{name}: unexpected {type(error).__name__}")
