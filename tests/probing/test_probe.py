"""Probing: facts against clips made with known settings, verdicts, cameras with faults, the command."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

import pytest

import ovstream
from ovstream.config import SourceConfig
from ovstream.errors import ConfigError, SourceAuthError, SourceError, SourceNotFound, SourceTimeout
from ovstream.probing.judge import judge
from ovstream.probing.measure import Pace
from ovstream.probing.profiles import profile_and_level
from ovstream.probing.report import ProbeReport
from ovstream.sources import MemorySource, Pause
from tests.cli.programs import ovstream as run_command
from tests.clips import make_clip
from tests.net.fault_matrix import make_streams
from tests.net.fault_server import Behaviour, FaultServer
from tests.sources.support import make_unit

GOOD = ProbeReport(
    name="rtsp://cam/1",
    seconds=10.0,
    pictures=250,
    open_seconds=0.1,
    codec="h264",
    profile="High",
    level="4.0",
    width=1920,
    height=1080,
    fps=25.0,
    bitrate_kbps=2000.0,
    gop_pictures=50.0,
    gop_seconds=2.0,
    gop_varies=False,
    gop_structure="IPPPPPPP",
    keyframe_share=0.2,
    b_frames=0,
    slices_per_picture=1,
    qp=27.0,
    skip_share=0.7,
    intra_share=0.01,
    motion_px=0.3,
    parsed=True,
    unparsed_reason="",
    clock="sender",
    clock_offset_seconds=0.01,
    jitter_ms=5.0,
    lost=0,
    dropped=0,
    reconnects=0,
)


@pytest.mark.parametrize(
    ("changes", "topic", "verdict"),
    [
        ({}, None, "good"),
        ({"codec": "mjpeg"}, "codec", "poor"),
        ({"parsed": False, "unparsed_reason": "MBAFF"}, "codec", "poor"),
        ({"gop_pictures": 1.0, "gop_structure": "IIIIIIII"}, "gop", "poor"),
        ({"gop_pictures": 3.0, "gop_seconds": 0.12}, "gop", "usable"),
        ({"gop_pictures": 500.0, "gop_seconds": 20.0}, "gop", "usable"),
        ({"gop_pictures": None, "gop_seconds": None}, "gop", "usable"),
        ({"gop_varies": True}, "gop", "usable"),
        ({"b_frames": 2}, "bframes", "usable"),
        ({"fps": 2.0}, "rate", "usable"),
        ({"fps": 60.0}, "rate", "usable"),
        ({"qp": 45.0}, "quality", "poor"),
        ({"codec": "vp8", "qp": 45.0}, None, "good"),
        ({"intra_share": 0.5}, "quality", "usable"),
        ({"width": 160, "height": 128}, "size", "usable"),
        ({"clock_offset_seconds": None}, "clock", "usable"),
        ({"clock_offset_seconds": -7.0}, "clock", "usable"),
        ({"lost": 3}, "loss", "poor"),
        ({"reconnects": 1}, "loss", "poor"),
        ({"jitter_ms": 900.0}, "pace", "usable"),
    ],
)
def test_judgements(changes: dict[str, object], topic: str | None, verdict: str) -> None:
    report = replace(GOOD, **changes)  # type: ignore[arg-type]
    findings = judge(report, live=True)
    assert {one.topic for one in findings if one.weight != "good"} == ({topic} if topic else set())
    assert all(one.remedy for one in findings if one.weight != "good")
    assert replace(report, findings=findings).verdict == verdict
    assert findings[0].weight == {"good": "good", "usable": "advice", "poor": "problem"}[verdict]


def test_files_have_no_clock_and_no_network() -> None:
    bad = replace(GOOD, clock_offset_seconds=None, lost=3, jitter_ms=900.0)
    assert {one.weight for one in judge(bad, live=False)} == {"good"}


@pytest.fixture
def clip(tmp_path: Path) -> Callable[..., Path]:
    def make(name: str = "clip.mp4", **options: object) -> Path:
        return make_clip(tmp_path / name, **options)  # type: ignore[arg-type]

    return make


async def test_facts_of_h264(clip: Callable[..., Path]) -> None:
    options = {"x264-params": "bframes=0:keyint=25:scenecut=0:slices=4", "profile": "main", "level": "3.1"}
    seen: list[float] = []
    report = await ovstream.probe(clip(options=options, frames=100), on_progress=seen.append)
    assert (report.codec, report.profile, report.level) == ("h264", "Main", "3.1")
    assert (report.width, report.height, report.fps) == (320, 240, pytest.approx(25, abs=0.01))
    assert (report.gop_pictures, report.gop_seconds) == (25, pytest.approx(1, abs=0.01))
    assert (report.gop_structure, report.b_frames, report.slices_per_picture) == ("IPPPPPPP", 0, 4)
    assert (report.pictures, report.lost, report.clock, report.jitter_ms) == (100, 0, "none", None)
    assert report.parsed
    assert report.verdict == "good"
    assert seen == sorted(seen)


async def test_facts_of_b_pictures(clip: Callable[..., Path]) -> None:
    options = {"x264-params": "bframes=2:b-adapt=0:keyint=30:scenecut=0:b-pyramid=none"}
    report = await ovstream.probe(clip(options=options, frames=70))
    assert report.b_frames == 2
    assert report.gop_structure.startswith("IPBBPBB")
    assert report.gop_pictures == 30
    (advice,) = [one for one in report.findings if one.topic == "bframes"]
    assert "80 ms" in advice.text


@pytest.mark.parametrize(
    ("name", "codec", "options", "profile"),
    [
        ("a.mp4", "libx265", {"x265-params": "log-level=none:pools=1:frame-threads=1:bframes=0"}, "Main"),
        ("a.webm", "libvpx", {}, "version 0"),
        ("a.264", "libx264", {"profile": "baseline"}, "Constrained Baseline"),
    ],
)
async def test_other_codecs(
    clip: Callable[..., Path], name: str, codec: str, options: dict[str, str], profile: str
) -> None:
    report = await ovstream.probe(clip(name, codec=codec, options=options))
    assert (report.profile, report.width, report.parsed) == (profile, 320, True)
    assert report.qp is not None


async def test_a_codec_without_parser_is_a_problem(clip: Callable[..., Path]) -> None:
    report = await ovstream.probe(clip(codec="mpeg4", frames=10))
    assert (report.codec, report.parsed, report.verdict) == ("mpeg4", False, "poor")
    assert "cannot be read without decoding" in report.findings[0].text


async def test_a_file_is_read_only_as_far_as_asked(clip: Callable[..., Path]) -> None:
    report = await ovstream.probe(clip(frames=100), seconds=1)
    assert report.pictures < 60


async def test_options_of_every_form(clip: Callable[..., Path]) -> None:
    path = clip(frames=5)
    for options in (
        {"backend": "native"},
        {"source": {"backend": "native"}, "username": "me"},
        {"source": SourceConfig(backend="native"), "username": "me"},
        {"stream_id": "door", "plan": {"keep_ratio": 0.1}, "backend": "auto"},
    ):
        assert (await ovstream.probe(path, **options)).pictures == 5
    with pytest.raises(ConfigError, match="backend"):
        await ovstream.probe(path, backend="wrong")


async def test_a_missing_file_is_an_error() -> None:
    with pytest.raises(SourceNotFound):
        await ovstream.probe("nowhere.mp4")


async def test_a_camera(tmp_path: Path) -> None:
    units, _ = await make_streams(tmp_path)
    async with FaultServer(units, Behaviour(clock_offset_seconds=3.0)) as server:
        report = await ovstream.probe(f"rtsp://me:CANARY@{server.url.removeprefix('rtsp://')}", seconds=1.5)
    assert report.name == server.url
    assert (report.clock, report.clock_offset_seconds) == ("sender", pytest.approx(3.0, abs=0.5))
    assert report.gop_pictures == 10
    assert report.jitter_ms is not None
    assert (report.lost, report.reconnects) == (0, 0)
    advice = {one.topic: one.text for one in report.findings if one.weight == "advice"}
    assert advice["clock"].startswith("the camera's clock is +3.")
    assert "CANARY" not in repr(report)


async def test_a_camera_whose_clock_was_never_set_and_that_loses_packets(tmp_path: Path) -> None:
    units, _ = await make_streams(tmp_path)
    async with FaultServer(units, Behaviour(clock_offset_seconds=-1e6, loss=0.02)) as server:
        report = await ovstream.probe(server.url, seconds=2)
    texts = {one.topic: one.text for one in report.findings if one.weight != "good"}
    assert texts["clock"] == "the camera's clock is wrong (-1000000 s off)"
    assert report.lost > 0
    assert texts["loss"].startswith("data was lost")
    assert report.verdict == "poor"


async def test_a_refused_password_is_an_error(tmp_path: Path) -> None:
    units, _ = await make_streams(tmp_path)
    async with FaultServer(units, Behaviour(credentials=("me", "x"))) as server:
        with pytest.raises(SourceAuthError):
            await ovstream.probe(server.url, username="me", password="y")


def test_the_command(clip: Callable[..., Path]) -> None:
    path = str(clip(options={"x264-params": "bframes=3:b-adapt=0:keyint=25"}, frames=60))
    text = run_command("probe", path)
    assert "usable" in text
    assert "switch B frames off" in text
    found = json.loads(run_command("probe", path, "--json"))
    assert (found["verdict"], found["codec"], found["b_frames"]) == ("usable", "h264", 3)


def test_errors_of_the_command_are_json_too() -> None:
    found = json.loads(run_command("probe", "rtsp://me:CANARY@127.0.0.1:1/x", "--json", status=1))
    assert found["error"]["kind"] == "SourceRefused"
    assert "CANARY" not in found["error"]["message"]


async def test_a_look_always_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also at a camera that is away, where a stream would wait for ever, and at one that never sends."""
    with pytest.raises(SourceError):
        await ovstream.probe("rtsp://127.0.0.1:9/x", keep_trying=True)
    with pytest.raises(ConfigError, match="waits for somebody who publishes"):
        await ovstream.probe("whip://127.0.0.1:0/door")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x.ts"
        monkeypatch.setattr(sys.modules["ovstream.probing.probe"], "_OPENINGS", 0)
        with pytest.raises(SourceTimeout, match="no picture in"):
            await ovstream.probe(url, seconds=0.3, open_timeout_seconds=60.0, read_timeout_seconds=60.0)


def test_empty_nal_units_before_the_parameter_sets_are_passed_over() -> None:
    sps = bytes((0x67, 100, 0, 40, 0x80))
    assert profile_and_level("h264", b"\0\0\1\0\0\1" + sps) == ("High", "4.0")


async def test_who_is_cancelled_twice_leaves_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second Ctrl-C, while the source closes."""
    reached = {name: asyncio.Event() for name in ("units", "aclose")}
    parsed = threading.Event()

    async def forever(_seconds: float) -> None:
        reached["units"].set()
        await asyncio.Event().wait()

    async def aclose() -> None:
        reached["aclose"].set()
        await asyncio.Event().wait()

    queues = []

    def parse(units: SimpleQueue[object], *_: object) -> None:
        queues.append(units)
        while units.get() is not None:
            pass
        parsed.set()

    module = sys.modules["ovstream.probing.probe"]
    source = MemorySource([Pause(1)], live=True, sleep=forever)
    monkeypatch.setattr(source, "aclose", aclose)
    monkeypatch.setattr(module, "open_source", lambda *_, **__: source)
    monkeypatch.setattr(module, "_parse", parse)
    look = asyncio.create_task(ovstream.probe("rtsp://cam/1"))
    for event in reached.values():
        await event.wait()
        look.cancel()
    with pytest.raises(asyncio.CancelledError):
        await look
    ended = await asyncio.to_thread(parsed.wait, 5.0)
    queues[0].put(None)  # else a failure would hang
    assert ended


async def test_a_section_that_is_none_is_told() -> None:
    with pytest.raises(ConfigError, match="source"):
        await ovstream.probe("rtsp://127.0.0.1:9/x", source="udp", transport="udp")


def test_the_length_of_a_long_look_costs_nothing_to_ask() -> None:
    pace = Pace()
    for number in (3, 1, 2):
        pace.add(make_unit(number))
    assert pace.span_seconds == pytest.approx(2 / 25)
    assert pace.seconds == pytest.approx(3 / 25)
