"""`ovstream run whip://...` with a publisher: a token, embeddings, and a clean end."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

from tests.cli.programs import free_endpoint, ovstream, running
from tests.clips import make_clip
from tests.net.fault_server import load_units
from tests.net.whip_publisher import Publisher, ask, until


async def test_a_publisher_becomes_embeddings(tmp_path: Path) -> None:
    options = {"g": "10", "x264-params": "bframes=0:scenecut=0", "tune": "zerolatency"}
    clip = make_clip(tmp_path / "clip.264", width=320, height=192, frames=40, options=options)
    port = free_endpoint().rpartition(":")[2]
    out = tmp_path / "out.jsonl"
    url = f"whip://:CANARY@0.0.0.0:{port}/cam1"
    with running("run", url, "--stream-id", "phone", "--jsonl", str(out)) as runner:
        assert runner.stdout is not None
        first = await asyncio.to_thread(runner.stdout.readline)
        assert first.startswith("phone: waiting: whip://0.0.0.0")
        address = f"http://127.0.0.1:{port}/cam1"
        assert (await ask("POST", address, "v=0", {"Content-Type": "application/sdp"})).status == 401
        async with Publisher(address, await load_units(clip), token="CANARY") as publisher:
            await publisher.connect()
            sending = asyncio.create_task(publisher.play())
            await until(lambda: out.exists() and out.read_text().count("\n") >= 15, seconds=40)
            sending.cancel()
        runner.send_signal(signal.SIGTERM)
        told, _ = await asyncio.to_thread(runner.communicate, timeout=60)
    assert runner.returncode == 0, told
    assert "CANARY" not in first + told
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert [one["seq"] for one in found] == list(range(len(found)))
    assert {one["stream_id"] for one in found} == {"phone"}


def test_an_open_door_to_the_network_is_refused() -> None:
    told = ovstream("run", "whip://0.0.0.0:8080/cam1", status=1)
    assert "OVSTREAM_SOURCE__TOKEN" in told
