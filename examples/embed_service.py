"""The service inside somebody's FastAPI app: cameras, page and REST API under /cameras, beside routes of your own.

    python examples/embed_service.py [PORT]        then open http://127.0.0.1:PORT/cameras/api/streams

The supervisor lives as long as the app does. `Guard` keeps pages of other sites and foreign names away from ours; give its
`HttpConfig` a token, or guard the door with your own means. Needs: pip install 'ovstream-edge[server]'
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator

import uvicorn
from fastapi import FastAPI

from ovstream.config import HttpConfig, stream_config
from ovstream.service import Supervisor
from ovstream.service.api import create_app
from ovstream.service.security import Guard

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
        seen = camera.facts().seen
        return {"state": camera.state, "activity": seen.activity if seen else {}}

    app.mount("/cameras", Guard(create_app(supervisor), HttpConfig()))
    return app


if __name__ == "__main__":
    uvicorn.run(
        make_app(), host="127.0.0.1", port=int(sys.argv[1]) if sys.argv[1:] else 8000, log_level="warning"
    )
