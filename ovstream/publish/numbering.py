"""Which epoch and number the messages of a publisher have, and whether the numbers are still its own to use."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, ItemsView
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from ovstream.errors import WireError
from ovstream.publish.journal import Journal
from ovstream.publish.leases import BLOCK, Leases

_AHEAD = 4  # the next block is asked for when a fourth of this one is left: nobody waits for the disk
_BLOCK_SECONDS = 0.5  # a block that lasts less is followed by a larger one: each costs a write to the disk
_MAX_BLOCK = 128 * BLOCK

_log = logging.getLogger("ovstream")


@dataclass(slots=True)
class Sequence:
    """Where the numbering of one stream stands.

    Attributes:
        epoch: Of the publisher.
        first_seq: Where the numbering of the epoch began.
        next_seq: Number of the next embedding.
        first_event: Where that of the status messages began.
        next_event: Number of the next status message.
        reserved: Numbers below may be used; None: there are no leases.
        asked: Reserves the next block, up to `asked_up_to`; None: nobody does.
        ask_at: The number at which there is something to reserve, or to wait for.
        block: Numbers reserved at once.
        reserved_at: Monotonic seconds when that began the last time.
        ended: The stream is over.
    """

    epoch: int
    first_seq: int
    next_seq: int
    first_event: int = 0
    next_event: int = 0
    reserved: int | None = None
    asked: Future[None] | None = None
    asked_up_to: int = 0
    ask_at: int = 0
    block: int = BLOCK
    reserved_at: float = 0.0
    ended: bool = False

    @property
    def previous_seq(self) -> int | None:
        """The number sent before the next one in this epoch."""
        return self.next_seq - 1 if self.next_seq > self.first_seq else None


class Numbering:
    """The sequences of all streams of a publisher.

    Args:
        journal: Knows where an earlier process stopped.
        leases: Say whose the numbers are; None: nobody else publishes these streams.
    """

    def __init__(self, journal: Journal, leases: Leases | None) -> None:
        self._journal = journal
        self._leases = leases
        self._leasing = True  # so far; a change is told once
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="ovstream-lease")
        self._sequences: dict[str, Sequence] = {}

    def items(self) -> ItemsView[str, Sequence]:
        """Names and sequences of all streams."""
        return self._sequences.items()

    def __getitem__(self, stream_id: str) -> Sequence:
        """The sequence of a stream; one that was never heard of starts at 0."""
        sequence = self._sequences.get(stream_id)
        if sequence is None:
            sequence = self._sequences[stream_id] = Sequence(0, 0, 0)
        return sequence

    def resume(self, stream_id: str) -> tuple[int, int] | None:
        """Takes a stream over and says where to go on: (epoch, number); None: nothing is known of it.

        Raises:
            ConfigError: The lease store cannot be written.
        """
        position = self._journal.position(stream_id, "e")
        epoch = 0 if position is None else position.epoch + 1
        next_seq = 0 if position is None else position.next_seq
        if self._leases is None:
            return None if position is None else (epoch, next_seq)
        lease = self._leases.claim(stream_id, at_least_epoch=epoch, next_seq=next_seq)
        if not lease.same_journal:
            next_seq = lease.reserved  # the last messages may have been sent without reaching this journal
        event = self._journal.position(stream_id, "s")
        next_event = 0 if event is None else event.next_seq
        self._sequences[stream_id] = Sequence(
            lease.epoch, next_seq, next_seq, next_event, next_event, reserved=lease.reserved
        )
        return lease.epoch, next_seq

    def announce(self, stream_id: str, *, epoch: int, next_seq: int) -> None:
        """Starts an epoch before its first embedding.

        Raises:
            WireError: A later epoch was already published.
            FencedError: Another publisher has taken the stream over.
        """
        known = self._sequences.get(stream_id)
        if known is not None and known.reserved is not None and epoch == known.epoch:
            known.first_seq = known.next_seq = max(next_seq, known.next_seq)  # the epoch that `resume` gave
            return
        self._enter(stream_id, epoch, next_seq)

    def advance(self, stream_id: str, epoch: int, seq: int) -> Sequence:
        """Finds the numbering that an embedding continues, or starts a new one; its number is not used up yet.

        Raises:
            WireError: Its number or epoch was already used.
            FencedError: Another publisher has taken the stream over.
        """
        sequence = self._sequences.get(stream_id)
        if sequence is None or epoch != sequence.epoch:
            sequence = self._enter(stream_id, epoch, seq)
        elif seq < sequence.next_seq:
            raise WireError(f"{stream_id}: number {seq} after {sequence.next_seq - 1}")
        if sequence.reserved is not None and seq >= sequence.ask_at:
            sequence.reserved = self._reserve(stream_id, sequence, sequence.reserved, seq)
        return sequence

    def close(self) -> None:
        """Ends the thread that reserves numbers; may be called twice."""
        self._beside.shutdown()

    def _enter(self, stream_id: str, epoch: int, next_seq: int) -> Sequence:
        """Begins an epoch."""
        if self._leases is not None and stream_id not in self._sequences:
            self.resume(stream_id)
        known = self._sequences.get(stream_id)
        last = self._journal.position(stream_id, "e") if known is None else None
        last_epoch = known.epoch if known else last.epoch if last else -1
        fresh = known is not None and known.reserved is not None and known.next_seq == known.first_seq
        if epoch < last_epoch or (epoch == last_epoch and not fresh):
            raise WireError(f"{stream_id}: epoch {epoch} after epoch {last_epoch}; see Publisher.resume")
        self._with_leases(lambda leases: leases.advance(stream_id, epoch=epoch))
        event = self._journal.position(stream_id, "s")
        next_event = known.next_event if known else event.next_seq if event else 0
        sequence = Sequence(
            epoch, next_seq, next_seq, next_event, next_event, known.reserved if known else None
        )
        self._sequences[stream_id] = sequence
        return sequence

    def _reserve(self, stream_id: str, sequence: Sequence, reserved: int, seq: int) -> int:
        """Has the next block reserved by a thread, waits for that only if this number needs it; returns the new bound.

        Raises:
            FencedError: Another publisher has taken the stream over.
        """
        asked = sequence.asked or self._ask(stream_id, sequence, max(reserved, seq))
        while seq >= reserved:
            asked.result()
            reserved, sequence.asked = sequence.asked_up_to, None
            if seq >= reserved:  # it jumped
                asked = self._ask(stream_id, sequence, seq)
        sequence.ask_at = reserved if sequence.asked else reserved - sequence.block // _AHEAD
        return reserved

    def _ask(self, stream_id: str, sequence: Sequence, start: int) -> Future[None]:
        now = time.monotonic()
        lasted = now - sequence.reserved_at
        if lasted < _BLOCK_SECONDS:
            sequence.block = min(2 * sequence.block, _MAX_BLOCK)
        elif lasted > 4 * _BLOCK_SECONDS:
            sequence.block = max(sequence.block // 2, BLOCK)
        sequence.reserved_at = now
        sequence.asked_up_to = up_to = start + sequence.block
        sequence.asked = self._beside.submit(
            self._with_leases, lambda leases: leases.reserve(stream_id, up_to=up_to)
        )
        return sequence.asked

    def _with_leases(self, call: Callable[[Leases], None]) -> None:
        """Asks the lease store; one that cannot be written does not stop the live messages."""
        if self._leases is None:
            return
        try:
            call(self._leases)
            self._leasing = True
        except sqlite3.Error as error:
            if self._leasing:
                _log.error("lease store %s cannot be written: %s", self._leases.path, error)
            self._leasing = False
