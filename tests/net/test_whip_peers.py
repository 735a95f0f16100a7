"""Real publishers: Chromium through the page, GStreamer's webrtcbin, FFmpeg's whip muxer, aiortc with its encoders."""

from __future__ import annotations

import asyncio
import os
import random
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import av
import numpy as np
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription, VideoStreamTrack
from aiortc.rtcdtlstransport import RTCDtlsTransport
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.net.certificates import ServerIdentity, make_identity
from tests.net.chromium import browser_page
from tests.net.rtsp_server import SYSTEM_PYTHON
from tests.net.whip_publisher import Listener, ask, listening, rsa_certificate, until
from tests.sources.support import decode_units

GST_SCRIPT = Path(__file__).with_name("gst_whip.py")
GST_PACKAGES = "python3-gi gir1.2-gst-plugins-bad-1.0 gstreamer1.0-plugins-bad gstreamer1.0-nice gstreamer1.0-plugins-ugly"
LIVE = "document.getElementById('state').textContent === 'Live'"
CLICK = "document.getElementById('go').click()"
NOTE = "document.getElementById('note').textContent"


def check_units(camera: Listener, codec: str, *, count: int) -> None:
    """What every publisher must give: whole units of one epoch, that a decoder takes."""
    units = camera.units[:count]
    assert units[0].keyframe
    assert {unit.codec for unit in units} == {codec}
    assert {unit.epoch for unit in units} == {0}
    stamps = [unit.pts for unit in units if unit.pts is not None]
    assert len(stamps) == len(units)
    assert stamps == sorted(set(stamps))
    assert decode_units(units)[0] == len(units)


async def test_a_browser_publishes_with_one_click_and_a_token() -> None:
    async with (
        listening(token="open sesame", read_timeout_seconds=5) as camera,
        browser_page(camera.url.replace("cam1", "publish?codec=H264")) as page,
    ):
        await page.until("document.readyState === 'complete' && location.search.includes('stream=cam1')")
        assert await page.run("document.getElementById('stream').value") == "cam1"
        await page.run(CLICK)
        await page.until(f"{NOTE}.includes('asks for a token')")
        assert await page.run("document.getElementById('state').textContent") == "Off"
        await page.run("document.getElementById('token').value = 'open sesame'")
        await page.run(CLICK)
        await page.until(LIVE)
        await camera.until_units(30, seconds=30)
        assert await page.run(NOTE) == ""
        await page.run(CLICK)
        await camera.until(lambda: "ended the stream" in camera.events[-1][1])
        assert await page.run("document.getElementById('state').textContent") == "Off"
    check_units(camera, "h264", count=30)
    assert [kind for kind, _ in camera.events[:2]] == ["waiting", "connected"]


async def test_a_browser_repairs_loss_and_its_death_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    dice, dropped = random.Random(3), 0
    handle = RTCDtlsTransport._handle_rtp_data

    async def lossy(self: RTCDtlsTransport, data: bytes, arrival_time_ms: int) -> None:
        nonlocal dropped
        if dice.random() < 0.02:
            dropped += 1
        else:
            await handle(self, data, arrival_time_ms)

    monkeypatch.setattr(RTCDtlsTransport, "_handle_rtp_data", lossy)
    async with listening(read_timeout_seconds=2) as camera:
        page_url = camera.url.replace("cam1", "publish?stream=cam1&codec=VP8&start=1")
        async with browser_page(page_url):
            await camera.until(lambda: dropped >= 3 and len(camera.units) >= 50, seconds=60)
        killed = time.monotonic()
        await camera.until(lambda: camera.kinds()[-1] == "reconnecting", seconds=6)
    assert camera.times[-1] < killed + 1
    damaged = [unit for unit in camera.units if unit.discontinuity]
    assert all(unit.keyframe for unit in damaged)
    assert {unit.codec for unit in camera.units} == {"vp8"}
    assert decode_units(camera.units)[0] == len(camera.units)


async def test_the_page_is_one_file_that_asks_nobody_else() -> None:
    async with listening() as camera:
        page = await ask("GET", camera.url.replace("cam1", "publish?stream=cam1"))
        assert page.status == 200
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        text = page.body.decode().replace("http://www.w3.org/2000/svg", "")
        assert "//" not in "".join(
            line.partition("//")[0] if "  //" in line else line for line in text.splitlines()
        )
        redirected = await ask("GET", camera.url.replace("cam1", "publish?codec=VP8"))
        assert redirected.headers["location"] == "/publish?stream=cam1&codec=VP8"


def require_webrtcbin() -> None:
    check = (
        "import gi; gi.require_version('Gst', '1.0'); gi.require_version('GstWebRTC', '1.0'); "
        "gi.require_version('GstSdp', '1.0'); from gi.repository import Gst; Gst.init(None); "
        "assert all(Gst.ElementFactory.find(name) for name in ('webrtcbin', 'nicesrc', 'x264enc', 'rtph265pay'))"
    )
    done = subprocess.run([SYSTEM_PYTHON, "-c", check], capture_output=True, timeout=30, check=False)
    if done.returncode:
        if os.environ.get("CI"):
            pytest.fail(f"GStreamer's webrtcbin is missing: apt-get install {GST_PACKAGES}")
        pytest.skip(f"GStreamer's webrtcbin is missing: apt-get install {GST_PACKAGES}")


@asynccontextmanager
async def webrtcbin(url: str, codec: str) -> AsyncIterator[asyncio.subprocess.Process]:
    require_webrtcbin()
    process = await asyncio.create_subprocess_exec(
        SYSTEM_PYTHON,
        str(GST_SCRIPT),
        url,
        codec,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        await process.communicate()


@pytest.mark.parametrize("codec", ["h264-high", "vp8", "h265"])
async def test_webrtcbin_publishes(codec: str) -> None:
    async with listening(read_timeout_seconds=2) as camera:
        async with webrtcbin(camera.url, codec) as process:
            assert process.stdout is not None
            assert (await asyncio.wait_for(process.stdout.readline(), 30)).strip() == b"ready"
            await camera.until_units(30, seconds=30)
        await camera.until(lambda: "reconnecting" in camera.kinds(), seconds=6)  # killed: no goodbye
    check_units(camera, codec.partition("-")[0], count=30)


async def test_webrtcbin_is_told_that_there_is_no_common_codec() -> None:
    async with listening() as camera, webrtcbin(camera.url, "vp9") as process:
        assert process.stdout is not None
        assert (await asyncio.wait_for(process.stdout.readline(), 30)).strip() == b"refused 422"


@asynccontextmanager
async def ffmpeg_muxer(
    url: str, identity: ServerIdentity, *, bframes: int = 0
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.net.ffmpeg_whip",
        url,
        str(identity.ca_file),
        str(identity.key_file),
        str(bframes),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_ffmpegs_muxer_publishes(tmp_path: Path) -> None:
    async with listening(read_timeout_seconds=2) as camera:
        async with ffmpeg_muxer(camera.url, make_identity(tmp_path)) as process:
            await until(lambda: process.returncode is not None or len(camera.units) >= 30, seconds=30)
            assert process.returncode is None
        await camera.until(lambda: "reconnecting" in camera.kinds(), seconds=6)
    check_units(camera, "h264", count=30)


async def test_ffmpegs_muxer_refuses_b_frames_itself(tmp_path: Path) -> None:
    async with listening() as camera, ffmpeg_muxer(camera.url, make_identity(tmp_path), bframes=2) as process:
        assert await asyncio.wait_for(process.wait(), 30) != 0
        assert camera.units == []


async def test_ffmpegs_muxer_cannot_use_an_rsa_certificate_and_the_stream_waits_on(tmp_path: Path) -> None:
    made = rsa_certificate()
    pem, secret = tmp_path / "rsa.pem", tmp_path / "rsa.key"
    pem.write_bytes(made._cert.public_bytes(Encoding.PEM))
    secret.write_bytes(made._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    identity = ServerIdentity(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), pem, secret, "")
    async with listening(open_timeout_seconds=5) as camera:
        async with ffmpeg_muxer(camera.url, identity) as process:
            assert await asyncio.wait_for(process.wait(), 30) != 0
        await camera.until(lambda: camera.kinds()[-1] == "reconnecting")
        assert camera.source.publication is None
        assert camera.units == []


class Drawing(VideoStreamTrack):
    """Pictures for aiortc's own encoders."""

    async def recv(self) -> av.VideoFrame:
        pts, time_base = await self.next_timestamp()
        frame = av.VideoFrame.from_ndarray(
            np.full((240, 320, 3), pts // 3000 % 250, np.uint8), format="rgb24"
        )
        frame.pts, frame.time_base = pts, time_base
        return frame


@pytest.mark.parametrize("name", ["H264", "VP8"])
async def test_aiortc_publishes_with_its_own_encoder(name: str) -> None:
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    async with listening() as camera:
        try:
            transceiver = connection.addTransceiver(Drawing(), direction="sendonly")
            codecs = RTCRtpSender.getCapabilities("video").codecs
            transceiver.setCodecPreferences([codec for codec in codecs if codec.name in (name, "rtx")])
            await connection.setLocalDescription(await connection.createOffer())
            headers = {"Content-Type": "application/sdp"}
            reply = await ask("POST", camera.url, connection.localDescription.sdp, headers)
            await connection.setRemoteDescription(RTCSessionDescription(reply.body.decode(), "answer"))
            await camera.until_units(30)
        finally:
            await connection.close()
        await camera.until(lambda: "reconnecting" in camera.kinds())
    check_units(camera, name.lower(), count=30)
