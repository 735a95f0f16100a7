"""Watches streams for a while and fills a reservoir with stretches of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ovstream.config import PRIVATE, StreamConfig, changed_config, stream_config
from ovstream.encode import load_encoder
from ovstream.errors import OvstreamError
from ovstream.pipeline import Stream
from ovstream.training.stretches import Reservoir, Tap

UPDATES = 0.5
"""Patches of a stretch after its picture, as a share of the grid."""
REPORT_SECONDS = 0.5
WAIT_SECONDS = 1800.0
"""Longest time until the first picture: somebody may have to start a publisher."""


async def watch(
    cameras: Sequence[str | StreamConfig],
    reservoir: Reservoir,
    *,
    model: str | Path = "ov-nano",
    seconds: float,
    progress: Callable[[float], None] = lambda elapsed: None,
    **options: Any,
) -> dict[str, str]:
    """Runs streams side by side until they end, or the time is over, which begins with the first picture of any.

    Args:
        cameras: Anything that `ovstream.open` takes, or whole configurations. What lies under a mask (`plan.masks`) is
            grey before the model sees it, and so is never among the patches that are kept.
        reservoir: Is filled; also when this is cancelled.
        model: Embedded model or model folder.
        seconds: At most.
        progress: Called with the seconds that went by since the first picture.
        **options: Of `ovstream.open`, for cameras that are no configurations.

    Returns:
        URLs of sources that failed, and why; the others were watched.

    Raises:
        OvstreamError: All of them failed; the first one's.
    """
    encoder = load_encoder(model, mode="fast", probes=0)

    taps: list[Tap] = []

    async def one(config: StreamConfig) -> None:
        tap = Tap(encoder.backend, encoder.info, reservoir, updates=UPDATES)
        listened = encoder.through(tap)
        tap.listening = True  # only now: the encoder tests itself when it is made
        taps.append(tap)
        async with Stream(config, encoder=listened) as stream:
            async for _ in stream:
                pass

    configs = [_private(camera, number, options) for number, camera in enumerate(cameras)]
    tasks = [asyncio.create_task(one(config)) for config in configs]
    clock = asyncio.get_running_loop().time
    begun, end = None, clock() + WAIT_SECONDS
    try:
        while clock() < end and not all(task.done() for task in tasks):
            await asyncio.wait(tasks, timeout=min(end - clock(), REPORT_SECONDS))
            if begun is None and any(tap.pictures for tap in taps):
                begun = clock()
                end = begun + seconds
            progress(0.0 if begun is None else clock() - begun)
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    failed = {one.url: why for one, why in zip(configs, ends, strict=True) if isinstance(why, Exception)}
    for why in failed.values():
        if not isinstance(why, OvstreamError) or len(failed) == len(configs):
            raise why
    return {url: str(why) for url, why in failed.items()}


def _private(camera: str | StreamConfig, number: int, options: dict[str, Any]) -> StreamConfig:
    """Its results are for the reservoir alone, whatever the environment or a file says."""
    if isinstance(camera, StreamConfig):
        return changed_config(camera, PRIVATE)
    return stream_config(camera, **{"stream_id": f"adapt-{number}", **PRIVATE, **options})
