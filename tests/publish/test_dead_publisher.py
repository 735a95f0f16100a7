"""A publisher process that is killed: its silence is noticed, its successor is understood."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

from ovstream.publish import Subscription, subscribe
from tests.publish.conftest import until

PUBLISHER = """
import sys, time
from ovstream.publish import Publisher
from tests.wire.samples import embedding
endpoint, epoch = sys.argv[1], int(sys.argv[2])
with Publisher(endpoint) as publisher:
    publisher.announce("door", epoch=epoch)
    seq = 0
    while True:
        publisher.heartbeat(time.time_ns())
        publisher.publish(embedding(seq, epoch=epoch))
        seq += 1
        time.sleep(0.01)
"""
ROOT = Path(__file__).parents[2]


def start(endpoint: str, epoch: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PUBLISHER, endpoint, str(epoch)], cwd=ROOT)


def kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


async def test_a_killed_publisher_is_noticed_by_its_silence(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/e.sock"
    process = start(endpoint, 0)
    try:
        async with asyncio.timeout(110), subscribe(endpoint) as events:
            await anext(events.embeddings())
            await until(lambda: events.streams()["door"].heard_ago_seconds < 0.5)
            kill(process)
            await until(lambda: events.streams()["door"].heard_ago_seconds > 0.6)
            assert not events.streams()["door"].ended
            process = start(endpoint, 1)
            await _until_epoch(events, 1)
            await until(lambda: events.streams()["door"].heard_ago_seconds < 0.5)
            assert (events.stats.duplicates, events.stats.fenced, events.stats.invalid) == (0, 0, 0)
    finally:
        kill(process)


async def _until_epoch(events: Subscription, epoch: int) -> None:
    async for one in events.embeddings():
        if one.epoch == epoch:
            return
