"""RTSP against a real server (gst-rtsp-server): units, parameter sets, loss of the server, credentials."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

import pytest

from ovstream.config import SourceConfig
from ovstream.errors import (
    SourceAuthError,
    SourceError,
    SourceNotFound,
    SourceTimeout,
    SourceTlsError,
)
from ovstream.nal import leading_nals, nal_type
from ovstream.sources import open_source
from ovstream.types import AccessUnit
from tests.clips import make_clip
from tests.net.certificates import make_identity
from tests.net.rtsp_server import RtspServer, rtsp_server
from tests.sources.support import collect, decode_units, reader_threads

USER, PASSWORD = "us er@x", "CANARY p@s:s/w?#%&"
ENCODED = quote(USER, safe="") + ":" + quote(PASSWORD, safe="") + "@"


@pytest.fixture(params=["native", "ffmpeg"])
def config(request: pytest.FixtureRequest) -> SourceConfig:
    return SourceConfig(backend=request.param)


@pytest.fixture
def quick(config: SourceConfig) -> SourceConfig:
    times = {"reconnect_initial_seconds": 0.1, "reconnect_max_seconds": 0.3, "read_timeout_seconds": 1.0}
    return config.model_copy(update=times)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rtsp") / "clip.264"
    return make_clip(path, frames=50, options={"g": "10", "x264-params": "bframes=0"})


@pytest.fixture(scope="module")
def server(clip: Path) -> Iterator[RtspServer]:
    with rtsp_server("--file", str(clip), "--loop") as running:
        yield running


@pytest.fixture(scope="module", params=["basic", "digest"])
def guarded(request: pytest.FixtureRequest) -> Iterator[RtspServer]:
    with rtsp_server("--auth", request.param, "--user", USER, "--password", PASSWORD) as running:
        yield running


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_a_live_camera(server: RtspServer, transport: str, config: SourceConfig) -> None:
    events: list[tuple[str, str]] = []
    source = open_source(
        server.url("/live"),
        config=config.model_copy(update={"transport": transport}),
        on_event=lambda kind, detail: events.append((kind, detail)),
    )
    units = await collect(source, 40)

    assert events == [("connected", f"{source.name}: h264 320x240")]
    assert units[0].keyframe
    assert sum(unit.keyframe for unit in units) >= 2
    assert not any(unit.discontinuity or unit.params_changed or unit.epoch for unit in units)
    assert decode_units(units)[0] == 40
    times = [unit.pts_seconds or 0.0 for unit in units]
    assert [b - a for a, b in pairwise(times)] == pytest.approx([0.04] * 39, abs=0.001)
    assert all(b.arrival_ns > a.arrival_ns for a, b in pairwise(units))
    assert all(abs((unit.capture_time_ns or 0) - time.time_ns()) < 10e9 for unit in units)
    assert reader_threads() == []


async def test_sender_reports_give_the_capture_time(server: RtspServer, config: SourceConfig) -> None:
    units = open_source(server.url("/live"), config=config).units()
    async for unit in units:
        if unit.clock_quality == "sender":
            assert abs((unit.capture_time_ns or 0) - time.time_ns()) < 2e9
            break
        assert unit.clock_quality == "arrival"
    await units.aclose()


async def test_a_file_behind_the_server_arrives_bit_exact(
    server: RtspServer, clip: Path, config: SourceConfig
) -> None:
    received = await collect(open_source(server.url("/file"), config=config), 25)
    sent = await collect(open_source(clip))
    slices = {slice_bytes(unit) for unit in sent}
    assert all(slice_bytes(unit) in slices for unit in received)
    assert decode_units(received)[0] == 25


async def test_h265_from_a_container(tmp_path: Path, config: SourceConfig) -> None:
    clip = make_clip(tmp_path / "clip.mp4", codec="libx265", frames=30, options={"g": "10"})
    with rtsp_server("--file", str(clip), "--codec", "h265", "--loop") as server:
        units = await collect(open_source(server.url("/file"), config=config), 30)
    assert {unit.codec for unit in units} == {"h265"}
    assert units[0].keyframe
    assert decode_units(units)[0] >= 28


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_vp8(server: RtspServer, transport: str, config: SourceConfig) -> None:
    config = config.model_copy(update={"transport": transport})
    units = await collect(open_source(server.url("/vp8"), config=config), 30)
    assert {unit.codec for unit in units} == {"vp8"}
    assert units[0].keyframe
    assert decode_units(units)[0] == 30


async def test_tls(tmp_path: Path) -> None:
    identity = make_identity(tmp_path)
    with rtsp_server("--certificate", str(identity.ca_file), "--key", str(identity.key_file)) as server:
        url = server.url("/live").replace("rtsp:", "rtsps:")
        with pytest.raises(SourceTlsError, match="not trusted"):
            await collect(open_source(url), 1)
        for trust in ({"tls_ca_file": str(identity.ca_file)}, {"tls_fingerprint": identity.fingerprint}):
            units = await collect(open_source(url, config=SourceConfig.model_validate(trust)), 12)
            assert decode_units(units)[0] == 12


async def test_parameter_sets_of_the_sdp_go_in_band(config: SourceConfig) -> None:
    with rtsp_server("--sdp-parameters-only") as server:
        units = await collect(open_source(server.url("/live"), config=config), 30)
    for unit in units:
        if unit.keyframe:
            assert {nal_type(nal, "h264") for nal in leading_nals(unit.data, "h264")} >= {7, 8}
    assert decode_units(units)[0] == 30


async def test_a_server_that_dies_and_comes_back(quick: SourceConfig) -> None:
    events: list[str] = []
    with rtsp_server() as first:
        source = open_source(
            first.url("/live"), config=quick, on_event=lambda kind, _detail: events.append(kind)
        )
        units = source.units()
        before = [await anext(units) for _ in range(10)]
    with rtsp_server("--port", str(first.port)):
        after = [await anext(units)]
        while after[-1].epoch == 0:
            before.append(after.pop())
            after.append(await anext(units))
        after += [await anext(units) for _ in range(10)]
        await units.aclose()

    assert events[0] == "connected"
    assert "reconnecting" in events
    assert events[-1] == "connected"
    assert source.stats.reconnects >= 1
    assert (after[0].keyframe, after[0].discontinuity, after[0].params_changed) == (True, True, False)
    assert not any(unit.discontinuity for unit in before + after[1:])
    times = [unit.pts_seconds or 0.0 for unit in before + after]
    assert times == sorted(times)
    away_seconds = (after[0].arrival_ns - before[-1].arrival_ns) / 1e9
    assert after[0].pts_seconds - before[-1].pts_seconds == pytest.approx(away_seconds, abs=0.1)
    assert reader_threads() == []


async def test_a_server_that_falls_silent_is_left(quick: SourceConfig) -> None:
    events: list[tuple[str, str]] = []
    with rtsp_server() as silent:
        source = open_source(
            silent.url("/live"), config=quick, on_event=lambda kind, detail: events.append((kind, detail))
        )
        units = source.units()
        for _ in range(5):
            await anext(units)
        silent.process.send_signal(signal.SIGSTOP)
        waiting = asyncio.ensure_future(drain(units))
        await until(lambda: any(kind == "reconnecting" for kind, _ in events))
        await source.aclose()
        await waiting
    details = [detail for kind, detail in events if kind == "reconnecting"]
    assert details
    assert "silent" in details[0]


async def test_a_short_silence_is_survived(config: SourceConfig) -> None:
    with rtsp_server() as server:
        source = open_source(server.url("/live"), config=config)
        units = source.units()
        for _ in range(5):
            await anext(units)
        server.process.send_signal(signal.SIGSTOP)
        asyncio.get_running_loop().call_later(1.2, server.process.send_signal, signal.SIGCONT)
        taken = [await anext(units) for _ in range(40)]
        await units.aclose()
    assert {unit.epoch for unit in taken} == {0}
    assert decode_units(taken[next(i for i, unit in enumerate(taken) if unit.keyframe) :])[0] > 0


@pytest.mark.parametrize("form", ["encoded", "plain", "fields"])
async def test_special_characters_in_the_password(
    guarded: RtspServer, form: str, config: SourceConfig
) -> None:
    prefix = {"encoded": ENCODED, "plain": f"{USER}:{PASSWORD}@", "fields": ""}[form]
    if form == "fields":
        config = SourceConfig(backend=config.backend, username=USER, password=PASSWORD)
    source = open_source(guarded.url("/live", prefix), config=config)
    assert len(await collect(source, 3)) == 3


@pytest.mark.parametrize("path", ["/live", "/nowhere"])
async def test_a_wrong_password_is_refused_and_nowhere_shown(
    guarded: RtspServer,
    path: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    config: SourceConfig,
) -> None:
    caplog.set_level(logging.DEBUG)
    events: list[str] = []
    source = open_source(
        guarded.url(path, "wrong:CANARY%20secret@"),
        config=config,
        on_event=lambda kind, detail: events.append(kind + detail),
    )
    with pytest.raises(SourceAuthError if path == "/live" else SourceError) as caught:
        await collect(source)
    printed = capfd.readouterr()
    chain = "".join(traceback.format_exception(caught.value, chain=True))
    everything = [chain, repr(caught.value), repr(source), source.name, caplog.text, *events]
    assert "CANARY" not in "".join([*everything, printed.out, printed.err])
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None
    gc.collect()
    assert reader_threads() == []


async def test_an_unknown_path_is_not_found(server: RtspServer, config: SourceConfig) -> None:
    with pytest.raises(SourceNotFound, match="/nowhere"):
        await collect(open_source(server.url("/nowhere"), config=config))


async def test_a_closed_port_is_told_at_once(config: SourceConfig) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        with pytest.raises(SourceNotFound, match="nothing listens"):
            await collect(open_source(f"rtsp://u:CANARY@127.0.0.1:{port}/x", config=config))


async def test_an_unknown_host_is_told(config: SourceConfig) -> None:
    with pytest.raises(SourceNotFound, match="host name is unknown"):
        await collect(open_source("rtsp://u:CANARY@no-such-host.invalid/x", config=config))


async def test_a_server_that_never_answers(config: SourceConfig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"rtsp://127.0.0.1:{mute.getsockname()[1]}/x"
        with pytest.raises(SourceTimeout, match="in time"):
            await collect(open_source(url, config=config.model_copy(update={"open_timeout_seconds": 0.5})))


async def test_closing_during_a_connection_that_hangs(config: SourceConfig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"rtsp://127.0.0.1:{mute.getsockname()[1]}/x"
        source = open_source(url, config=config.model_copy(update={"open_timeout_seconds": 60}))
        waiting = asyncio.ensure_future(drain(source.units()))
        mute.setblocking(False)
        connection, _ = await asyncio.get_running_loop().sock_accept(mute)
        with connection:
            async with asyncio.timeout(30):
                await source.aclose()
                await waiting
            await until(lambda: reader_threads() == [])


async def test_keep_trying_waits_for_a_camera_that_is_off(quick: SourceConfig) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    events: list[str] = []
    source = open_source(
        f"rtsp://127.0.0.1:{port}/live",
        config=quick.model_copy(update={"keep_trying": True}),
        on_event=lambda kind, _detail: events.append(kind),
    )
    units = source.units()
    first = asyncio.ensure_future(anext(units))
    await until(lambda: "reconnecting" in events)
    with rtsp_server("--port", str(port)):
        unit = await first
    await units.aclose()
    assert (unit.epoch, unit.keyframe) == (0, True)


async def test_a_slow_consumer_loses_whole_gops_only(server: RtspServer, config: SourceConfig) -> None:
    source = open_source(server.url("/file"), config=config.model_copy(update={"queue_units": 4}))
    units = source.units()
    taken = []
    async for unit in units:
        taken.append(unit)
        if len(taken) == 3:
            await until(lambda: source.stats.dropped > 0)
        if len(taken) == 25:
            break
    await units.aclose()
    assert source.stats.dropped > 0
    gaps = [unit for unit in taken if unit.discontinuity]
    assert gaps
    assert all(unit.keyframe for unit in gaps)


def slice_bytes(unit: AccessUnit) -> bytes:
    """The coded picture without the parameter sets and delimiters before it."""
    leading = list(leading_nals(unit.data, unit.codec))
    start = unit.data.rfind(leading[-1]) + len(leading[-1]) if leading else 0
    return unit.data[start:].lstrip(b"\0").removeprefix(b"\1")


async def drain(units: AsyncIterator[AccessUnit]) -> None:
    async for _ in units:
        pass


async def until(happened: Callable[[], bool], timeout_seconds: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not happened():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
