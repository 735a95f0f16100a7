"""Profiles of ONVIF cameras: right and wrong credentials, clocks, addresses, and servers that are no cameras."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from datetime import timedelta
from pathlib import Path

import pytest

from ovstream.errors import SourceAuthError, SourceError, SourceProtocolError, SourceRefused, SourceTimeout
from ovstream.sources.onvif import Profile, profiles, service_url
from tests.cli.programs import ovstream
from tests.net.onvif_camera import OnvifCamera, onvif_camera

USER, PASSWORD = "admin", "CANARY p&ss"
SUB = Profile(
    name="sub",
    codec="H264",
    width=640,
    height=360,
    fps=25,
    kbps=4096,
    gop=50,
    url="rtsp://127.0.0.1:554/stream2?channel=1&token=***",
)


@pytest.mark.parametrize("hours", [0, -400_000, 3])
async def test_a_camera_tells_its_profiles_whatever_its_clock_says(hours: int) -> None:
    root, level, environment = list(logging.getLogger().handlers), logging.getLogger().level, dict(os.environ)
    async with onvif_camera(OnvifCamera(clock_offset=timedelta(hours=hours))) as camera:
        main, sub = await profiles(camera.service, username=USER, password=PASSWORD)
    assert sub == SUB
    assert (main.width, main.height, main.url) == (
        2560,
        1440,
        "rtsp://127.0.0.1:554/stream1?channel=1&token=***",
    )
    assert main.name == "main?[31m"
    assert camera.names() == [
        "GetSystemDateAndTime",
        "GetCapabilities",
        "GetProfiles",
        "GetStreamUri",
        "GetStreamUri",
    ]
    assert PASSWORD not in "".join(body for _, body in camera.asked)
    assert (list(logging.getLogger().handlers), logging.getLogger().level) == (root, level)
    assert dict(os.environ) == environment


async def test_a_camera_that_asks_for_nothing() -> None:
    async with onvif_camera(OnvifCamera(credentials=None)) as camera:
        assert (await profiles(camera.service))[1] == SUB
    assert "UsernameToken" not in "".join(body for _, body in camera.asked)


async def test_another_address_for_its_media_is_not_followed() -> None:
    """Behind NAT a camera names an address of its own network; anybody else's gets no digest."""
    camera = OnvifCamera(media_address="http://203.0.113.9/onvif/media", path="/other/service")
    async with onvif_camera(camera):
        assert len(await profiles(camera.service, username=USER, password=PASSWORD)) == 2


@pytest.mark.parametrize(("user", "password"), [(None, None), (USER, "CANARY wrong"), ("CANARY", PASSWORD)])
async def test_wrong_credentials(user: str | None, password: str | None) -> None:
    async with onvif_camera(OnvifCamera()) as camera:
        with pytest.raises(SourceAuthError) as caught:
            await profiles(camera.service, username=user, password=password)
    assert "CANARY" not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"


async def test_who_is_no_camera() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n<html></html>")
        writer.close()

    for talk, error in ((silent, SourceTimeout), (rude, SourceError)):
        async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
            address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            with pytest.raises(error):
                await profiles(service_url(address), timeout_seconds=1.0)
    with pytest.raises(SourceRefused):
        await profiles(service_url(address))
    for none in ("rtsp://127.0.0.1/", "http://127.0.0.1:99999/", "http://[::1/"):
        with pytest.raises(SourceProtocolError):
            await profiles(none)


async def test_the_command_shows_profiles_and_no_secret(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text(PASSWORD + "\n")
    async with onvif_camera(OnvifCamera()) as camera:
        arguments = ("discover", "--username", USER, "--password-file", str(secret))
        where = ("--camera", camera.service)
        where += ("--camera", "127.0.0.1:1")
        shown = await asyncio.to_thread(ovstream, *arguments, *where)
        told = await asyncio.to_thread(ovstream, *arguments, *where, "--json")
    assert "  sub: H264, 640x360, 25 pictures/s, 4096 kbit/s, keyframe every 50" in shown
    assert "    rtsp://127.0.0.1:554/stream2?channel=1&token=***" in shown
    assert "  http://127.0.0.1:1: nothing listens at this address and port" in shown
    good, bad = json.loads(told)
    assert [one["name"] for one in good["profiles"]] == ["main?[31m", "sub"]
    assert bad["error"]["kind"] == "SourceRefused"
    assert "CANARY" not in shown + told
