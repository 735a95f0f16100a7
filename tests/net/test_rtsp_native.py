"""Our RTSP client against a camera that misbehaves: every fault, TLS, credentials, falling back, closing."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from ovstream.config import SourceConfig
from ovstream.errors import (
    SourceAuthError,
    SourceError,
    SourceNotFound,
    SourceProtocolError,
    SourceTlsError,
)
from ovstream.rtp import Goodbye
from ovstream.sources import open_source
from ovstream.types import AccessUnit
from tests.clips import make_clip
from tests.net.certificates import ServerIdentity, make_identity
from tests.net.fault_matrix import CASES, CONFIG, GOP, Key, Outcome, Report, make_streams, run_all, table
from tests.net.fault_server import INTERVAL_SECONDS, Behaviour, FaultServer, load_units, receiver_reports
from tests.rtp.sender import SentUnit
from tests.sources.support import collect, decode_units, reader_threads

NATIVE = CONFIG.model_copy(update={"backend": "native", "keep_trying": False})
RANK: dict[Outcome, int] = {"nothing": 0, "gap": 1, "reconnect": 2}
KEYS = [Key(case.name, transport, "native") for case in CASES for transport in case.transports]


def native(**changes: object) -> SourceConfig:
    """Waits long for an answer, unless a test is about that."""
    return SourceConfig.model_validate(NATIVE.model_dump() | {"open_timeout_seconds": 30} | changes)


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[SentUnit], list[SentUnit]]:
    return asyncio.run(make_streams(tmp_path_factory.mktemp("faults")))


@pytest.fixture(scope="module")
def units(streams: tuple[list[SentUnit], list[SentUnit]]) -> list[SentUnit]:
    return streams[0]


@pytest.fixture(scope="module")
def reports(streams: tuple[list[SentUnit], list[SentUnit]]) -> dict[Key, Report | None]:
    found = asyncio.run(run_all(["native"], units=streams[0], other=streams[1], at_once=8))
    print(table(found))  # shown when a test fails, and with -s
    return found


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> ServerIdentity:
    return make_identity(tmp_path_factory.mktemp("tls"))


@pytest.mark.parametrize("key", KEYS, ids=lambda key: f"{key.name}-{key.transport}")
def test_faults(reports: dict[Key, Report | None], key: Key) -> None:
    case = next(case for case in CASES if case.name == key.name)
    report = reports[key]
    assert report is not None, "no pictures came"
    assert report.wrong == ()
    assert RANK[report.outcome] <= RANK[case.worst]
    assert report.gaps >= (case.worst != "nothing") - (case.name == "garbage between packets")
    assert report.gaps or report.lost == 0
    assert report.lost <= report.gaps * GOP * 2
    assert report.params_changed == (case.name == "another size")
    assert report.recovered_seconds is None or report.recovered_seconds < case.slowest_seconds
    assert report.events["fallback"] == (
        case.name.startswith("refuses ") and key.transport in case.name.lower()
    )


@asynccontextmanager
async def camera(units: list[SentUnit], behaviour: Behaviour, **more: object) -> AsyncIterator[FaultServer]:
    async with FaultServer(units, behaviour, **more) as server:  # type: ignore[arg-type]
        yield server


async def take(server: FaultServer, count: int = 3, *, path: str = "", **changes: object) -> list[AccessUnit]:
    return await collect(open_source(server.url + path, config=native(**changes)), count)


async def test_units_have_the_form_of_the_other_backend(units: list[SentUnit]) -> None:
    async with camera(units, Behaviour()) as server:
        ours = await take(server, 30)
        theirs = await collect(open_source(server.url, config=SourceConfig(backend="ffmpeg")), 30)
    by_data = {unit.data: unit for unit in theirs}
    common = [(unit, by_data[unit.data]) for unit in ours if unit.data in by_data]
    assert len(common) >= 20
    for mine, other in common:
        assert (mine.codec, mine.time_base, mine.keyframe) == (other.codec, other.time_base, other.keyframe)
        assert (mine.extradata, mine.epoch, mine.params_changed) == (other.extradata, 0, other.params_changed)
    for units_of_one in (ours, theirs):
        assert {b.pts - a.pts for a, b in pairwise(units_of_one) if a.pts is not None} == {900}
        assert units_of_one[0].keyframe
    assert ours[0].pts == 0


async def test_the_first_picture_does_not_wait_for_the_second(units: list[SentUnit]) -> None:
    """The camera stops after its first picture: the marker bit alone has to do."""
    async with camera(units, Behaviour(fault="silent", at=1)) as server:
        started = time.monotonic()
        (unit,) = await take(server, 1, read_timeout_seconds=30)
        assert time.monotonic() - started < 15
        assert unit.data == units[0].data


async def test_latency_from_the_last_packet_to_the_unit(units: list[SentUnit]) -> None:
    delays = []
    async with camera(units, Behaviour()) as server:
        source = open_source(server.url, config=native())
        stream = source.units()
        for _ in range(50):
            unit = await anext(stream)
            delays.append((time.monotonic_ns() - unit.arrival_ns) / 1e9)
        await stream.aclose()
    assert sorted(delays)[25] < INTERVAL_SECONDS / 2


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize(("codec", "suffix"), [("libx265", ".265"), ("libvpx", ".mkv")])
async def test_other_codecs(tmp_path: Path, codec: str, suffix: str, transport: str) -> None:
    options = {"g": "10"} | ({"bf": "0"} if codec == "libx265" else {})
    clip = make_clip(tmp_path / f"clip{suffix}", codec=codec, frames=30, options=options)
    sent = await load_units(clip)
    async with camera(sent, Behaviour()) as server:
        got = await take(server, 30, transport=transport)
    assert [unit.data for unit in got] == [unit.data for unit in sent]
    assert [unit.keyframe for unit in got] == [unit.keyframe for unit in sent]
    assert decode_units(got)[0] == 30


async def test_a_change_of_size_is_flagged_for_vp8(tmp_path: Path) -> None:
    clips = [
        make_clip(tmp_path / f"{w}.mkv", codec="libvpx", width=w, height=96, frames=12, options={"g": "10"})
        for w in (128, 160)
    ]
    sent, other = [await load_units(clip) for clip in clips]
    async with camera(sent, Behaviour(fault="switch", at=12), other_units=other) as server:
        got = await take(server, 20)
    (changed,) = [unit for unit in got if unit.params_changed]
    assert changed.data == other[0].data


async def test_a_picture_that_is_too_large_is_refused(units: list[SentUnit]) -> None:
    async with camera(units, Behaviour()) as server:
        with pytest.raises(SourceProtocolError, match="160x128, more than max_pixels"):
            await take(server, max_pixels=160 * 127)
    async with camera(units, Behaviour(sdp=SDP.format("H264/90000"))) as server:  # no sets before the first
        with pytest.raises(SourceProtocolError, match="160x128, more than max_pixels"):
            await take(server, max_pixels=160 * 127)


SDP = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=x\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 {}\r\na=control:track1\r\n"


@pytest.mark.parametrize("codec", ["JPEG/90000", "H264/90000\r\na=fmtp:96 packetization-mode=2"])
async def test_video_that_nobody_reads_names_what_there_is(units: list[SentUnit], codec: str) -> None:
    async with camera(units, Behaviour(sdp=SDP.format(codec))) as server:
        with pytest.raises(SourceProtocolError, match=f"it has {codec.partition('/')[0]}"):
            await take(server)


async def test_another_payload_type_than_described(
    units: list[SentUnit], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ovstream.sources.rtsp_media.MAX_FOREIGN_PACKETS", 20)
    async with camera(units, Behaviour(payload_type=98)) as server:
        with pytest.raises(SourceProtocolError, match="payload type 98 instead of 96"):
            await take(server, read_timeout_seconds=2)


async def test_a_keyframe_without_parameter_sets_is_not_handed_on(units: list[SentUnit]) -> None:
    """Neither in the description nor in band: a decoder could not start."""
    async with camera(units, Behaviour(mute_sets=True, sdp=SDP.format("H264/90000"))) as server:
        source = open_source(server.url, config=native())
        waiting = asyncio.ensure_future(collect(source, 1))
        await until(lambda: source.stats.dropped > 20)
        await source.aclose()
        assert await waiting == []
    assert source.stats.units == 0


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
async def test_digest(units: list[SentUnit], algorithm: str) -> None:
    credentials = ("us er", 'CANARY "p@ss\\')
    behaviour = Behaviour(credentials=credentials, algorithm=algorithm)
    async with camera(units, behaviour) as server:
        assert await take(server, username=credentials[0], password=credentials[1])
        for wrong in ({"username": "me", "password": "CANARY"}, {}):
            with pytest.raises(SourceAuthError) as caught:
                await take(server, **wrong)
            assert "CANARY" not in repr(caught.value)


async def test_a_password_does_not_follow_a_redirect_to_another_host(units: list[SentUnit]) -> None:
    guarded = Behaviour(credentials=("me", "CANARY"))
    async with camera(units, guarded) as other:
        seen: list[bytes] = []

        async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.append(await reader.readuntil(b"\r\n\r\n"))
            location = other.url.replace("127.0.0.1", "localhost")
            writer.write(f"RTSP/1.0 302 Moved\r\nCSeq: 1\r\nLocation: {location}\r\n\r\n".encode())
            await reader.read()
            writer.close()

        async with await asyncio.start_server(redirect, "127.0.0.1", 0) as first:
            url = f"rtsp://me:CANARY@127.0.0.1:{first.sockets[0].getsockname()[1]}/x"
            with pytest.raises(SourceAuthError):
                await collect(open_source(url, config=native()), 1)
    assert seen
    assert other.requests == ["DESCRIBE"]


async def test_a_host_with_two_addresses_that_refuse() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        url = f"rtsp://localhost:{reserved.getsockname()[1]}/x"
        with pytest.raises(SourceNotFound, match="nothing listens"):
            await collect(open_source(url, config=native()), 1)


async def test_redirects_in_a_circle_end(units: list[SentUnit]) -> None:
    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"RTSP/1.0 302 Moved\r\nCSeq: 1\r\nLocation: {url}\r\n\r\n".encode())
        await reader.read()
        writer.close()

    async with await asyncio.start_server(redirect, "127.0.0.1", 0) as server:
        url = f"rtsp://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
        with pytest.raises(SourceProtocolError, match="circle"):
            await collect(open_source(url, config=native()), 1)


async def test_tls_is_verified(units: list[SentUnit], identity: ServerIdentity) -> None:
    async with camera(units, Behaviour(), tls=identity.context) as server:
        with pytest.raises(SourceTlsError, match="not trusted"):
            await take(server)
        with pytest.raises(SourceTlsError, match="another certificate"):
            await take(server, tls_fingerprint="ab" * 32)
        assert server.requests == []
        for trust in (
            {"tls_ca_file": str(identity.ca_file)},
            {"tls_fingerprint": identity.fingerprint.upper()},
            {"tls_verify": False},
        ):
            assert len(await take(server, 12, **trust)) == 12


async def test_tls_of_another_host_is_refused(units: list[SentUnit], tmp_path: Path) -> None:
    other = make_identity(tmp_path, address="127.0.0.9")
    async with camera(units, Behaviour(), tls=other.context) as server:
        with pytest.raises(SourceTlsError, match=r"127\.0\.0\.1"):
            await take(server, tls_ca_file=str(other.ca_file))


async def test_a_camera_without_tls_is_told() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"RTSP/1.0 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"rtsps://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
        with pytest.raises(SourceTlsError, match="no TLS connection"):
            await collect(open_source(url, config=native()), 1)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_the_camera_hears_how_it_is_received(units: list[SentUnit], transport: str) -> None:
    async with camera(units, Behaviour()) as server:
        source = open_source(server.url, config=native(transport=transport))
        stream = source.units()
        for _ in range(10):
            await anext(stream)
        await stream.aclose()
        await asyncio.sleep(0.05)
    (block,) = receiver_reports(server)[-1].reports
    assert block.lost == 0
    assert block.highest_sequence >= 110
    assert any(isinstance(report, Goodbye) for report in server.reports)
    assert server.requests == ["DESCRIBE", "SETUP", "PLAY", "TEARDOWN"]


async def test_keepalives_come_in_time_and_change_their_form(units: list[SentUnit]) -> None:
    async with camera(units, Behaviour(session_seconds=1, refuse_methods=("GET_PARAMETER",))) as server:
        await take(server, 100)
    kept = [method for method in server.requests if method in ("GET_PARAMETER", "OPTIONS")]
    assert kept[:2] == ["GET_PARAMETER", "OPTIONS"]
    assert "GET_PARAMETER" not in kept[1:]


async def test_requests_of_the_camera_get_answers(units: list[SentUnit]) -> None:
    async with camera(units, Behaviour(asks=True)) as server:
        await take(server, 5)
    assert server.answers == ["RTSP/1.0 200 OK", "RTSP/1.0 501 Not Implemented"]


@pytest.mark.parametrize(("offset_seconds", "quality"), [(0.0, "sender"), (5.0, "sender"), (-1e6, "arrival")])
async def test_capture_times(units: list[SentUnit], offset_seconds: float, quality: str) -> None:
    events: list[tuple[str, str]] = []
    async with camera(units, Behaviour(clock_offset_seconds=offset_seconds)) as server:
        source = open_source(
            server.url, config=native(), on_event=lambda kind, detail: events.append((kind, detail))
        )
        got = await collect(source, 10)
    assert got[0].clock_quality == "arrival"
    assert {unit.clock_quality for unit in got[3:]} == {quality}
    away = [((unit.capture_time_ns or 0) - time.time_ns()) / 1e9 for unit in got]
    assert away[0] == pytest.approx(0, abs=1)
    assert away[-1] == pytest.approx(offset_seconds if quality == "sender" else 0, abs=1)
    told = [detail for kind, detail in events if kind == "fallback"]
    assert len(told) == (quality == "arrival")


async def test_a_slow_consumer_loses_whole_gops_only(units: list[SentUnit]) -> None:
    async with camera(units, Behaviour()) as server:
        source = open_source(server.url, config=native(queue_units=4))
        stream = source.units()
        got = []
        async for unit in stream:
            got.append(unit)
            if len(got) == 3:
                await until(lambda: source.stats.dropped > 0)
            if len(got) == 25:
                break
        await stream.aclose()
    assert source.stats.dropped > 0
    gaps = [unit.keyframe for unit in got if unit.discontinuity]
    assert gaps
    assert all(gaps)


async def test_ffmpeg_stands_in_where_our_client_cannot_read(units: list[SentUnit]) -> None:
    events: list[tuple[str, str]] = []
    behaviour = Behaviour(refuse_methods=("GET_PARAMETER",), sdp=SDP.format("MP4V-ES/90000"))
    config = native(backend="auto", reconnect_max_seconds=0.2)
    async with camera(units, behaviour) as server:
        source = open_source(
            server.url, config=config, on_event=lambda kind, detail: events.append((kind, detail))
        )
        waiting = asyncio.ensure_future(collect(source, 1))
        await until(lambda: server.requests.count("DESCRIBE") >= 2)
        await source.aclose()
        await asyncio.wait({waiting})
    told = [detail for kind, detail in events if kind == "fallback"]
    assert told == [f"{source.name} offers no video that can be read (it has MP4V-ES); going on with FFmpeg"]


@pytest.mark.parametrize(
    ("behaviour", "path", "error"),
    [
        (Behaviour(credentials=("me", "secret")), "", SourceAuthError),
        (Behaviour(), "/nowhere", SourceNotFound),
        (Behaviour(hang="DESCRIBE"), "", SourceError),
    ],
)
async def test_ffmpeg_does_not_try_what_cannot_help(
    units: list[SentUnit], behaviour: Behaviour, path: str, error: type[SourceError]
) -> None:
    events: list[str] = []
    config = native(backend="auto", open_timeout_seconds=1 if behaviour.hang else 30)
    async with camera(units, behaviour) as server:
        source = open_source(server.url + path, config=config, on_event=lambda kind, _d: events.append(kind))
        with pytest.raises(error):
            await collect(source, 1)
    assert events == []
    assert server.requests == ["DESCRIBE"]
    assert server.connections == 1


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("moment", ["playing", "connecting", "waiting"])
async def test_closing_takes_no_time_and_leaves_nothing(
    units: list[SentUnit], transport: str, moment: str
) -> None:
    behaviour = {
        "playing": Behaviour(),
        "connecting": Behaviour(hang="SETUP"),
        "waiting": Behaviour(fault="close", at=3),
    }[moment]
    events: list[str] = []
    config = native(
        transport=transport, open_timeout_seconds=30, reconnect_initial_seconds=30, reconnect_max_seconds=30
    )
    async with camera(units, behaviour) as server:
        tasks, before = asyncio.all_tasks(), open_descriptors()
        source = open_source(server.url, config=config, on_event=lambda kind, _d: events.append(kind))
        waiting = asyncio.ensure_future(collect(source))
        reached: dict[str, Callable[[], bool]] = {
            "playing": lambda: source.stats.units > 3,
            "connecting": lambda: "SETUP" in server.requests,
            "waiting": lambda: "reconnecting" in events,
        }
        await until(reached[moment])
        started = time.monotonic()
        await source.aclose()
        assert time.monotonic() - started < 15  # nothing was waited out
        await waiting
        await source.aclose()
        assert [unit async for unit in source.units()] == []
        await until(lambda: open_descriptors() <= before and not asyncio.all_tasks() - tasks)
    gc.collect()
    assert reader_threads() == []
    assert "ended" not in events


async def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_one_iteration_at_a_time(units: list[SentUnit]) -> None:
    async with camera(units, Behaviour()) as server:
        source = open_source(server.url, config=native())
        stream = source.units()
        await anext(stream)
        with pytest.raises(RuntimeError, match="iterated already"):
            await anext(source.units())
        await stream.aclose()
        assert await collect(source, 1)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.0\r\n",
        bytes(range(256)) * 20,
        b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 99999999999\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n" + b"X: y\r\n" * 20_000,
        b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n",
        b"RTSP/1.0 999 Odd\r\nCSeq: 1\r\n\r\n",
        b"",
    ],
    ids=["http", "ssh", "bytes", "huge body", "huge head", "no body", "odd status", "closes"],
)
async def test_servers_that_do_not_speak_rtsp(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        if answer:
            await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"rtsp://me:CANARY@127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
        with pytest.raises(SourceError) as caught:
            await collect(open_source(url, config=native()), 1)
    assert "CANARY" not in str(caught.value)
    assert type(caught.value) is (SourceProtocolError if answer else SourceError)
