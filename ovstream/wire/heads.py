"""Beginnings of headers, kept packed: most of a header is the same from message to message of a stream."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ovstream.errors import WireError
from ovstream.types import Action, Kind
from ovstream.wire import limits
from ovstream.wire.fields import WIRE_MAJOR, pack
from ovstream.wire.tails import Tail
from ovstream.wire.vectors import Layout, layout_of

# Most of a header is the same from message to message. Both sides keep that part packed, in this order, at the front;
# a header that begins otherwise, from another implementation, is read field by field.
MAP_OF_25 = b"\xde\x00\x19"
MAP_OF_11 = b"\x8b"
_MAX_REMEMBERED = 4096
_HEADS_PER_TOPIC = 16  # kinds, actions and reasons take turns


@dataclass(frozen=True, slots=True)
class Constant:
    """What the messages of a stream have in common."""

    stream_id: str
    epoch: int
    first_seq: int
    kind: Kind
    code: str
    shape: tuple[int, ...]
    grid: tuple[int, int]
    model_id: str
    model_digest: str
    trained: bool
    action: Action
    reason: str
    decoded: bool

    def packed(self) -> bytes:
        """The beginning of the header."""
        fields = {
            "v": WIRE_MAJOR,
            "id": self.stream_id,
            "ep": self.epoch,
            "q0": self.first_seq,
            "k": self.kind,
            "dt": self.code,
            "sh": self.shape,
            "g": self.grid,
            "m": self.model_id,
            "md": self.model_digest,
            "tr": self.trained,
            "a": self.action,
            "r": self.reason,
            "dec": self.decoded,
        }
        return MAP_OF_25 + pack(fields)[1:]


@dataclass(slots=True)
class Known:
    """A beginning that was received, and how the rest was laid out the last time."""

    head: bytes
    constant: Constant
    layout: Layout
    tail: Tail | None = None


class HeadMemory:
    """Beginnings of received headers, of as many streams as one process may deal with; forgets all when it is full."""

    def __init__(self) -> None:
        self._received: dict[bytes, list[Known]] = {}

    def recall(self, topic: bytes, header: bytes) -> Known | None:
        """What a received header begins with."""
        for known in self._received.get(topic, ()):
            if header.startswith(known.head):
                return known
        return None

    def remember(self, topic: bytes, header: bytes, constant: Constant) -> None:
        """Keeps the beginning of a header that was read field by field."""
        head = constant.packed()
        if not header.startswith(head):
            return
        if len(self._received) >= _MAX_REMEMBERED:
            self._received.clear()
        kept = self._received.setdefault(topic, [])
        kept.insert(0, Known(head, constant, layout_of(constant.code, constant.shape, constant.grid)))
        del kept[_HEADS_PER_TOPIC:]


def check_shape(kind: Kind, shape: tuple[int, ...], grid: tuple[int, int]) -> None:
    """Bounds a vector: (D,), or (patches, D) for tokens."""
    if not shape or not 1 <= shape[-1] <= limits.MAX_DIM:
        raise WireError(f"a vector of shape {shape}; its length must be in 1..{limits.MAX_DIM}")
    expected = (grid[0] * grid[1], shape[-1]) if kind == "tokens" else (shape[-1],)
    if shape != expected:
        raise WireError(f"a {kind} vector of shape {shape} on a grid of {grid}")
    if math.prod(shape) * 4 > limits.MAX_PAYLOAD_BYTES:
        raise WireError(f"a vector of shape {shape} is larger than {limits.MAX_PAYLOAD_BYTES} bytes")
