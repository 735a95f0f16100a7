"""Watches streams for a while and fills a reservoir with stretches of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ovstream.config import PRIVATE
from ovstream.encode import load_encoder
from ovstream.errors import OvstreamError
from ovstream.pipeline import open as open_stream
from ovstream.training.stretches import Reservoir, Tap

UPDATES = 0.5
"""Patches of a stretch after its picture, as a share of the grid."""
REPORT_SECONDS = 0.5


async def watch(
    urls: Sequence[str],
    reservoir: Reservoir,
    *,
    model: str | Path = "ov-nano",
    seconds: float,
    progress: Callable[[float], None] = lambda elapsed: None,
    **options: Any,
) -> dict[str, str]:
    """Runs streams side by side until they end, or the time is over.

    Args:
        urls: Anything that `ovstream.open` takes.
        reservoir: Is filled; also when this is cancelled.
        model: Embedded model or model folder.
        seconds: At most.
        progress: Called with the seconds that went by.
        **options: Of `ovstream.open`.

    Returns:
        Sources that failed, and why; the others were watched.

    Raises:
        OvstreamError: All of them failed; the first one's.
    """
    encoder = load_encoder(model, mode="fast", probes=0)

    async def one(number: int, url: str) -> None:
        tap = Tap(encoder.backend, encoder.info, reservoir, updates=UPDATES)
        listened = encoder.through(tap)
        tap.listening = True  # only now: the encoder tests itself when it is made
        words = {"stream_id": f"adapt-{number}", **PRIVATE, **options}
        async with open_stream(url, encoder=listened, **words) as stream:
            async for _ in stream:
                pass

    tasks = [asyncio.create_task(one(number, url)) for number, url in enumerate(urls)]
    loop = asyncio.get_running_loop()
    started = loop.time()
    try:
        left = seconds
        while left > 0 and not all(task.done() for task in tasks):
            await asyncio.wait(tasks, timeout=min(left, REPORT_SECONDS), return_when=asyncio.ALL_COMPLETED)
            progress(loop.time() - started)
            left = started + seconds - loop.time()
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    failed = [(url, end) for url, end in zip(urls, ends, strict=True) if isinstance(end, Exception)]
    for _, end in failed:
        if not isinstance(end, OvstreamError) or len(failed) == len(urls):
            raise end
    return {url: str(end) for url, end in failed}
