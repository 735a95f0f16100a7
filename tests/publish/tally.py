"""Messages whose content follows from their number, and the count of what became of them."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import zmq

from ovstream.publish import Gap, Subscription
from ovstream.types import Embedding, StreamEvent
from tests.wire.samples import embedding

DIM = 256


def numbered(seq: int, *, stream_id: str = "door", epoch: int = 0) -> Embedding:
    """An embedding whose vector follows from its number."""
    vector = np.random.default_rng(seq).integers(-1000, 1000, DIM).astype(np.float32)
    return embedding(seq, stream_id=stream_id, epoch=epoch, vector=vector, publish_time_ns=time.time_ns())


@dataclass(slots=True)
class Tally:
    """What a subscriber was given."""

    delivered: dict[str, list[int]] = field(default_factory=dict)
    gaps: dict[str, list[int]] = field(default_factory=dict)
    events: list[StreamEvent] = field(default_factory=list)
    corrupt: int = 0

    def take(self, event: object) -> None:
        """Notes one event."""
        if isinstance(event, Embedding):
            self.delivered.setdefault(event.stream_id, []).append(event.seq)
            expected = numbered(event.seq).vector
            self.corrupt += not np.array_equal(event.vector, expected)
        elif isinstance(event, Gap) and event.channel == "e":
            self.gaps.setdefault(event.stream_id, []).extend(range(event.first, event.last + 1))
        elif isinstance(event, StreamEvent):
            self.events.append(event)

    def seen(self, stream_id: str = "door") -> int:
        """The number after the last one that was delivered or given up."""
        return max([-1, *self.delivered.get(stream_id, [])[-1:], *self.gaps.get(stream_id, [])[-1:]]) + 1


@dataclass(frozen=True, slots=True)
class Row:
    """The outcome of an experiment."""

    name: str
    sent: int
    delivered: int
    recovered: int
    told: int
    lost: int
    duplicated: int
    corrupt: int
    unreported: int
    remark: str = ""

    def __str__(self) -> str:
        """A line of the table."""
        numbers = (
            self.sent,
            self.delivered,
            self.recovered,
            self.told,
            self.lost,
            self.duplicated,
            self.corrupt,
            self.unreported,
        )
        return f"| {self.name} | " + " | ".join(f"{number:,}" for number in numbers) + f" | {self.remark} |"


HEAD = """| experiment | sent | delivered | recovered | told | lost | duplicated | corrupt | unreported | |
|---|---|---|---|---|---|---|---|---|---|"""


def outcome(
    name: str,
    tally: Tally,
    recovered: int,
    sent: dict[str, range],
    *,
    may_be_told: Callable[[int], bool] = lambda seq: False,
    remark: str = "",
) -> Row:
    """Compares what was given with what was sent."""
    delivered = sum(map(len, tally.delivered.values()))
    told = sum(map(len, tally.gaps.values()))
    lost = duplicated = unreported = 0
    for stream_id, numbers in sent.items():
        got, gone = tally.delivered.get(stream_id, []), set(tally.gaps.get(stream_id, []))
        duplicated += len(got) - len(set(got)) + sum(one >= other for one, other in itertools.pairwise(got))
        missing = set(numbers) - set(got)
        unreported += len(missing - gone)
        lost += sum(not may_be_told(seq) for seq in missing)
        duplicated += len(set(got) & gone)
    total = sum(map(len, sent.values()))
    return Row(name, total, delivered, recovered, told, lost, duplicated, tally.corrupt, unreported, remark)


def read_until(events: Subscription, tally: Tally, done: Callable[[], bool], *, seconds: float = 60) -> None:
    """Reads until a condition holds; a thread ends the subscription when that takes too long."""
    guard = threading.Timer(seconds, events.close)
    guard.start()
    try:
        for event in events:
            tally.take(event)
            if done():
                return
        raise TimeoutError(f"not done after {seconds} s: {events.stats}")
    except zmq.ZMQError:  # closed under the reader by the guard
        raise TimeoutError(f"not done after {seconds} s: {events.stats}") from None
    finally:
        guard.cancel()


def resident_kib() -> int:
    """Memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def end_with_parent() -> None:
    """In a child: ends it when whoever holds the other end of its stdin is gone, in whatever way that happened."""

    def watch() -> None:
        while os.read(0, 1 << 12):
            pass
        os._exit(3)

    threading.Thread(target=watch, daemon=True).start()
