"""The FFmpeg adapter against peers made of sockets: HTTP that ends or breaks, UDP that loses packets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ovstream.config import SourceConfig
from ovstream.errors import SourceAuthError, SourceNotFound, SourceProtocolError
from ovstream.sources import open_source
from ovstream.types import AccessUnit
from tests.clips import make_clip
from tests.net.fault_matrix import CASES, Case, Key, Report, make_streams, run_all, table
from tests.sources.support import collect, reader_threads

TS_PACKET_BYTES = 188
QUICK = SourceConfig(reconnect_initial_seconds=0.05, reconnect_max_seconds=0.1)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = {"g": "10", "x264-params": "bframes=0", "tune": "zerolatency"}
    return make_clip(tmp_path_factory.mktemp("http") / "clip.ts", frames=60, options=options)


@pytest.fixture(scope="module")
def body(clip: Path) -> bytes:
    return clip.read_bytes()


@asynccontextmanager
async def http_server(answer: Callable[[int], bytes]) -> AsyncIterator[int]:
    """Gives `answer(n)` to the n-th request and closes the connection; yields the port."""
    requests = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        await reader.readuntil(b"\r\n\r\n")
        requests += 1
        writer.write(answer(requests))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def head(status: str = "200 OK", *fields: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", "Connection: close", *fields, "", ""]).encode()


async def test_a_file_over_http_has_an_end(clip: Path, body: bytes) -> None:
    events: list[str] = []
    async with http_server(lambda _n: head("200 OK", f"Content-Length: {len(body)}") + body) as port:
        source = open_source(
            f"http://127.0.0.1:{port}/clip.ts", on_event=lambda kind, _detail: events.append(kind)
        )
        received = await asyncio.wait_for(collect(source), 20)
    sent = await collect(open_source(clip))
    assert [unit.data for unit in received] == [unit.data for unit in sent]
    assert events == ["connected", "ended"]


async def test_a_stream_over_http_that_breaks_is_opened_again(body: bytes, tmp_path: Path) -> None:
    other = make_clip(tmp_path / "other.ts", width=160, height=128, frames=40, options={"g": "10"})
    with other.open("rb") as file:
        bodies = [body, body, file.read()]
    async with http_server(lambda n: head() + bodies[min(n, 3) - 1]) as port:
        source = open_source(f"http://127.0.0.1:{port}/live", config=QUICK)
        units: list[AccessUnit] = []
        async for unit in source.units():
            units.append(unit)
            if unit.epoch == 3:
                break
        await source.aclose()
    starts = [index for index, unit in enumerate(units) if unit.discontinuity]
    assert [units[index].epoch for index in starts] == [1, 2, 3]
    assert all(units[index].keyframe for index in starts)
    assert [units[index].params_changed for index in starts] == [False, True, False]
    times = [unit.pts_seconds or 0.0 for unit in units if unit.epoch < 2]
    assert times == sorted(times)
    assert source.stats.reconnects == 3
    assert reader_threads() == []


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("401 Unauthorized", SourceAuthError),
        ("403 Forbidden", SourceAuthError),
        ("404 Not Found", SourceNotFound),
        ("500 Internal Server Error", SourceProtocolError),
    ],
)
async def test_refusals_by_http(status: str, error: type[Exception]) -> None:
    async with http_server(lambda _n: head(status, "Content-Length: 0")) as port:
        with pytest.raises(error) as caught:
            await collect(open_source(f"http://user:CANARY@127.0.0.1:{port}/x"))
    assert "CANARY" not in repr(caught.value)


async def test_a_playlist_cannot_reach_files(clip: Path) -> None:
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:2,\nfile://{clip}\n#EXT-X-ENDLIST\n".encode()
    async with http_server(
        lambda _n: head("200 OK", "Content-Type: application/vnd.apple.mpegurl") + playlist
    ) as port:
        source = open_source(f"http://127.0.0.1:{port}/list.m3u8", config=QUICK)
        with pytest.raises(SourceProtocolError):
            await asyncio.wait_for(collect(source, 1), 20)
        await source.aclose()


async def test_lost_datagrams_lead_to_the_next_keyframe(body: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    packets = [body[at : at + TS_PACKET_BYTES] for at in range(0, len(body), TS_PACKET_BYTES)]

    async def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            number = 0
            while True:
                for packet in packets:
                    number += 1
                    if number % 97:
                        sender.sendto(packet, ("127.0.0.1", port))
                    await asyncio.sleep(0.001)

    events: list[str] = []
    source = open_source(
        f"udp://127.0.0.1:{port}", config=QUICK, on_event=lambda kind, _detail: events.append(kind)
    )
    sending = asyncio.create_task(send())
    units = await asyncio.wait_for(collect(source, 80), 30)
    sending.cancel()
    assert source.stats.lost > 0
    assert "lost" in events
    gaps = [unit for unit in units if unit.discontinuity]
    assert gaps
    assert all(unit.keyframe for unit in gaps)
    assert source.stats.dropped > 0


# FFmpeg gives no picture at all.
BEYOND_FFMPEG = ("refuses TCP", "refuses UDP", "refuses aggregate control", "stale nonce")
FFMPEG_CASES = [case for case in CASES if case.name not in BEYOND_FFMPEG]


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[Key, Report | None]:
    units, other = asyncio.run(make_streams(tmp_path_factory.mktemp("faults")))
    found = asyncio.run(run_all(["ffmpeg"], units=units, other=other, at_once=12, cases=FFMPEG_CASES))
    print(table(found))
    return found


@pytest.mark.parametrize("case", FFMPEG_CASES, ids=lambda case: case.name)
def test_faults(reports: dict[Key, Report | None], case: Case) -> None:
    """What is delivered through FFmpeg is as it was sent, and what is missing is flagged."""
    for transport in case.transports:
        report = reports[Key(case.name, transport, "ffmpeg")]
        assert report is not None, "no pictures came"
        assert report.wrong == ()
