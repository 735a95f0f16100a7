"""Embeddings between the socket and a reader: bounded, with a declared rule for what gives way."""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

from ovstream.types import Embedding

Policy = Literal["latest", "bounded", "lossless"]


class Ring:
    """A queue whose end gives way to its front.

    Args:
        policy: "latest" keeps the newest embedding per stream and kind; "bounded" the newest `capacity` of
            all; "lossless" gives nothing away: when it is full, its owner must stop filling it.
        capacity: Most embeddings kept.
    """

    def __init__(self, policy: Policy, *, capacity: int) -> None:
        self._latest = policy == "latest"
        self._lossless = policy == "lossless"
        self._capacity = capacity
        self._items: OrderedDict[object, Embedding] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def full(self) -> bool:
        """Whether a lossless ring must be emptied before more is put in; others are never full."""
        return self._lossless and len(self._items) >= self._capacity

    def push(self, embedding: Embedding) -> int:
        """Puts an embedding at the end; returns how many gave way to it.

        A stream's newer embedding takes the place of its older one, so that a busy stream does not keep
        the others waiting.
        """
        self._count += 1
        key: object = (embedding.stream_id, embedding.kind) if self._latest else self._count
        dropped = int(key in self._items)
        self._items[key] = embedding
        if len(self._items) > self._capacity and not self._lossless:
            self._items.popitem(last=False)
            dropped += 1
        return dropped

    def pop(self) -> Embedding:
        """Takes the front."""
        return self._items.popitem(last=False)[1]
