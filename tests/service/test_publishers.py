"""Publishers come in through the door of `ovstream serve`: Chromium with the page, and one that we control."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from ovstream.config import stream_config
from ovstream.errors import ConfigError
from ovstream.service.publishers import Publishers
from ovstream.sources import open_source
from ovstream.sources.base import ignore_event
from tests.clips import make_clip
from tests.net.chromium import browser_page
from tests.net.fault_server import load_units
from tests.net.whip_publisher import Publisher, ask
from tests.service.running import TOKEN, Running, service

DOOR_TOKEN = "CANARY-of-the-door"
LIVE = "document.getElementById('state').textContent === 'Live'"
CLICK = "document.getElementById('go').click()"
NOTE = "document.getElementById('note').textContent"
SDP = {"Content-Type": "application/sdp"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    door = {"url": "whip:door", "stream_id": "door", "source": {"token": DOOR_TOKEN}}
    # a stream that nobody publishes to must not be taken for one that hangs
    streams = [{**door, "supervise": {"stall_seconds": 1}}]
    with service(tmp_path_factory.mktemp("publishers"), streams, http={"token": TOKEN}) as found:
        found.wait(lambda: found.stream("door")["state"] == "waiting")
        yield found


async def test_a_browser_publishes_through_the_page_of_the_service(running: Running) -> None:
    waiting = running.stream("door")
    assert f"{running.address}whip/door" in waiting["detail"]
    async with browser_page(f"{running.address}publish") as page:
        await page.until("document.readyState === 'complete' && location.search.includes('stream=door')")
        assert await page.run("location.pathname") == "/whip/publish"
        await page.run(CLICK)
        await page.until(f"{NOTE}.includes('asks for a token')")
        await page.run(f"document.getElementById('token').value = '{DOOR_TOKEN}'")
        await page.run(CLICK)
        await page.until(LIVE)
        await asyncio.to_thread(running.until_live, "door")
    seen = running.stream("door")
    assert seen["restarts"] == 0
    await asyncio.to_thread(running.wait, lambda: running.stream("door")["state"] == "waiting")
    shown = running.http.get("/api/streams/door").text + running.http.get("/api/events").text
    assert DOOR_TOKEN not in shown
    assert DOOR_TOKEN not in running.http.get("/metrics").text


async def test_streams_that_come_and_go_take_publishers_while_they_are_there(
    running: Running, tmp_path: Path
) -> None:
    clip = make_clip(tmp_path / "clip.264", width=160, height=128, frames=30, options={"tune": "zerolatency"})
    units = await load_units(clip)
    http = running.http
    yard = {"url": "whip:yard", "stream_id": "yard"}
    assert (await asyncio.to_thread(http.post, "/api/streams", json=yard)).status_code == 201
    await asyncio.to_thread(running.wait, lambda: running.stream("yard")["state"] == "waiting")
    second = {"url": "whip:yard", "stream_id": "second"}
    assert (await asyncio.to_thread(http.post, "/api/streams", json=second)).status_code == 201
    failed = await asyncio.to_thread(
        running.wait, lambda: (one := running.stream("second"))["state"] == "failed" and one
    )
    assert "used by two streams" in failed["detail"]
    async with Publisher(f"{running.address}whip/yard", units) as publisher:
        await publisher.connect()
        playing = asyncio.create_task(publisher.play())
        await asyncio.to_thread(running.until_live, "yard")
        playing.cancel()
    for name in ("yard", "second"):
        assert (await asyncio.to_thread(http.delete, f"/api/streams/{name}")).status_code == 204
    gone = await asyncio.to_thread(http.post, "/whip/yard", content="v=0", headers=SDP)
    assert gone.status_code == 404


async def test_who_may_publish(running: Running) -> None:
    url = f"{running.address}whip/door"
    for token in ("", TOKEN):  # the service's own opens no stream
        answer = await ask("POST", url, "v=0", {**SDP, "Authorization": f"Bearer {token}"})
        assert answer.status == 401
    answer = await ask("POST", url, "v=0", {**SDP, "Authorization": f"Bearer {DOOR_TOKEN}"})
    assert answer.status == 400  # no usable offer
    answer = await ask(
        "GET", f"{running.address}api/streams", headers={"Authorization": f"Bearer {DOOR_TOKEN}"}
    )
    assert answer.status == 401
    answer = await ask("POST", f"{running.address}whip/nobody", "v=0", {**SDP, "Host": "evil.example"})
    assert answer.status in (403, 421)


def test_without_such_a_stream_the_door_stays_closed(tmp_path: Path) -> None:
    with service(tmp_path, []) as running:
        assert running.http.get("/whip/publish").status_code == 404
        assert running.http.post("/whip/door", content="v=0", headers=SDP).status_code == 404
        running.stop()


def test_elsewhere_the_url_says_what_to_write() -> None:
    with pytest.raises(ConfigError, match=r"whip://127\.0\.0\.1:8080/door"):
        open_source("whip:door")
    with pytest.raises(ConfigError, match="cannot be the name"):
        Publishers(max_publishers=1).source(stream_config("whip:a/b"), ignore_event)
    assert Publishers(max_publishers=1).source(stream_config("whip://127.0.0.1:1/a"), ignore_event) is None
