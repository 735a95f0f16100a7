"""Streams over bad cameras: what an error is called, isolation, ends that leave nothing, secrets that stay secret."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import ovstream
from ovstream.config import SourceConfig, StreamConfig, stream_config
from ovstream.encode import Encoder, load_encoder
from ovstream.errors import (
    ConfigError,
    SourceAuthError,
    SourceCodecError,
    SourceError,
    SourceNotFound,
    SourceProtocolError,
    SourceRefused,
    SourceTimeout,
)
from ovstream.sources import open_source
from tests.net.fault_matrix import CONFIG, make_streams
from tests.net.fault_server import Behaviour, FaultServer
from tests.rtp.sender import SentUnit
from tests.sources.support import collect

BACKENDS = ("native", "ffmpeg")
OTHER_CODEC = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 26\r\na=rtpmap:26 JPEG/90000\r\n"
    "a=control:track1\r\n"
)


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> list[SentUnit]:
    return asyncio.run(make_streams(tmp_path_factory.mktemp("never")))[0]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder("ov-nano", mode="exact")


def quick(**changes: object) -> SourceConfig:
    return SourceConfig.model_validate(CONFIG.model_dump() | {"keep_trying": False} | changes)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("behaviour", "path", "kind"),
    [
        (Behaviour(credentials=("me", "x")), "", SourceAuthError),
        (Behaviour(), "/nowhere", SourceNotFound),
        (Behaviour(hang="DESCRIBE"), "", SourceTimeout),
        (Behaviour(refuse_methods=("DESCRIBE",)), "", SourceProtocolError),
    ],
    ids=["auth", "not found", "timeout", "protocol"],
)
async def test_the_kind_of_an_error(
    units: list[SentUnit], backend: str, behaviour: Behaviour, path: str, kind: type[SourceError]
) -> None:
    async with FaultServer(units, behaviour) as server:
        with pytest.raises(SourceError) as caught:
            await collect(open_source(server.url + path, config=quick(backend=backend)), 1)
    assert type(caught.value) is kind


async def test_the_kind_of_an_error_for_a_codec_that_nobody_reads(units: list[SentUnit]) -> None:
    async with FaultServer(units, Behaviour(sdp=OTHER_CODEC)) as server:
        with pytest.raises(SourceCodecError, match="JPEG"):
            await collect(open_source(server.url, config=quick(backend="native")), 1)


@pytest.mark.parametrize("backend", BACKENDS)
async def test_the_kind_of_an_error_for_a_port_where_nothing_listens(
    units: list[SentUnit], backend: str
) -> None:
    async with FaultServer(units) as server:
        url = server.url
    with pytest.raises(SourceRefused, match="nothing listens"):
        await collect(open_source(url, config=quick(backend=backend)), 1)


@pytest.mark.parametrize("backend", BACKENDS)
async def test_a_wrong_password_is_tried_again_slowly(units: list[SentUnit], backend: str) -> None:
    """Cameras lock accounts after a few failures."""
    told: list[str] = []
    config = quick(
        backend=backend, keep_trying=True, reconnect_initial_seconds=0.01, reconnect_max_seconds=60
    )
    async with FaultServer(units, Behaviour(credentials=("me", "x"))) as server:
        source = open_source(server.url, config=config, on_event=lambda _kind, detail: told.append(detail))
        waiting = asyncio.ensure_future(collect(source, 1))
        await until(lambda: bool(told))
        await source.aclose()
        await asyncio.wait({waiting})
    (seconds,) = [float(detail.rpartition("next attempt in ")[2].removesuffix(" s")) for detail in told]
    assert seconds >= 30


@pytest.mark.parametrize("backend", BACKENDS)
async def test_a_password_out_of_a_file_is_read_at_every_connection(
    units: list[SentUnit], backend: str, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    config = quick(backend=backend, username="me", password_file=str(secret))
    async with FaultServer(units, Behaviour(credentials=("me", "CANARY p:@/"))) as server:
        with pytest.raises(SourceAuthError, match=r"password_file .*secret cannot be used: No such file"):
            await collect(open_source(server.url, config=config), 1)
        secret.write_text("\nCANARY")
        with pytest.raises(SourceAuthError, match="first line is empty") as caught:
            await collect(open_source(server.url, config=config), 1)
        assert "CANARY" not in str(caught.value)
        secret.write_text("CANARY p:@/\nmore\n")
        assert len(await collect(open_source(server.url, config=config), 3)) == 3


def test_two_passwords_are_one_too_many() -> None:
    with pytest.raises(ConfigError, match=r"password_file.*one of the two") as caught:
        stream_config("rtsp://cam/1", password="CANARY", password_file="/run/secret")
    assert "CANARY" not in str(caught.value)


async def test_one_bad_camera_costs_the_others_nothing(units: list[SentUnit]) -> None:
    """Three cameras that flood, die or hang; the fourth loses nothing and is not late."""
    bad = [
        Behaviour(noise=True, repeat=True, loss=0.3),
        Behaviour(fault="reset", at=2),
        Behaviour(hang="PLAY"),
        Behaviour(fault="garbage", at=3),
    ]
    async with FaultServer(units) as good:
        servers = [FaultServer(units, behaviour) for behaviour in bad]
        for server in servers:
            await server.__aenter__()
        noisy = [open_source(server.url, config=quick(keep_trying=True)) for server in servers]
        running = [asyncio.ensure_future(collect(source)) for source in noisy]
        source = open_source(good.url, config=quick())
        ages = []
        taken = 0
        async for unit in source.units():
            ages.append(time.monotonic_ns() - unit.arrival_ns)
            assert not unit.discontinuity
            taken += 1
            if taken == 150:
                break
        await asyncio.gather(source.aclose(), *(one.aclose() for one in noisy))
        await asyncio.gather(*running, return_exceptions=True)
        for server in servers:
            await server.__aexit__(None, None, None)
    assert (source.stats.lost, source.stats.dropped, source.stats.reconnects) == (0, 0, 0)
    assert sorted(ages)[len(ages) // 2] < 0.1e9


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("moment", ["playing", "connecting", "waiting"])
async def test_a_stream_ends_at_once_and_leaves_nothing(
    units: list[SentUnit], encoder: Encoder, backend: str, moment: str
) -> None:
    behaviour = {
        "playing": Behaviour(),
        "connecting": Behaviour(hang="SETUP"),
        "waiting": Behaviour(fault="close", at=3),
    }[moment]
    config = quick(
        backend=backend, open_timeout_seconds=60, reconnect_initial_seconds=30, reconnect_max_seconds=30
    )
    async with FaultServer(units, behaviour) as server:
        tasks, descriptors = asyncio.all_tasks(), open_descriptors()
        stream = ovstream.open(server.url, source=config, encoder=encoder)
        async with stream:
            reached: dict[str, Callable[[], bool]] = {
                "playing": lambda: stream.stats.embeddings > 3,
                "connecting": lambda: "SETUP" in server.requests,
                "waiting": lambda: server.faulted is not None and stream.stats.units > 0,
            }
            await until(reached[moment])
            started = time.monotonic()
        assert time.monotonic() - started < 15  # nothing was waited out
        assert not [one for one in threading.enumerate() if one.name.startswith("ovstream")]
        # the server notices later that its sockets have no other end
        await until(lambda: open_descriptors() <= descriptors and not asyncio.all_tasks() - tasks)


async def test_a_cancelled_stream_ends_at_once(units: list[SentUnit], encoder: Encoder) -> None:
    async def follow(url: str) -> None:
        async with ovstream.open(url, source=quick(), encoder=encoder) as stream:
            async for _ in stream:
                seen.set()

    seen = asyncio.Event()
    async with FaultServer(units) as server:
        tasks = asyncio.all_tasks()
        task = asyncio.create_task(follow(server.url))
        await seen.wait()
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        await until(lambda: not asyncio.all_tasks() - tasks)
    assert not [one for one in threading.enumerate() if one.name.startswith("ovstream")]


def test_no_secret_in_the_text_of_a_configuration() -> None:
    config = stream_config("rtsp://me:CANARY@cam/1?token=CANARY", username="me", password="CANARY")
    assert isinstance(config, StreamConfig)
    assert "CANARY" not in "".join([repr(config), str(config), config.model_dump_json(exclude={"url"})])


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
