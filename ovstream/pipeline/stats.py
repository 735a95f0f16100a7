"""Counters of one stream."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(slots=True)
class StreamStats:
    """What a stream did so far; every number only grows.

    Attributes:
        units: Access units received; two that hold the fields of one frame count once.
        frames_parsed: Pictures whose metadata was read without decoding.
        frames_unread: Of these, pictures whose blocks were left unread: sampled, I pictures, or costly ones.
        frames_costly: Of these, pictures with more bits than `max_bits_per_pixel`.
        frames_fallback: Pictures whose metadata needed a decoder.
        frames_decoded: Pictures that the pixel decoder worked on, catching up included.
        frames_encoded: Pictures for which at least one patch went through the model.
        frames_dense: Of these, pictures encoded whole.
        patches_encoded: Patches that went through the model, probes and audits among them.
        patches_total: Patches of all pictures: what encoding everything would have cost.
        embeddings: Results delivered.
        source_lost: Access units known to be lost before they arrived.
        parse_errors: Pictures whose bits were damaged.
        decode_errors: Planned pictures that the decoder could not give.
        frames_damaged: Planned pictures with pixels missing or made up; their results say "lost".
        sink_errors: Results that a sink refused.
        frames_deferred: Pictures whose changes were left for later because they cost too much.
        frames_skipped_for_load: Pictures whose changes were left for later because the machine was busy.
        audits: Comparisons with a dense pass on the same picture.
        audits_failed: Of these, below `min_fidelity`.
        audit_cosine_sum: Of all audits; divided by `audits` the mean fidelity.
        dropped: Access units and results left out on purpose.
        dropped_for: The same by reason, see `DROP_REASONS`.
        overrun: Of these, because somebody was too slow: all but those that came before a keyframe.
        reconnects: Times the source had to connect again.
        cpu_seconds: CPU time per stage: parse, plan, decode, crop, encode, health, watch.
    """

    units: int = 0
    frames_parsed: int = 0
    frames_unread: int = 0
    frames_costly: int = 0
    frames_fallback: int = 0
    frames_decoded: int = 0
    frames_encoded: int = 0
    frames_dense: int = 0
    patches_encoded: int = 0
    patches_total: int = 0
    embeddings: int = 0
    source_lost: int = 0
    parse_errors: int = 0
    decode_errors: int = 0
    frames_damaged: int = 0
    sink_errors: int = 0
    frames_deferred: int = 0
    frames_skipped_for_load: int = 0
    audits: int = 0
    audits_failed: int = 0
    audit_cosine_sum: float = 0.0
    dropped: int = 0
    dropped_for: dict[str, int] = field(default_factory=dict)
    overrun: int = 0
    reconnects: int = 0
    cpu_seconds: dict[str, float] = field(default_factory=dict)

    def leave_out(self, **counts: int) -> None:
        """Notes how many were left out so far, by reason of `DROP_REASONS`."""
        self.dropped_for = counts
        self.dropped = sum(counts.values())
        self.overrun = self.dropped - counts["keyframe"]

    @property
    def frames(self) -> int:
        """Pictures seen, however their metadata was read."""
        return self.frames_parsed + self.frames_fallback

    @property
    def decoded_ratio(self) -> float:
        """Decoded pictures / pictures."""
        return self.frames_decoded / self.frames if self.frames else 0.0

    @property
    def encoded_ratio(self) -> float:
        """Encoded patches / patches of all pictures."""
        return self.patches_encoded / self.patches_total if self.patches_total else 0.0

    def counters(self) -> dict[str, int]:
        """The cumulative counts that travel in every message."""
        names = (
            "frames_parsed frames_fallback frames_decoded frames_encoded patches_encoded patches_total "
            "source_lost parse_errors decode_errors dropped"
        )
        return {name: getattr(self, name) for name in names.split()}

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON; while the stream works, too."""
        return {one.name: copy(getattr(self, one.name)) for one in fields(self)}

    @contextmanager
    def clock(self, stage: str) -> Iterator[None]:
        """Adds the CPU time of this thread inside the block to `cpu_seconds[stage]`."""
        start = time.thread_time()
        try:
            yield
        finally:
            self.cpu_seconds[stage] = self.cpu_seconds.get(stage, 0.0) + time.thread_time() - start
