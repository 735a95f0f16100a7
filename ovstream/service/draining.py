"""The end of a service: in order, and within its time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from ovstream.pipeline import Outputs
from ovstream.service.watched import Watched

_STREAMS_SHARE, _OUTPUTS_SHARE = 0.6, 0.9  # of the time: when streams, and then outputs, must be over
_LEAST_SECONDS = 0.1
_SAVE_SECONDS = 1.0

_log = logging.getLogger("ovstream")


async def drain(
    cameras: Mapping[str, Watched],
    outputs: Outputs,
    *,
    seconds: float,
    saving: asyncio.Task[None] | None,
    clock: Callable[[], float],
) -> None:
    """Ends streams, and then closes their outputs; what is not over in time is left behind.

    Args:
        cameras: By name.
        outputs: Of all of them.
        seconds: For everything.
        saving: Checkpoints that are being written.
        clock: Monotonic seconds.
    """
    began = clock()
    stops = {asyncio.create_task(camera.stop()): name for name, camera in cameras.items()}
    if stops:
        _, hanging = await asyncio.wait(stops, timeout=_STREAMS_SHARE * seconds)
        if hanging:
            _log.warning("did not end in time: %s", ", ".join(sorted(stops[one] for one in hanging)))
    if saving is not None:
        await asyncio.wait({saving}, timeout=_SAVE_SECONDS)
    left = max(began + _OUTPUTS_SHARE * seconds - clock(), _LEAST_SECONDS)
    closing = asyncio.create_task(asyncio.to_thread(outputs.close))
    done, _ = await asyncio.wait({closing}, timeout=left)
    if not done:
        _log.warning("outputs did not end in time: what they had on its way stays in their spools")
    elif (error := closing.exception()) is not None:
        _log.warning("an output did not close well: %s", error)
