"""`WhipEndpoint` inside another ASGI application, and over many publishers."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import threading
from collections.abc import AsyncIterator, Generator
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette

from ovstream.sources.webrtc import WhipEndpoint
from ovstream.types import AccessUnit
from tests.clips import make_clip
from tests.net.fault_matrix import audit
from tests.net.fault_server import load_units
from tests.net.whip_publisher import Publisher, ask, until
from tests.rtp.sender import SentUnit

SDP = {"Content-Type": "application/sdp"}


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> list[SentUnit]:
    options = {"g": "10", "x264-params": "bframes=0:scenecut=0", "tune": "zerolatency"}
    path = tmp_path_factory.mktemp("mounted") / "clip.264"
    return asyncio.run(load_units(make_clip(path, width=160, height=128, frames=60, options=options)))


class QuietServer(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = QuietServer(uvicorn.Config(app, lifespan="off", log_config=None))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    await until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


async def take(endpoint: WhipEndpoint, name: str, into: list[AccessUnit]) -> None:
    async with aclosing(endpoint.source(name).units()) as stream:
        async for unit in stream:
            into.append(unit)


async def test_an_endpoint_works_below_a_prefix(units: list[SentUnit]) -> None:
    endpoint = WhipEndpoint(token="secret")
    app = Starlette()
    app.mount("/live/whip", endpoint.app())
    got: list[AccessUnit] = []
    async with serving(app) as base:
        url = f"{base}/live/whip/door"
        async with Publisher(url, units, token="secret") as publisher:
            refused = await publisher.post()
            assert refused.status == 404  # nobody reads this stream
        reader = asyncio.create_task(take(endpoint, "door", got))
        await until(lambda: endpoint.stream_names == ["door"])
        page = await ask("GET", f"{base}/live/whip/publish")
        assert page.headers["location"] == "/live/whip/publish?stream=door"
        async with Publisher(url, units, token="secret") as publisher:
            await publisher.connect()
            assert publisher.session_url.startswith(url + "/")
            await publisher.play(20)
            await until(lambda: len(got) >= 20)
            assert (await ask("DELETE", publisher.session_url, headers=publisher.headers)).status == 200
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
    assert audit(got, units, []) == (0, ())
    assert endpoint.stream_names == []


async def test_many_publishers_leave_nothing_behind(units: list[SentUnit]) -> None:
    endpoint = WhipEndpoint()
    app, got = Starlette(), list[AccessUnit]()
    app.mount("/", endpoint.app())
    reader = asyncio.create_task(take(endpoint, "cam", got))
    sizes = []
    async with serving(app) as base:
        await until(lambda: endpoint.stream_names)
        for _ in range(6):
            before = len(got)
            async with Publisher(f"{base}/cam", units) as publisher:
                await publisher.connect()
                await publisher.play(3)
                await until(lambda before=before: len(got) > before)  # type: ignore[misc]
            await until(lambda: "cam" in endpoint.stream_names and idle(endpoint))
            gc.collect()
            sizes.append(
                (len(os.listdir("/proc/self/fd")), threading.active_count(), len(asyncio.all_tasks()))
            )
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
    assert sizes[-1] <= max(sizes[:3])
    assert got[-1].epoch == 5


def idle(endpoint: WhipEndpoint) -> bool:
    return all(source.publication is None for source in endpoint._sources.values())
