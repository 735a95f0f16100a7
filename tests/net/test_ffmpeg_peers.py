"""Other doors than RTSP, each with a peer that speaks it: what arrives is what was sent."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import pytest

from ovstream.config import SourceConfig
from ovstream.errors import ConfigError, SourceNotFound
from ovstream.sources import open_source
from ovstream.types import AccessUnit
from tests.clips import make_clip
from tests.net import rtmp_push
from tests.net.rtmp_push import remux
from tests.net.rtmp_server import rtmp_server
from tests.rtp.sender import annexb_nals
from tests.sources.support import collect

GOP = 10
PICTURES = 40
QUICK = SourceConfig(
    keep_trying=True, open_timeout_seconds=20, reconnect_initial_seconds=0.05, reconnect_max_seconds=0.1
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same pictures in every container."""
    made = tmp_path_factory.mktemp("peers")
    options = {"g": str(GOP), "x264-params": "bframes=0:scenecut=0:aud=0", "tune": "zerolatency"}
    make_clip(made / "clip.264", width=160, height=128, frames=PICTURES, options=options)
    for name, kind, how in (
        ("clip.flv", "flv", {}),
        ("clip.mp4", "mp4", {}),
        ("clip.ts", "mpegts", {}),
        ("list.m3u8", "hls", {"hls_time": "0.4", "hls_list_size": "0"}),
    ):
        remux(str(made / "clip.264"), str(made / name), kind, how)
    return made


@pytest.fixture(scope="module")
def sent(folder: Path) -> list[bytes]:
    return [slices(unit) for unit in asyncio.run(collect(open_source(folder / "clip.264")))]


def slices(unit: AccessUnit) -> bytes:
    """The coded picture, without what containers put in front of it."""
    return b"\0\0\1".join(nal for nal in annexb_nals(unit.data) if nal[0] & 31 in (1, 5))


@contextmanager
def again_and_again(send: Callable[[], None]) -> Iterator[None]:
    """Sends in a thread until the block ends."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(0.02):
            try:
                send()
            except OSError:  # nobody listens yet, or any more
                continue

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@asynccontextmanager
async def http_files(folder: Path) -> AsyncIterator[str]:
    """A web server; yields its address."""
    handler = partial(Silent, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class Silent(SimpleHTTPRequestHandler):
    """Tells nothing about requests."""

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


@pytest.mark.parametrize("name", ["clip.ts", "clip.mp4", "clip.flv", "list.m3u8"])
async def test_files_of_a_web_server(folder: Path, sent: list[bytes], name: str) -> None:
    async with http_files(folder) as address:
        units = await asyncio.wait_for(collect(open_source(f"{address}/{name}")), 30)
    assert [slices(unit) for unit in units] == sent
    assert [unit.keyframe for unit in units] == [index % GOP == 0 for index in range(PICTURES)]


async def test_rtmp_of_a_server(folder: Path, sent: list[bytes]) -> None:
    flv = await asyncio.to_thread((folder / "clip.flv").read_bytes)
    async with rtmp_server(flv) as url:
        units = await asyncio.wait_for(collect(open_source(url, config=QUICK), 2 * PICTURES), 30)
    assert [slices(unit) for unit in units] == sent + sent
    assert [unit.epoch for unit in units] == [0] * PICTURES + [1] * PICTURES


async def test_rtmp_of_an_encoder_that_connects_to_us(folder: Path, sent: list[bytes]) -> None:
    url = f"rtmp://127.0.0.1:{free_port()}/live/cam"
    encoder = await asyncio.create_subprocess_exec(
        sys.executable, rtmp_push.__file__, url, str(folder / "clip.264")
    )
    try:
        units = await asyncio.wait_for(collect(open_source(f"{url}?listen=1", config=QUICK), PICTURES), 30)
    finally:
        encoder.kill()
        await encoder.wait()
    assert [slices(unit) for unit in units] == sent


@pytest.mark.parametrize(
    ("url", "kind"), [("udp://127.0.0.1:{}?pkt_size=1316", "mpegts"), ("rtp://127.0.0.1:{}", "rtp_mpegts")]
)
async def test_transport_streams_over_udp(folder: Path, sent: list[bytes], url: str, kind: str) -> None:
    url = url.format(free_port())
    with again_and_again(lambda: remux(str(folder / "clip.264"), url, kind, {}, rate=200)):
        units = await asyncio.wait_for(collect(open_source(url, config=QUICK), 2 * GOP), 30)
    assert units[0].keyframe
    assert {slices(unit) for unit in units} <= set(sent)


async def test_a_raw_stream_over_tcp(folder: Path, sent: list[bytes]) -> None:
    """As `rpicam-vid --codec h264 --listen -o tcp://0.0.0.0:8888` sends it."""

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((folder / "clip.264").read_bytes())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        url = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        units = await asyncio.wait_for(collect(open_source(url, config=QUICK), PICTURES + GOP), 30)
    assert [slices(unit) for unit in units] == sent + sent[:GOP]


async def test_motion_jpeg_over_http() -> None:
    """As USB cameras and old network cameras give it: every picture stands alone."""
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.framerate = 64, 48, "yuvj420p", 25
    picture = bytes(encoder.encode(av.VideoFrame(64, 48, "yuvj420p"))[0])
    part = f"--x\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n".encode()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=x\r\n\r\n")
        writer.write((part + picture + b"\r\n") * 30)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/video"
        units = await asyncio.wait_for(collect(open_source(url, config=QUICK), 20), 30)
    assert {(unit.codec, unit.keyframe, unit.data) for unit in units} == {("mjpeg", True, picture)}


async def test_a_protocol_that_this_ffmpeg_lacks_is_no_network_error() -> None:
    """PyAV's wheels have no SRT; trying again would not help."""
    try:
        av.open("srt://127.0.0.1:9", timeout=0.1)
    except av.error.ProtocolNotFoundError:
        with pytest.raises(ConfigError, match="has no srt; put a gateway"):
            await collect(open_source("srt://127.0.0.1:9?passphrase=CANARY", config=QUICK))
    except av.error.FFmpegError:
        return  # this build has it


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_a_usb_camera_needs_a_build_with_v4l2() -> None:
    """There is no such device on a build machine: that the adapter asks for the right one is all that can be seen."""
    source = open_source("/dev/video99")
    if "v4l2" in av.formats_available:
        with pytest.raises(SourceNotFound, match="/dev/video99"):
            await collect(source)
    else:
        with pytest.raises(ConfigError, match="cannot open V4L2"):
            await collect(source)
