"""What the sinks that deliver to a server have in common: a spool, a thread, and patience."""

from __future__ import annotations

import logging
import random
import string
import threading
import time
from abc import abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import TypedDict

from ovstream.errors import ConfigError
from ovstream.sinks.base import Sink
from ovstream.sinks.jsonl import as_json
from ovstream.sinks.spool import Parcel, Spool
from ovstream.types import Embedding, SinkCounts

_FIRST_PAUSE_SECONDS = 0.25
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}

_log = logging.getLogger("ovstream")


class AwayError(Exception):
    """The target cannot be reached or is not able to take anything now; it is tried again."""


class RefusedError(Exception):
    """The target does not want these parcels, now or later."""


class Delivery(TypedDict, total=False):
    """Options that all sinks with a spool have; their defaults are those of `DeliveringSink`.

    Attributes:
        spool_megabytes: Bound of the spool; beyond it the oldest give way.
        retry_seconds: Longest pause between two tries.
        close_seconds: How long `close` may go on delivering; the rest stays in the spool.
    """

    spool_megabytes: float
    retry_seconds: float
    close_seconds: float


class DeliveringSink(Sink):
    """Delivers each embedding at least once and in order, as JSON, from a thread of its own.

    A sink derives from it and writes `deliver`. Whatever is not delivered when the process ends is delivered by
    the next one with the same spool.

    Args:
        name: The target in log lines, without secrets.
        spool: File that holds what waits.
        batch: Most embeddings of one delivery.
        linger_seconds: Longest wait for a delivery to be full.
        spool_megabytes: See `Delivery`.
        retry_seconds: See `Delivery`.
        close_seconds: See `Delivery`.

    Attributes:
        delivered: Embeddings that the target acknowledged.
        refused: Embeddings that the target did not want; they are dropped.
    """

    def __init__(
        self,
        *,
        name: str,
        spool: str | Path,
        batch: int,
        linger_seconds: float = 0.0,
        spool_megabytes: float = 256.0,
        retry_seconds: float = 30.0,
        close_seconds: float = 5.0,
    ) -> None:
        if spool_megabytes <= 0 or batch < 1 or retry_seconds <= 0 or close_seconds < 0:
            raise ConfigError("spool_megabytes, batch and retry_seconds must be positive")
        self.delivered = self.refused = 0
        self._name = name
        self._spool = Spool(spool, max_bytes=int(spool_megabytes * 10**6))
        self._batch = batch
        self._retry_seconds = retry_seconds
        self._close_seconds = close_seconds
        self._linger_seconds = linger_seconds
        self._failures = 0
        self._full = threading.Event()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._deadline = float("inf")
        if self.waiting:  # left by an earlier process
            self._wake.set()
        self._thread = threading.Thread(target=self._run, name=f"ovstream-{name}", daemon=True)
        self._thread.start()

    @abstractmethod
    def deliver(self, parcels: list[Parcel]) -> None:
        """Hands over parcels and waits until the target has acknowledged all of them; called in the thread.

        Raises:
            AwayError: Some may not have arrived; all are tried again.
            RefusedError: They will never be taken.
        """

    def disconnect(self) -> None:
        """Lets go of the target; called last in the thread."""
        return

    def address(self, embedding: Embedding) -> str:
        """Where an embedding goes at the target; kept beside it in the spool."""
        return embedding.stream_id

    @property
    def waiting(self) -> int:
        """Embeddings in the spool."""
        return len(self._spool)

    @property
    def counts(self) -> SinkCounts:
        """What was delivered, refused, lost, and what waits."""
        return SinkCounts(
            sent=self.delivered,
            failed=self.refused,
            dropped=self.lost,
            waiting=self.waiting,
            waiting_bytes=self._spool.waiting_bytes,
        )

    @property
    def lost(self) -> int:
        """Embeddings that gave way in the spool, or that the disk did not take."""
        return self._spool.lost

    def publish(self, embedding: Embedding) -> None:
        """Takes one embedding into the spool."""
        self._spool.append(self.address(embedding), as_json(embedding, vectors="base64"))
        self._wake.set()
        if self.waiting >= self._batch:
            self._full.set()

    def close(self) -> None:
        """Delivers what waits for at most `close_seconds`; the rest stays in the spool."""
        if not self._closing.is_set():
            self._deadline = time.monotonic() + self._close_seconds
            self._closing.set()
            self._full.set()
            self._wake.set()
        self._thread.join(max(0.0, self._deadline - time.monotonic()) + 0.5)

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            self._full.clear()
            if self.waiting < self._batch and not self._closing.is_set():
                self._full.wait(self._linger_seconds)
            last = self._closing.is_set()  # before the drain: what came meanwhile gets its chance too
            self._drain()
            if last:
                break
        self.disconnect()
        self._spool.close()

    def _drain(self) -> None:
        first = True
        while time.monotonic() < self._deadline:
            if not first and self._linger_seconds and 0 < self.waiting < self._batch:
                self._wake.set()  # the rest waits for company
                if not self._closing.is_set():
                    return
            try:
                parcels = self._spool.oldest(self._batch)
                if not parcels:
                    return
                self._hand_over(parcels)
                first = False
            except Exception as error:  # whatever it is, the thread and the spool must go on
                if not self._pause(error):
                    return
            else:
                self._recovered()

    def _hand_over(self, parcels: list[Parcel]) -> None:
        try:
            self.deliver(parcels)
        except RefusedError as error:
            if len(parcels) > 1:  # one bad embedding costs the others nothing
                for one in parcels:
                    self._hand_over([one])
                return
            if not self.refused:
                _log.warning("%s refuses an embedding: %s", self._name, error)
            self.refused += 1
        else:
            self.delivered += len(parcels)
        self._spool.remove(parcels)

    def _pause(self, error: Exception) -> bool:
        """Waits for the next try; False: the sink is closing, and the target had its last chance."""
        if not self._failures:
            _log.warning(
                "%s is away, %d embeddings wait: %s",
                self._name,
                self.waiting,
                str(error) or type(error).__name__,
            )
        longest = min(self._retry_seconds, _FIRST_PAUSE_SECONDS * 2 ** min(self._failures, 20))
        self._failures += 1
        return not self._closing.wait(longest * random.uniform(0.5, 1.0))

    def _recovered(self) -> None:
        if self._failures:
            _log.info("%s is back after %d tries", self._name, self._failures)
        self._failures = 0


def check_template(template: str, names: Iterable[str]) -> None:
    """Raises ConfigError unless a template names nothing but `names` in its braces."""
    try:
        used = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
    except ValueError as error:
        raise ConfigError(f"'{template}': {error}") from None
    if unknown := used - set(names):
        raise ConfigError(f"'{template}': unknown {sorted(unknown)}; choose among {sorted(names)}")


def check_private(host: str | None, *, encrypted: bool, secret: bool, allow_insecure: bool) -> None:
    """Raises ConfigError where a secret would cross a network in the clear."""
    if secret and not encrypted and not allow_insecure and host not in _LOOPBACK:
        raise ConfigError(f"a secret would go to {host} in the clear; use TLS, or say allow_insecure: true")
