"""The WHEP client against a server of the tests: units, credentials, redirects, reconnects, errors."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from ovstream.config import SourceConfig
from ovstream.errors import (
    SourceAuthError,
    SourceCodecError,
    SourceError,
    SourceNotFound,
    SourceProtocolError,
    SourceTlsError,
)
from ovstream.sources import open_source
from ovstream.types import AccessUnit
from tests.clips import make_clip
from tests.net.certificates import make_identity
from tests.net.fault_matrix import audit
from tests.net.fault_server import load_units
from tests.net.whep_server import WhepServer
from tests.net.whip_publisher import until
from tests.rtp.sender import SentUnit
from tests.sources.support import collect, decode_units


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> list[SentUnit]:
    options = {"g": "10", "x264-params": "bframes=0:scenecut=0", "tune": "zerolatency"}
    path = tmp_path_factory.mktemp("whep") / "clip.264"
    return asyncio.run(load_units(make_clip(path, width=160, height=128, frames=60, options=options)))


async def take(server: WhepServer, count: int = 3, **options: object) -> list[AccessUnit]:
    values = {"read_timeout_seconds": 1.0, "open_timeout_seconds": 5.0, **options}
    return await collect(open_source(server.url, config=SourceConfig.model_validate(values)), count)


async def test_units_arrive_whole_and_the_session_is_ended(units: list[SentUnit]) -> None:
    async with WhepServer(units) as server:
        got = await take(server, 40)
        assert server.requests == ["POST /cam/whep?x=1", "DELETE /cam/session/7"]
    assert audit(got, units, []) == (0, ())
    assert decode_units(got)[0] == 40


@pytest.mark.parametrize(
    "changes", [{"redirect": True}, {"chunked": True}, {"unsized": True}, {"hostnames": True}], ids=str
)
async def test_servers_differ(units: list[SentUnit], changes: dict[str, bool]) -> None:
    async with WhepServer(units, **changes) as server:  # type: ignore[arg-type]
        assert await take(server)


@pytest.mark.parametrize(
    ("options", "userinfo", "expected"),
    [
        ({"token": "CANARY"}, "", "Bearer CANARY"),
        ({}, ":CANARY@", "Bearer CANARY"),
        ({}, "me:CANARY@", "Basic bWU6Q0FOQVJZ"),
        ({"username": "me", "password": "CANARY"}, "", "Basic bWU6Q0FOQVJZ"),
        ({"token": "CANARY"}, "me:other@", "Bearer CANARY"),
    ],
)
async def test_credentials(
    units: list[SentUnit], options: dict[str, str], userinfo: str, expected: str
) -> None:
    async with WhepServer(units, authorization=expected) as server:
        url = server.url.replace("://", f"://{userinfo}")
        source = open_source(url, config=SourceConfig.model_validate(options))
        assert await collect(source, 1)
        assert set(server.shown) == {expected}
        assert "CANARY" not in source.name + repr(source)


async def test_a_secret_does_not_follow_a_redirect_to_another_host(units: list[SentUnit]) -> None:
    async with WhepServer(units) as other, WhepServer(units) as server:
        elsewhere = f"http://localhost:{other.port}/moved"
        server.raw = f"HTTP/1.1 307 Moved\r\nLocation: {elsewhere}\r\nContent-Length: 0\r\n\r\n".encode()
        assert await take(server, token="CANARY")
        assert server.shown == ["Bearer CANARY"]
        assert set(other.shown) == {""}


@pytest.mark.parametrize("usable", [True, False])
async def test_nothing_is_deleted_elsewhere(units: list[SentUnit], usable: bool) -> None:
    async with WhepServer(units) as other, WhepServer(units, refuse_video=not usable) as server:
        server.location = f"http://127.0.0.1:{other.port}/api/streams/door"
        if usable:
            assert await take(server)
        else:
            with pytest.raises(SourceCodecError):
                await take(server)
    assert other.requests == []


@pytest.mark.parametrize("location", ["http://[x/", "http://127.0.0.1:port/", "http://a..b/x"])
async def test_addresses_that_are_none(units: list[SentUnit], location: str) -> None:
    moved = f"HTTP/1.1 307 Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()
    async with WhepServer(units, raw=moved) as server:
        with pytest.raises((SourceProtocolError, SourceNotFound)) as caught:
            await take(server)
    assert "unexpected" not in str(caught.value)


@pytest.mark.parametrize(
    ("statuses", "error"),
    [
        ([401], SourceAuthError),
        ([403], SourceAuthError),
        ([404], SourceNotFound),
        ([406], SourceProtocolError),
        ([200], SourceError),
        ([500], SourceError),
    ],
)
async def test_what_a_server_refuses(
    units: list[SentUnit], statuses: list[int], error: type[SourceError]
) -> None:
    async with WhepServer(units, statuses=statuses) as server:
        with pytest.raises(error, match=r"127\.0\.0\.1") as caught:
            await take(server, token="CANARY")
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.0\r\n\r\n",
        b"HTTP/1.1 201 Created\r\nContent-Length: 99999999\r\n\r\n",
        b"HTTP/1.1 201 Created\r\nContent-Length: -1\r\n\r\nv=0",
        b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 201 Created\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
        b"HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 201 Created\r\nContent-Length: 21\r\n\r\nv=0\r\nm=video 9 X 96\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: ftp://x/y\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=range(10),
)
async def test_servers_that_make_no_sense(units: list[SentUnit], raw: bytes) -> None:
    async with WhepServer(units, raw=raw) as server:
        with pytest.raises(SourceProtocolError):
            await take(server)


async def test_a_server_without_video(units: list[SentUnit]) -> None:
    async with WhepServer(units, refuse_video=True) as server:
        with pytest.raises(SourceCodecError, match="no video"):
            await take(server)


async def test_nothing_listens() -> None:
    async with WhepServer([]) as server:
        pass
    with pytest.raises(SourceNotFound, match="nothing listens"):
        await take(server)


async def test_tls_is_verified(units: list[SentUnit], tmp_path: Path) -> None:
    identity = make_identity(tmp_path)
    async with WhepServer(units, tls=identity.context) as server:
        with pytest.raises(SourceTlsError, match="not trusted"):
            await take(server)
        with pytest.raises(SourceTlsError, match="another certificate"):
            await take(server, tls_fingerprint="00" * 32)
        assert await take(server, tls_ca_file=str(identity.ca_file))
        assert await take(server, tls_fingerprint=identity.fingerprint)


async def test_silence_and_refusals_lead_to_another_try(units: list[SentUnit]) -> None:
    events: list[tuple[str, str]] = []
    options = {
        "read_timeout_seconds": 0.5,
        "reconnect_initial_seconds": 0.05,
        "reconnect_max_seconds": 0.1,
        "keep_trying": True,
    }
    async with WhepServer(units, units_per_viewer=15, statuses=[404, 503]) as server:
        source = open_source(
            server.url,
            config=SourceConfig.model_validate(options),
            on_event=lambda kind, detail: events.append((kind, detail)),
        )
        got = await collect(source, 40)
        await until(lambda: server.deleted == 3)
    assert [unit.epoch for unit in got if unit.keyframe and unit.discontinuity] == [1, 2]
    assert source.stats.reconnects == 2
    assert audit(got, units, [])[1] == ()
    kinds = [kind for kind, _ in events]
    assert kinds[:3] == ["reconnecting", "reconnecting", "connected"]
    assert "has fallen silent" in next(detail for kind, detail in events[3:] if kind == "reconnecting")


@pytest.mark.parametrize("moment", ["asking", "playing"])
async def test_closing_takes_no_time_and_leaves_nothing(units: list[SentUnit], moment: str) -> None:
    before = set(asyncio.all_tasks())
    async with WhepServer(units) as server:
        source = open_source(server.url)
        waiting = asyncio.ensure_future(collect(source))
        await until(lambda: bool(server.requests) if moment == "asking" else source.stats.units > 3)
        started = time.monotonic()
        await source.aclose()
        assert time.monotonic() - started < 5
        await waiting
    await until(lambda: not set(asyncio.all_tasks()) - before)
