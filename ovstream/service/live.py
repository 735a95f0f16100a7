"""Server-sent events for the page."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

from ovstream.service.supervisor import Supervisor
from ovstream.service.views import camera_view, service_view

_STEP_SECONDS = 0.25
_STEPS_PER_STATE = 4


async def live_updates(supervisor: Supervisor, *, focus: str | None) -> AsyncGenerator[str, None]:
    """Yields messages until the reader goes away, or the service ends.

    Args:
        supervisor: What to tell about.
        focus: Stream whose overlay is wanted, too.
    """
    step, last, shown = 0, supervisor.log.last, 0
    while not supervisor.closing:
        if step % _STEPS_PER_STATE == 0:
            yield _message("state", _state(supervisor))
            for event in supervisor.log.after(last):
                last = event.number
                yield _message("event", event.as_dict())
        camera = supervisor.cameras.get(focus) if focus else None
        if camera is not None and (found := await camera.overlay(after=shown)) is not None:
            shown = found[0]
            yield _message("overlay", {"id": focus, **found[1]})
        step += 1
        await asyncio.sleep(_STEP_SECONDS)


def _state(supervisor: Supervisor) -> dict[str, Any]:
    streams = []
    for camera in supervisor.cameras.values():
        seconds = camera.timeline.seconds
        point = seconds[-1].as_point() if seconds else None
        streams.append({**camera_view(supervisor, camera), "point": point})
    return {"service": service_view(supervisor), "streams": streams}


def _message(kind: str, value: Any) -> str:
    return f"event: {kind}\ndata: {json.dumps(value, separators=(',', ':'))}\n\n"
