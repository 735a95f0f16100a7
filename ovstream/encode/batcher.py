"""Puts the tokens of several streams into as few runs as pay.

A run reads every weight of the model once, however few the tokens are, and at a handful of tokens that is most of
its cost. Streams that share a run share it. Past some hundred tokens the arithmetic dominates, and a stream's turn
in a long run is only a longer wait: such jobs run alone.

Pure: who waits for whom, and how long, is decided in `ovstream.pipeline.gather`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ovstream.encode.backend import Job

SHARED_TOKENS = 256
"""Most tokens of a run with more than one stream."""


def batches(jobs: Sequence[Job], *, lanes: int) -> Iterator[list[Job]]:
    """Deals jobs out, in their order.

    Args:
        jobs: Of different states.
        lanes: Most jobs in a run.

    Yields:
        The jobs of a run: one of any size, or up to `lanes` with at most `SHARED_TOKENS` tokens in all.
    """
    batch: list[Job] = []
    tokens = 0
    for job in jobs:
        if batch and (len(batch) == lanes or tokens + len(job) > SHARED_TOKENS):
            yield batch
            batch, tokens = [], 0
        batch.append(job)
        tokens += len(job)
    if batch:
        yield batch
