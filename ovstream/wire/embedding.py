"""An embedding as four frames: topic, header, vector, changed patches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ovstream.errors import WireError
from ovstream.types import Action, BoolArray, Embedding, FloatArray, Kind
from ovstream.wire import limits
from ovstream.wire.fields import WIRE_MAJOR, Fields, check_topic, pack, stream_topic

VectorDtype = Literal["float16", "float32"]

_CODES: dict[str, str] = {"float16": "<f2", "float32": "<f4"}
_DTYPES: dict[str, np.dtype[Any]] = {"<f2": np.dtype("<f2"), "<f4": np.dtype("<f4")}
_MAX_FLOAT16 = float(np.finfo(np.float16).max)


@dataclass(frozen=True, slots=True)
class Published:
    """An embedding with its place in the sequence of its publisher.

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
    vector = embedding.vector
    rows, cols = embedding.grid
    _check_shape(embedding.kind, vector.shape, (rows, cols))
    peak = float(np.abs(vector).max())
    if not np.isfinite(peak):
        raise WireError("the vector holds values that are not finite")
    code = _CODES["float32" if peak > _MAX_FLOAT16 else dtype]
    header: dict[str, Any] = {
        "v": WIRE_MAJOR,
        "id": embedding.stream_id,
        "ep": embedding.epoch,
        "q": embedding.seq,
        "q0": embedding.seq if first_seq is None else first_seq,
        "pq": previous_seq,
        "t": embedding.publish_time_ns,
        "ct": embedding.capture_time_ns,
        "pts": embedding.pts_seconds,
        "k": embedding.kind,
        "dt": code,
        "sh": list(vector.shape),
        "g": [rows, cols],
        "a": embedding.action,
        "r": embedding.reason,
        "kr": float(embedding.keep_ratio),
        "dec": bool(embedding.decoded),
        "dr": None if embedding.drift is None else float(embedding.drift),
        "sf": embedding.staleness_frames,
        "m": embedding.model_id,
        "md": embedding.model_digest,
        "tr": embedding.trained,
        "c": embedding.counters,
    }
    return [
        stream_topic("e", embedding.stream_id).encode(),
        pack(header),
        vector.astype(_DTYPES[code]).tobytes(),
        np.packbits(embedding.changed, axis=None, bitorder="little").tobytes(),
    ]


def decode(frames: Sequence[bytes]) -> Embedding:
    """Turns frames into an embedding.

    Args:
        frames: As received: topic, header, vector, changed patches.

    Raises:
        WireError: They are no embedding of this wire version.
    """
    if len(frames) < 4:
        raise WireError(f"{len(frames)} frames; an embedding has four")
    return parse_embedding(frames, Fields.unpack(frames[1])).embedding


def parse_embedding(frames: Sequence[bytes], fields: Fields) -> Published:
    """Turns four frames, of which the header is already unpacked, into an embedding."""
    stream_id = fields.stream_id()
    check_topic(frames, "e", stream_id)
    seq = fields.integer("q")
    first_seq = fields.integer("q0", high=seq)
    kind: Kind = fields.choice("k", Kind)
    grid = _grid(fields)
    keep_ratio = fields.real("kr")
    if not 0 <= keep_ratio <= 1:
        raise WireError("'kr' must be in 0..1")
    embedding = Embedding(
        stream_id=stream_id,
        epoch=fields.integer("ep"),
        seq=seq,
        pts_seconds=fields.optional_real("pts"),
        capture_time_ns=fields.optional_integer("ct", low=-limits.MAX_UINT),
        publish_time_ns=fields.integer("t"),
        kind=kind,
        vector=_vector(frames[2], fields, kind, grid),
        changed=_mask(frames[3], grid),
        action=_action(fields),
        reason=fields.text("r"),
        keep_ratio=keep_ratio,
        decoded=fields.flag("dec"),
        drift=fields.optional_real("dr"),
        staleness_frames=fields.integer("sf"),
        model_id=fields.text("m"),
        model_digest=fields.text("md"),
        trained=fields.flag("tr"),
        counters=fields.counters("c"),
    )
    previous_seq = fields.optional_integer("pq", low=first_seq, high=seq - 1)
    return Published(embedding, first_seq, previous_seq)


def _action(fields: Fields) -> Action:
    action: Action = fields.choice("a", Action)
    return action


def _grid(fields: Fields) -> tuple[int, int]:
    sizes = fields.sizes("g", high=limits.MAX_GRID_SIDE)
    if len(sizes) != 2 or sizes[0] * sizes[1] > limits.MAX_GRID_PATCHES:
        raise WireError(f"'g' must be [rows, cols] of at most {limits.MAX_GRID_PATCHES} patches")
    return sizes[0], sizes[1]


def _vector(payload: bytes, fields: Fields, kind: Kind, grid: tuple[int, int]) -> FloatArray:
    """(D,) or (rows * cols, D) float32, owned by the result."""
    shape = fields.sizes("sh", high=max(limits.MAX_DIM, limits.MAX_GRID_PATCHES))
    _check_shape(kind, shape, grid)
    code = fields.text("dt")
    dtype = _DTYPES.get(code)
    if dtype is None:
        raise WireError(f"vector dtype {code!r}; this side reads {', '.join(_DTYPES)}")
    expected_bytes = math.prod(shape) * dtype.itemsize
    if len(payload) != expected_bytes:
        raise WireError(f"vector of {len(payload)} bytes where 'sh' and 'dt' say {expected_bytes}")
    vector: npt.NDArray[Any] = np.frombuffer(payload, dtype)
    if not np.isfinite(vector).all():
        raise WireError("the vector holds values that are not finite")
    return vector.astype(np.float32).reshape(shape)


def _check_shape(kind: Kind, shape: tuple[int, ...], grid: tuple[int, int]) -> None:
    """Bounds a vector: (D,), or (patches, D) for tokens."""
    if not shape or not 1 <= shape[-1] <= limits.MAX_DIM:
        raise WireError(f"a vector of shape {shape}; its length must be in 1..{limits.MAX_DIM}")
    expected = (grid[0] * grid[1], shape[-1]) if kind == "tokens" else (shape[-1],)
    if shape != expected:
        raise WireError(f"a {kind} vector of shape {shape} on a grid of {grid}")
    if math.prod(shape) * 4 > limits.MAX_PAYLOAD_BYTES:
        raise WireError(f"a vector of shape {shape} is larger than {limits.MAX_PAYLOAD_BYTES} bytes")


def _mask(data: bytes, grid: tuple[int, int]) -> BoolArray:
    """(rows, cols) bool: patch i is bit i % 8, lowest first, of byte i // 8."""
    patches = grid[0] * grid[1]
    if len(data) != (patches + 7) // 8:
        raise WireError(f"a mask of {len(data)} bytes for {patches} patches")
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    if bits[patches:].any():
        raise WireError("the mask marks patches outside the grid")
    return bits[:patches].view(np.bool_).reshape(grid)
