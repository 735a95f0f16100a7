"""The service inside somebody's FastAPI app: cameras, page and REST API under /cameras, beside routes of your own.

    python examples/embed_service.py [PORT]        then open http://127.0.0.1:PORT/cameras/api/streams

The supervisor lives as long as the app does. Your app guards its own doors; without one of yours, wrap the mounted app in
`ovstream.service.security.Guard`. Needs: pip install 'ovstream-edge[server]'
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator

import uvicorn
from fastapi import FastAPI

from ovstream.config import stream_config
from ovstream.service import Supervisor
from ovstream.service.api import create_app

CAMERA = stream_config("synthetic:?width=320&height=192&fps=10", stream_id="door", pace="realtime")


def make_app() -> FastAPI:
    """Your app, with ours in it."""
    supervisor = Supervisor(streams=[CAMERA])

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with supervisor:
            yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/door")
    def door() -> dict[str, object]:
        """Your own view of a camera."""
        camera = supervisor.camera("door")
        trace = camera.monitor.trace
        return {"state": camera.state, "activity": trace.scores.activity if trace else {}}

    app.mount("/cameras", create_app(supervisor))
    return app


if __name__ == "__main__":
    uvicorn.run(
        make_app(), host="127.0.0.1", port=int(sys.argv[1]) if sys.argv[1:] else 8000, log_level="warning"
    )
