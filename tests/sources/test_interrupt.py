"""FFmpeg's calls end when they shall: within a second, with no thread and no descriptor left."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Iterator

import av
import pytest

from ovstream.config import SourceConfig
from ovstream.sources.ffmpeg import FFmpegSource
from ovstream.sources.interrupt import ended_when
from tests.sources.support import collect, reader_threads

PATIENT = SourceConfig(open_timeout_seconds=60, read_timeout_seconds=60)


@pytest.fixture
def mute() -> Iterator[socket.socket]:
    """Takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        yield server


@pytest.mark.parametrize("scheme", ["rtsp", "rtsps", "http", "https", "rtmp", "tcp"])
async def test_a_handshake_without_an_answer_ends_with_its_source(mute: socket.socket, scheme: str) -> None:
    before = descriptors()
    source = FFmpegSource(f"{scheme}://127.0.0.1:{mute.getsockname()[1]}/live/x", config=PATIENT)
    reading = asyncio.create_task(collect(source))
    peer, _ = await asyncio.to_thread(mute.accept)
    with peer:
        if scheme != "tcp":
            assert await asyncio.to_thread(peer.recv, 1)  # it has begun to speak
        started = time.monotonic()
        await source.aclose()
        assert time.monotonic() - started < 1.0
        assert reader_threads() == []
    await asyncio.wait({reading})
    assert descriptors() == before


@pytest.mark.parametrize("url", ["udp://127.0.0.1:{port}", "tcp://127.0.0.1:{port}?listen=1"])
async def test_waiting_for_a_sender_ends_with_the_source(url: str) -> None:
    before = descriptors()
    source = FFmpegSource(url.format(port=free_port()), config=PATIENT)
    reading = asyncio.create_task(collect(source))
    deadline = time.monotonic() + 10
    while descriptors() == before:  # until it listens
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    started = time.monotonic()
    await source.aclose()
    assert time.monotonic() - started < 1.0
    assert reader_threads() == []
    await asyncio.wait({reading})
    assert descriptors() == before


def test_only_the_thread_that_asked_for_it_is_ended(mute: socket.socket) -> None:
    url = f"tcp://127.0.0.1:{mute.getsockname()[1]}"
    ended: list[str] = []
    stop = threading.Event()

    def wait(name: str, end: threading.Event) -> None:
        with ended_when(end.is_set), pytest.raises(av.error.ExitError):
            av.open(url, timeout=(60, 60))
        ended.append(name)

    other_stop = threading.Event()
    threads = [
        threading.Thread(target=wait, args=("one", stop)),
        threading.Thread(target=wait, args=("other", other_stop)),
    ]
    for thread in threads:
        thread.start()
    stop.set()
    threads[0].join(10)
    assert ended == ["one"]
    other_stop.set()
    threads[1].join(10)
    assert ended == ["one", "other"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
