"""The readers in other languages, against a real run of the pipeline."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import pytest

import ovstream
from ovstream.config import PublishConfig
from ovstream.publish import KeyPair, Publisher
from ovstream.publish.keys import ALLOWED, PUBLISHER_KEY, save_key, write_allowed
from ovstream.types import Embedding, Kind, StreamEvent
from tests.wire.samples import embedding

READERS = Path(__file__).parents[2] / "examples" / "readers"


@pytest.fixture(autouse=True)
def _nothing_stays_behind() -> None:
    """Not asked here: a whole stream runs, and uses threads of the loop that end with the loop."""


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
    for name in ("reader.mjs", "subscriber.mjs", "package.json"):
        shutil.copy(READERS / name, folder)
    command = ["npm", "install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    return folder / "reader.mjs"


@pytest.fixture(scope="session")
def c_reader(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    needs("cc")
    program = str(tmp_path_factory.mktemp("c") / "reader")
    flags = ["-Wall", "-Wextra", "-Werror", "-O1"]
    build("cc", *flags, str(READERS / "reader.c"), "-lzmq", "-lmsgpackc", "-lm", "-o", program)
    return [program]


@pytest.fixture(scope="session")
def go_reader(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Built with Debian's package of msgpack; nothing is fetched."""
    needs("go")
    folder = tmp_path_factory.mktemp("go")
    offline = {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOCACHE": str(folder / "cache")}
    # The standard library comes compiled; -gcflags for all would compile it anew.
    build("go", "build", "-o", str(folder / "reader"), str(READERS / "reader.go"), env=offline)
    return [str(folder / "reader")]


@pytest.fixture(scope="session")
def python_reader() -> list[str]:
    return [sys.executable, str(READERS / "reader.py")]


def build(*command: str, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=200, env={**os.environ, **(env or {})}
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.timeout(240)
@pytest.mark.parametrize("language", ["python", "c", "go"])
def test_a_reader_gets_every_message_over_curve(
    language: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """And with the wrong key, none."""
    command = request.getfixturevalue(f"{language}_reader")
    server, me, stranger = KeyPair.new(), KeyPair.new(), KeyPair.new()
    save_key(tmp_path / "keys" / PUBLISHER_KEY, server)
    write_allowed(tmp_path / "keys" / ALLOWED, {me.public: "me"})
    for name, pair in (("me", me), ("stranger", stranger)):
        save_key(tmp_path / f"{name}.key", pair, server=server.public)
    config = PublishConfig(keys=str(tmp_path / "keys"), linger_seconds=10)
    sent = [numbered(seq, kind) for seq, kind in enumerate(["scene", "event", "tokens"] * 20)]
    with (
        Publisher("tcp://127.0.0.1:*", config=config) as publisher,
        reading(*command, publisher.endpoint, str(tmp_path / "stranger.key")) as outside,
        reading(*command, publisher.endpoint, str(tmp_path / "me.key")) as process,
    ):
        publisher.announce("door")
        greeted = threading.Event()
        assert process.stdout is not None
        lines: list[str] = []
        listening = threading.Thread(target=collect, args=(process.stdout, lines, greeted))
        listening.start()
        while not greeted.wait(0.02):
            assert process.poll() is None, process.communicate()
            publisher.event(StreamEvent("quality", "door", 0, "is anybody there?"))
        for one in sent:
            publisher.publish(one)
        publisher.end("door")
        listening.join(30)
        assert process.wait(10) == 0
        assert outside.poll() is None
        outside.kill()
        assert outside.communicate()[0] == ""
    got = [line.split() for line in lines if "quality" not in line]
    assert got.pop() == ["door", "ended"]
    assert [(one[0], int(one[1]), int(one[2])) for one in got] == [
        (one.stream_id, one.seq, one.vector.shape[-1]) for one in sent
    ]
    firsts = [float(one.vector.astype(np.float16).flat[0]) for one in sent]
    assert [float(one[3]) for one in got] == pytest.approx(firsts, rel=1e-4)


def numbered(seq: int, kind: Kind) -> Embedding:
    shape = (15, 8) if kind == "tokens" else (8,)
    vector = np.random.default_rng(seq).standard_normal(shape).astype(np.float32)
    return embedding(seq, kind=kind, vector=vector)


def collect(out: IO[str], lines: list[str], greeted: threading.Event) -> None:
    for line in out:
        lines.append(line)
        greeted.set()


@contextmanager
def reading(*command: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.timeout(240)
async def test_a_short_subscriber_in_node(node_reader: Path) -> None:
    script = node_reader.with_name("subscriber.mjs")
    assert len(script.read_text().splitlines()) < 60
    publisher = Publisher("tcp://127.0.0.1:*")
    with reading("node", str(script), publisher.endpoint) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("listening on")
        async with ovstream.open(
            "synthetic:?seconds=3&width=320&height=192", stream_id="cam", pace="realtime", sinks=[publisher]
        ) as stream:
            await stream.run()
        out, errors = process.communicate(timeout=60)
    publisher.close()
    assert process.returncode == 0, errors
    lines = out.splitlines()
    assert len(lines) > 10
    assert all(
        re.fullmatch(r"cam #\d+ scene: 192 numbers, -?\d\.\d{4} from the one before", one) for one in lines
    )


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
