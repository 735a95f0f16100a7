"""Events between the sockets and a reader: bounded, with a declared rule for what gives way."""

from __future__ import annotations

import re
import sys
from collections import OrderedDict
from typing import Literal, get_args

from ovstream.errors import ConfigError
from ovstream.publish.events import Event
from ovstream.types import Embedding

Policy = Literal["latest", "bounded", "lossless"]

_BOUNDED = re.compile(r"bounded\((\d{1,9})\)")


def parse_policy(policy: str, *, capacity: int) -> tuple[Policy, int]:
    """Reads "latest", "bounded", "bounded(N)" or "lossless".

    Raises:
        ConfigError: It is none of these.
    """
    if match := _BOUNDED.fullmatch(policy):
        policy, capacity = "bounded", int(match[1])
    for known in get_args(Policy):
        if policy == known:
            if capacity < 1:
                raise ConfigError(f"capacity={capacity}; it must be 1 or more")
            return known, capacity
    raise ConfigError(f"policy={policy!r}; choose 'latest', 'bounded', 'bounded(N)' or 'lossless'")


class Ring:
    """A queue in which older embeddings give way to newer ones; what else there is to tell stays.

    Args:
        policy: "latest" keeps the newest embedding per stream and kind; "bounded" the newest `capacity` of
            all; "lossless" gives nothing away: when it is full, its owner must stop filling it.
        capacity: Most embeddings kept, and most other events.

    Attributes:
        dropped_events: What else there was to tell that gave way, where no embedding was left to do so.
    """

    def __init__(self, policy: Policy, *, capacity: int) -> None:
        self.latest = policy == "latest"
        self._lossless = policy == "lossless"
        self._capacity = capacity
        self._items: OrderedDict[object, Event] = OrderedDict()
        self._embeddings = 0
        self._count = 0
        self.dropped_events = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def full(self) -> bool:
        """Whether a lossless ring must be emptied before more is put in; others are never full."""
        return self._lossless and len(self._items) >= self._capacity

    @property
    def room(self) -> int:
        """How many messages may be read before a lossless ring is full; of others, as many as there are."""
        return max(0, self._capacity - len(self._items)) if self._lossless else sys.maxsize

    @property
    def roomy(self) -> bool:
        """Whether what was missed may be asked for: it will fit."""
        return 2 * self._embeddings <= self._capacity

    def push(self, event: Event) -> int:
        """Puts an event at the end; returns how many embeddings gave way to it.

        A stream's newer embedding takes the place of its older one, so that a busy stream does not keep
        the others waiting.
        """
        self._count += 1
        if not isinstance(event, Embedding):
            self._items[self._count] = event
            return self._shrink() if len(self._items) > 2 * self._capacity else 0
        key: object = (event.stream_id, event.kind) if self.latest else self._count
        dropped = int(key in self._items)
        self._items[key] = event
        self._embeddings += 1 - dropped
        if self._embeddings > self._capacity and not self._lossless:
            dropped += self._shrink()
        return dropped

    def pop(self) -> Event:
        """Takes the front."""
        event = self._items.popitem(last=False)[1]
        if isinstance(event, Embedding):
            self._embeddings -= 1
        return event

    def _shrink(self) -> int:
        """Drops the oldest embedding, or, where there is none, the oldest event."""
        if self._lossless:
            return 0
        oldest = next((key for key, event in self._items.items() if isinstance(event, Embedding)), None)
        if oldest is None:
            self._items.popitem(last=False)
            self.dropped_events += 1
            return 0
        del self._items[oldest]
        self._embeddings -= 1
        return 1
