"""A stream worker's checkpoint as bytes: a msgpack map of the same dialect as the headers."""

from __future__ import annotations

from fractions import Fraction

from ovstream.errors import WireError
from ovstream.types import Checkpoint
from ovstream.wire import limits
from ovstream.wire.fields import STREAM_ID, WIRE_MAJOR, Fields, pack

_KIND = "checkpoint"
_MAX_TERM = (1 << 32) - 1


def encode_checkpoint(checkpoint: Checkpoint) -> bytes:
    """Turns a checkpoint into bytes (about 90).

    Raises:
        WireError: The stream id is none.
    """
    if not STREAM_ID.fullmatch(checkpoint.stream_id):
        raise WireError(f"{checkpoint.stream_id!r} is no stream id")
    return pack(
        {
            "v": WIRE_MAJOR,
            "k": _KIND,
            "id": checkpoint.stream_id,
            "ep": checkpoint.epoch,
            "nq": checkpoint.next_seq,
            "pts": checkpoint.cursor_pts,
            "tb": [checkpoint.time_base.numerator, checkpoint.time_base.denominator],
            "md": checkpoint.model_digest,
        }
    )


def decode_checkpoint(data: bytes) -> Checkpoint:
    """Turns bytes into a checkpoint.

    Raises:
        WireError: They are no checkpoint of this wire version.
    """
    fields = Fields.unpack(data)
    if fields.text("k") != _KIND:
        raise WireError("not a checkpoint")
    time_base = fields.sizes("tb", high=_MAX_TERM)
    if len(time_base) != 2:
        raise WireError("'tb' must be [numerator, denominator]")
    return Checkpoint(
        stream_id=fields.stream_id(),
        epoch=fields.integer("ep"),
        next_seq=fields.integer("nq"),
        cursor_pts=fields.optional_integer("pts", low=-limits.MAX_UINT),
        time_base=Fraction(*time_base),
        model_digest=fields.text("md"),
    )
