"""Messages filled in place: what stays the same from message to message of a stream is written once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ovstream.errors import WireError
from ovstream.types import Embedding
from ovstream.wire import limits
from ovstream.wire.fields import stream_topic
from ovstream.wire.heads import Constant, check_shape
from ovstream.wire.tails import KEYS, Present, tail_of
from ovstream.wire.vectors import CODES, Room, VectorDtype, room_of

_ALL_PRESENT = (True,) * len(KEYS)
_MAX_FORMS = 4096
_MAX_BYTES = 16 << 20  # of all forms kept


class Form:
    """The four frames of an embedding, one behind the other in a buffer that the next embedding of its kind fills.

    Args:
        constant: What they have in common.
        present: Which of the other fields are not nil.
        counters: Names, in order.

    Attributes:
        frames: Topic, header, vector, changed patches; good until the form is filled again.
        joined: All of them.
        size: Bytes.

    Raises:
        WireError: Such a message cannot be sent.
    """

    def __init__(self, constant: Constant, present: Present, counters: tuple[str, ...]) -> None:
        check_shape(constant.kind, constant.shape, constant.grid)
        topic, head = stream_topic("e", constant.stream_id).encode(), constant.packed()
        self._tail = tail_of(present, counters)
        self._tail_at = len(topic) + len(head)
        vector_at = self._tail_at + self._tail.size
        if vector_at - len(topic) > limits.MAX_HEADER_BYTES:
            raise WireError(f"header of {vector_at - len(topic)} bytes, at most {limits.MAX_HEADER_BYTES}")
        count, patches = math.prod(constant.shape), math.prod(constant.grid)
        self.size = room_of(constant.code, count, patches, vector_at)[1]
        self._buffer = bytearray(self.size)
        self._buffer[: self._tail_at] = topic + head
        self._room = Room(self._buffer, vector_at, code=constant.code, count=count, patches=patches)
        self.joined = view = memoryview(self._buffer)
        mask_at = self._room.mask_at
        self.frames = [
            view[: len(topic)],
            view[len(topic) : vector_at],
            view[vector_at:mask_at],
            view[mask_at:],
        ]

    def fill(self, embedding: Embedding, values: Sequence[float]) -> bool:
        """Writes what changes; False: a value of the vector is beyond float16, and `frames` are not to be sent.

        Raises:
            WireError: A value is out of range.
        """
        self._tail.write(self._buffer, self._tail_at, values)
        return self._room.fill(embedding.vector, embedding.changed)


class Forms:
    """The forms of one sender; for one thread at a time."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], Form] = {}
        self._bytes = 0

    def fill(
        self, embedding: Embedding, *, dtype: VectorDtype, first_seq: int, previous_seq: int | None
    ) -> Form:
        """Makes a message; see `encode`. The form is good until the next call.

        Raises:
            WireError: The embedding is larger than `limits`, or its vector is not finite or misshapen.
        """
        counters = embedding.counters
        values: list[Any] = [
            embedding.seq,
            previous_seq,
            embedding.publish_time_ns,
            embedding.capture_time_ns,
            embedding.pts_seconds,
            embedding.keep_ratio,
            embedding.drift,
            embedding.staleness_frames,
            embedding.n_updated,
            embedding.flops,
        ]
        present = _ALL_PRESENT
        if None in values:
            present = tuple(value is not None for value in values)
            values = [value for value in values if value is not None]
        values += counters.values()
        names, code = tuple(counters), CODES[dtype]
        form = self._form(embedding, first_seq, code, present, names)
        if not form.fill(embedding, values):
            form = self._form(embedding, first_seq, CODES["float32"], present, names)
            form.fill(embedding, values)
        return form

    def _form(
        self, embedding: Embedding, first_seq: int, code: str, present: Present, names: tuple[str, ...]
    ) -> Form:
        key = (
            embedding.stream_id,
            embedding.epoch,
            first_seq,
            embedding.kind,
            code,
            embedding.vector.shape,
            embedding.changed.shape,
            embedding.model_id,
            embedding.model_digest,
            embedding.trained,
            embedding.action,
            embedding.reason,
            bool(embedding.decoded),
            present,
            names,
        )
        form = self._known.get(key)
        if form is None:
            form = Form(Constant(*key[:-2]), present, names)
            self._bytes += form.size
            if len(self._known) >= _MAX_FORMS or self._bytes > _MAX_BYTES:
                self._known.clear()
                self._bytes = form.size
            self._known[key] = form
        return form
