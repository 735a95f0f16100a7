"""What a replay must know before the first access unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from ovstream.errors import RecordingError
from ovstream.types import BLOCK_DTYPE, SPLIT_DTYPE, Checkpoint, ModelInfo

VERSION = 2


@dataclass(frozen=True, slots=True)
class Header:
    """The first chunk of a recording.

    Attributes:
        stream_id: Name of the stream.
        started_ns: UTC, Unix.
        epoch: Of the first embedding.
        next_seq: Number of the first embedding.
        config: Options of the stream, by section, without its URL, credentials and outputs.
        model: Behind the vectors.
        mode: Of the encoder.
        dense_flops: Operations of a whole pass over 1, 2, 3 ... patches.
        software: Version that wrote it.
        whole: All that the bitstream said is there, exactly; else what the planner reads.
    """

    stream_id: str
    started_ns: int
    epoch: int
    next_seq: int
    config: dict[str, Any] = field(repr=False)
    model: ModelInfo
    mode: str
    dense_flops: tuple[int, ...] = field(repr=False)
    software: str
    whole: bool = False

    @property
    def checkpoint(self) -> Checkpoint:
        """Where a worker before this one would have stopped."""
        return Checkpoint(
            stream_id=self.stream_id,
            epoch=self.epoch - 1,
            next_seq=self.next_seq,
            cursor_pts=None,
            time_base=Fraction(1),
            model_digest=self.model.digest,
        )

    def as_map(self) -> dict[str, Any]:
        """For msgpack; the layout of the records goes along."""
        return {
            **asdict(self),
            "version": VERSION,
            "block": _layout(BLOCK_DTYPE),
            "split": _layout(SPLIT_DTYPE),
        }

    @classmethod
    def from_map(cls, found: Any) -> Header:
        """Reads what `as_map` gave.

        Raises:
            RecordingError: It is something else, or its records have another layout.
        """
        if not isinstance(found, Mapping) or found.get("version") != VERSION:
            raise RecordingError("the recording was written by another version; record again")
        if found.get("block") != _layout(BLOCK_DTYPE) or found.get("split") != _layout(SPLIT_DTYPE):
            raise RecordingError(
                f"the recording holds the records of ovstream {found.get('software')}; use that"
            )
        try:
            model = dict(found["model"])
            model |= {name: tuple(model[name]) for name in ("mean", "std")}
            flops = tuple(int(one) for one in found["dense_flops"])
            names = ("stream_id", "started_ns", "epoch", "next_seq", "config", "mode", "software", "whole")
            return cls(model=ModelInfo(**model), dense_flops=flops, **{name: found[name] for name in names})
        except (KeyError, TypeError, ValueError) as error:
            raise RecordingError(f"the header of the recording is damaged: {error!r}") from None


def _layout(dtype: np.dtype[Any]) -> list[list[Any]]:
    """Name, type and shape of every field, as msgpack gives it back."""
    assert dtype.fields is not None
    inner = ((name, dtype.fields[name][0]) for name in dtype.names or ())
    return [[name, one.base.str, list(one.shape)] for name, one in inner]
