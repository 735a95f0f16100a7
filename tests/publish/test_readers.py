"""The readers in other languages, against a real run of the pipeline."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import ovstream
from ovstream.config import PublishConfig
from ovstream.publish import KeyPair, Publisher
from ovstream.publish.keys import ALLOWED, PUBLISHER_KEY, save_key, write_allowed
from tests.wire.samples import embedding

READERS = Path(__file__).parents[2] / "examples" / "readers"


def needs(*programs: str) -> None:
    missing = [one for one in programs if shutil.which(one) is None]
    if missing and not os.environ.get("CI"):
        pytest.skip(f"not installed: {', '.join(missing)}")
    assert not missing


@pytest.fixture(scope="session")
def node_reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reader and its two packages; the binary of zeromq comes inside the package."""
    needs("node", "npm")
    folder = tmp_path_factory.mktemp("node")
    for name in ("reader.mjs", "package.json"):
        shutil.copy(READERS / name, folder)
    command = ["npm", "install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    return folder / "reader.mjs"


@contextmanager
def reading(*command: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.timeout(240)
async def test_node_reads_every_message_of_a_real_run_over_curve(node_reader: Path, tmp_path: Path) -> None:
    server, me = KeyPair.new(), KeyPair.new()
    save_key(tmp_path / "keys" / PUBLISHER_KEY, server)
    write_allowed(tmp_path / "keys" / ALLOWED, {me.public: "node"})
    save_key(tmp_path / "node.key", me, server=server.public)
    config = PublishConfig(keys=str(tmp_path / "keys"), high_water_mark=20, linger_seconds=30)
    sent = ovstream.MemorySink()
    publisher = Publisher("tcp://127.0.0.1:*", config=config)
    with reading("node", str(node_reader), publisher.endpoint, str(tmp_path / "node.key")) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "ready\n"
        kinds = ("scene", "event", "tokens")
        async with ovstream.open(
            "synthetic:?seconds=4", stream_id="cam", kinds=kinds, sinks=[publisher, sent]
        ) as stream:
            await stream.run()
        end = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < end:
            publisher.heartbeat(time.time_ns())
            time.sleep(0.05)  # noqa: ASYNC251
        out, errors = process.communicate()
    publisher.close()
    assert process.returncode == 0, errors
    assert "lost" not in errors
    got = [json.loads(line) for line in out.splitlines()]
    assert [(one["ep"], one["q"], one["kind"]) for one in got] == [
        (one.epoch, one.seq, one.kind) for one in sent.embeddings
    ]
    assert len(got) > 100
    for one, was in zip(got, sent.embeddings, strict=True):
        assert one["dim"] == was.vector.shape[-1]
        halves = was.vector.astype(np.float16).astype(np.float64)
        assert one["sum"] == pytest.approx(halves.sum(), rel=1e-3, abs=1e-2)


def publish(publisher: Publisher, enough: threading.Event, process: subprocess.Popen[str]) -> None:
    """Embeddings until the reader has seen enough of them, then the end until it has gone."""
    publisher.announce("door")
    seq = 0
    while not enough.wait(0.02) and process.poll() is None:
        publisher.publish(embedding(seq, vector=np.array([0.5 - seq % 1000, 2], np.float32)))
        seq += 1
    publisher.end("door")
    while process.poll() is None:
        publisher.heartbeat(time.time_ns())
        time.sleep(0.05)


@pytest.mark.parametrize("language", ["python", "c"])
def test_short_readers(language: str, tmp_path: Path) -> None:
    command = [sys.executable, str(READERS / "reader.py")]
    if language == "c":
        needs("cc")
        build = [
            "cc",
            "-Wall",
            "-Wextra",
            "-Werror",
            str(READERS / "reader.c"),
            "-o",
            str(tmp_path / "reader"),
        ]
        done = subprocess.run(
            [*build, "-lzmq", "-lmsgpackc", "-lm"], capture_output=True, text=True, check=False
        )
        if done.returncode and not os.environ.get("CI"):
            pytest.skip("needs apt: libzmq3-dev libmsgpack-dev")
        assert done.returncode == 0, done.stderr
        command = [str(tmp_path / "reader")]
    enough = threading.Event()
    with Publisher("tcp://127.0.0.1:*") as publisher, reading(*command, publisher.endpoint) as process:
        sending = threading.Thread(target=publish, args=(publisher, enough, process))
        sending.start()
        assert process.stdout is not None
        lines = [process.stdout.readline().strip() for _ in range(10)]
        enough.set()
        lines += [line.strip() for line in process.stdout]
        sending.join()
        assert process.wait() == 0
    told = [line for line in lines if "lost" not in line and "ended" not in line]
    numbers = [int(line.split()[1].removeprefix("#")) for line in told]
    assert numbers == list(range(numbers[0], numbers[0] + len(told)))
    expected = "door {} 2 {:g}" if language == "c" else "door #{} scene (2,) 0 changed"
    assert told == [expected.format(seq, 0.5 - seq) for seq in numbers]
