"""An embedding as four frames: topic, header, vector, changed patches."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple, cast, get_args

from ovstream.errors import WireError
from ovstream.types import Action, Embedding, Kind
from ovstream.wire import limits
from ovstream.wire.drafts import embedding_of
from ovstream.wire.fields import Fields, check_topic
from ovstream.wire.forms import Forms
from ovstream.wire.heads import MAP_OF_11, Constant, HeadMemory, Known, check_shape
from ovstream.wire.tails import KEYS, Tail, tail_of
from ovstream.wire.vectors import DTYPES, VectorDtype, layout_of

_ACTIONS = frozenset(get_args(Action))
_memory = HeadMemory()


class _Local(threading.local):
    def __init__(self) -> None:
        self.forms = Forms()


_local = _Local()


class Published(NamedTuple):
    """An embedding with its place in the sequence of its publisher; a tuple, since one is made for every message.

    Attributes:
        embedding: What was sent.
        first_seq: Where the numbering of this epoch began.
        previous_seq: Number of the message sent before this one in this epoch; None for the first.
    """

    embedding: Embedding
    first_seq: int
    previous_seq: int | None

    @property
    def stream_id(self) -> str:
        """Name of the stream."""
        return self.embedding.stream_id

    @property
    def epoch(self) -> int:
        """Epoch of the publisher."""
        return self.embedding.epoch

    @property
    def sent_before(self) -> int:
        """Numbers from `first_seq` up to, not including, this one were sent before this message."""
        return self.first_seq if self.previous_seq is None else self.previous_seq + 1


def encode(
    embedding: Embedding,
    *,
    dtype: VectorDtype = "float16",
    first_seq: int | None = None,
    previous_seq: int | None = None,
) -> list[bytes]:
    """Turns an embedding into frames.

    Args:
        embedding: What to send.
        dtype: Of the vector on the wire; a vector with a value beyond float16 goes as float32.
        first_seq: See `Published`; None: the numbering begins here.
        previous_seq: See `Published`.

    Returns:
        Four frames: topic, header, vector, changed patches.

    Raises:
        WireError: The embedding is larger than `limits`, or its vector is not finite or misshapen.
    """
    first_seq = embedding.seq if first_seq is None else first_seq
    form = _local.forms.fill(embedding, dtype=dtype, first_seq=first_seq, previous_seq=previous_seq)
    return [bytes(frame) for frame in form.frames]


def decode(frames: Sequence[bytes]) -> Embedding:
    """Turns frames into an embedding.

    Args:
        frames: As received: topic, header, vector, changed patches.

    Raises:
        WireError: They are no embedding of this wire version.
    """
    if len(frames) < 4:
        raise WireError(f"{len(frames)} frames; an embedding has four")
    return parse_embedding(frames).embedding


def parse_embedding(frames: Sequence[bytes]) -> Published:
    """Turns four frames into an embedding."""
    topic, header = frames[0], frames[1]
    if len(header) > limits.MAX_HEADER_BYTES:
        raise WireError(f"header of {len(header)} bytes, at most {limits.MAX_HEADER_BYTES}")
    known = _memory.recall(topic, header)
    if known is None:
        fields = Fields.unpack(header)
        constant = _constant(frames, fields)
        published = _published(frames, fields, constant)
        _memory.remember(topic, header, constant)
        return published
    rest = header[len(known.head) :]
    if known.tail is not None:
        values = known.tail.read(rest)
        if values is not None:
            quickly = _at_once(frames, known, known.tail, values)
            if quickly is not None:
                return quickly
    fields = Fields.unpack_rest(MAP_OF_11 + rest)
    published = _published(frames, fields, known.constant)
    known.tail = _layout(fields)
    return published


def _layout(fields: Fields) -> Tail | None:
    """How a header that was read field by field would be laid out if its sender is one of us."""
    get = fields.values.get
    names = tuple(fields.counters("c"))
    return tail_of(tuple(get(key) is not None for key in KEYS), names)


def _at_once(frames: Sequence[bytes], known: Known, tail: Tail, values: tuple[Any, ...]) -> Published | None:
    """What was read in one step, if nothing is wrong with it; None: read field by field, which says what is."""
    constant = known.constant
    if tail.complete:
        seq, previous, sent, captured, pts, keep_ratio, drift, staleness, updated, flops, *counts = values
    else:
        left = iter(values)
        seq, previous, sent, captured, pts, keep_ratio, drift, staleness, updated, flops = (
            next(left) if there else None for there in tail.present
        )
        counts = list(left)
    if not (
        (constant.first_seq <= previous < seq if previous is not None else constant.first_seq <= seq)
        and (captured is None or captured >= -limits.MAX_UINT)
        and (pts is None or math.isfinite(pts))
        and 0 <= keep_ratio <= 1
        and (drift is None or math.isfinite(drift))
    ):
        return None
    vector, changed = known.layout.read(frames[2], frames[3])
    embedding = embedding_of(
        constant.stream_id,
        constant.epoch,
        seq,
        pts,
        captured,
        sent,
        constant.kind,
        vector,
        changed,
        constant.action,
        constant.reason,
        keep_ratio,
        constant.decoded,
        drift,
        staleness,
        constant.model_id,
        constant.model_digest,
        constant.trained,
        dict(zip(tail.counters, counts, strict=True)),
        updated or 0,
        flops or 0,
    )
    return Published(embedding, constant.first_seq, previous)


def _constant(frames: Sequence[bytes], fields: Fields) -> Constant:
    stream_id = fields.stream_id()
    check_topic(frames, "e", stream_id)
    kind: Kind = fields.choice("k", Kind)
    grid = _grid(fields)
    shape = fields.sizes("sh", high=max(limits.MAX_DIM, limits.MAX_GRID_PATCHES))
    check_shape(kind, shape, grid)
    code = fields.text("dt")
    if code not in DTYPES:
        raise WireError(f"vector dtype {code!r}; this side reads {', '.join(DTYPES)}")
    return Constant(
        stream_id,
        fields.integer("ep"),
        fields.integer("q0"),
        kind,
        code,
        shape,
        grid,
        fields.text("m"),
        fields.text("md"),
        fields.flag("tr"),
        _action(fields),
        fields.text("r"),
        fields.flag("dec"),
    )


def _published(frames: Sequence[bytes], fields: Fields, constant: Constant) -> Published:
    seq = fields.integer("q")
    first_seq = constant.first_seq
    if first_seq > seq:
        raise WireError(f"'q0' must be a whole number in 0..{seq}")
    keep_ratio = fields.real("kr")
    if not 0 <= keep_ratio <= 1:
        raise WireError("'kr' must be in 0..1")
    vector, changed = layout_of(constant.code, constant.shape, constant.grid).read(frames[2], frames[3])
    embedding = Embedding(
        constant.stream_id,
        constant.epoch,
        seq,
        fields.optional_real("pts"),
        fields.optional_integer("ct", low=-limits.MAX_UINT),
        fields.integer("t"),
        constant.kind,
        vector,
        changed,
        constant.action,
        constant.reason,
        keep_ratio,
        constant.decoded,
        fields.optional_real("dr"),
        fields.integer("sf"),
        constant.model_id,
        constant.model_digest,
        constant.trained,
        fields.counters("c"),
        fields.optional_integer("nu") or 0,
        fields.optional_integer("fl") or 0,
    )
    previous_seq = fields.optional_integer("pq", low=first_seq, high=seq - 1)
    return Published(embedding, first_seq, previous_seq)


def _action(fields: Fields) -> Action:
    value = fields.values.get("a")
    if type(value) is str and value in _ACTIONS:
        return cast(Action, value)
    action: Action = fields.choice("a", Action)  # names what is wrong
    return action


def _grid(fields: Fields) -> tuple[int, int]:
    sizes = fields.sizes("g", high=limits.MAX_GRID_SIDE)
    if len(sizes) != 2 or sizes[0] * sizes[1] > limits.MAX_GRID_PATCHES:
        raise WireError(f"'g' must be [rows, cols] of at most {limits.MAX_GRID_PATCHES} patches")
    return sizes[0], sizes[1]
