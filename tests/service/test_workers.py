"""Streams that share several processes: everything is as in one, and a process that dies costs nobody a number."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import json
import mmap
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from ovstream.config import ServiceConfig, StreamConfig
from ovstream.errors import ConfigError, FencedError
from ovstream.pipeline.at_work import AtWork
from ovstream.service.encoders import EncoderPool
from ovstream.service.events import EventLog
from ovstream.service.home import OwnHome
from ovstream.service.link import Link, LinkClosed
from ovstream.service.metrics import render
from ovstream.service.packing import packed_second, packed_unit, unpacked_second, unpacked_unit
from ovstream.service.quarantine import Record, Suspects, crashed
from ovstream.service.remote import RemoteCamera
from ovstream.service.supervisor import Supervisor
from ovstream.service.timeline import Second
from ovstream.service.views import camera_view
from ovstream.sinks import Sink
from ovstream.sources import MemorySource
from ovstream.types import AccessUnit, Checkpoint, Embedding
from ovstream.wire import encode, encode_checkpoint
from tests.pipeline.conftest import clip, units  # noqa: F401 - fixtures
from tests.service.running import Running, camera_clip, service, stream
from tests.service.test_parts import until
from tests.wire.samples import embedding as sample

pytestmark = pytest.mark.timeout(300)  # many processes start, on a busy machine

NEVER = {"max_latency_seconds": 1000, "max_cpu": 1.0}
SECRET = "CANARY-of-a-camera"


def numbers(path: Path) -> list[tuple[int, int]]:
    """(epoch, number) of every result in a file of lines."""
    return [(one["epoch"], one["seq"]) for one in map(json.loads, path.read_text().splitlines())]


def children(pid: int) -> list[int]:
    """Processes that a process has started and that live."""
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def lives(pid: int) -> bool:
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def to_file(folder: Path, name: str, url: object, **options: Any) -> dict[str, Any]:
    return stream(name, url, sinks=[{"type": "jsonl", "path": str(folder / f"{name}.jsonl")}], **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workers")


@pytest.fixture(scope="module")
def camera(folder: Path) -> Path:
    return camera_clip(folder)


@pytest.fixture(scope="module")
def running(folder: Path, camera: Path) -> Iterator[Running]:
    (folder / "state").mkdir()
    secret = stream("secret", f"rtsp://viewer:{SECRET}@127.0.0.1:9/x")
    streams = [*(to_file(folder, name, camera) for name in ("one", "two", "three")), secret]
    with service(folder, streams, workers=2, state_folder=str(folder / "state"), load=NEVER) as found:
        found.until_live("one", "two", "three")
        yield found


def test_streams_are_shared_out_and_secrets_stay_out_of_sight(running: Running) -> None:
    workers = [running.stream(name)["worker"] for name in ("one", "two", "three", "secret")]
    assert sorted(workers) == [1, 1, 2, 2]
    pids = children(running.process.pid)
    assert len(pids) == running.get("/api/service")["workers"] == 2
    for pid in pids:
        seen = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
        assert SECRET.encode() not in seen
    running.wait(lambda: running.stream("secret")["detail"])
    assert SECRET not in running.http.get("/api/streams").text + running.http.get("/api/events").text


def test_the_page_finds_everything_that_it_finds_in_one_process(running: Running, camera: Path) -> None:
    image = running.http.get("/api/streams/one/snapshot.jpg?width=160")
    assert image.content.startswith(b"\xff\xd8")
    overlay = running.get("/api/streams/one/overlay")
    assert len(overlay["ages"]) == overlay["grid"][0] * overlay["grid"][1]
    running.wait(lambda: len(running.get("/api/streams/one/timeline")) > 2)
    assert running.stream("one")["size"] == [320, 192]
    assert running.stream("one")["sinks"]
    added = running.http.post("/api/streams", json=stream("added", camera))
    assert added.status_code == 201, added.text
    running.until_live("added")
    assert running.stream("added")["worker"] in (1, 2)
    assert running.http.post("/api/streams/added/pause").json()["state"] == "paused"
    paused = running.stream("added")
    changed = running.http.patch("/api/streams/added", json={"supervise": {"paused": False, "priority": 2}})
    assert changed.status_code == 200
    running.until_live("added")
    assert running.stream("added")["epoch"] > paused["epoch"]
    assert running.stream("added")["next_seq"] >= paused["next_seq"] > 0
    running.http.patch("/api/streams/added", json={"encode": {"model": "no-such-model"}})
    running.wait(lambda: running.stream("added")["state"] == "failed")
    assert "no-such-model" in running.stream("added")["detail"]
    assert running.http.delete("/api/streams/added").status_code == 204
    metrics = running.http.get("/metrics").text
    assert "ovstream_workers 2.0" in metrics
    assert 'ovstream_frames_parsed_total{stream="two"}' in metrics
    assert 'stream="added"' not in metrics


def test_a_stream_that_is_changed_to_take_publishers_moves_to_where_they_come(running: Running) -> None:
    answer = running.http.post("/api/streams", json={"url": "rtsp://127.0.0.1:9/", "stream_id": "door"})
    assert answer.status_code == 201, answer.text
    assert running.stream("door")["worker"]
    assert running.http.patch("/api/streams/door", json={"url": "whip:door"}).status_code == 200
    running.wait(lambda: "whip/door" in running.stream("door")["detail"])
    assert running.stream("door")["worker"] == 0
    running.http.delete("/api/streams/door")


def test_a_worker_that_is_killed_comes_back_and_no_number_is_lost_or_used_twice(
    running: Running, folder: Path
) -> None:
    before = {name: running.stream(name) for name in ("one", "two", "three")}
    hit = [name for name, one in before.items() if one["worker"] == before["one"]["worker"]]
    spared = [name for name in before if name not in hit]
    victim = next(pid for pid in children(running.process.pid) if _is_worker(pid, before["one"]["worker"]))
    os.kill(victim, signal.SIGKILL)
    running.wait(lambda: all(running.stream(name)["restarts"] == 1 for name in hit))
    running.wait(lambda: all(running.stream(name)["epoch"] > before[name]["epoch"] for name in hit))
    running.until_live(*before)
    for name in spared:
        now = running.stream(name)
        assert (now["epoch"], now["restarts"]) == (before[name]["epoch"], 0)
    told = [one["detail"] for one in running.get("/api/events") if one["kind"] == "error"]
    assert any("was ended by SIGKILL" in one for one in told), told
    assert "ovstream_worker_restarts_total 1.0" in running.http.get("/metrics").text
    totals = running.stream("one")["totals"]["embeddings"]
    running.wait(lambda: running.stream("one")["totals"]["embeddings"] > totals + 5)
    assert totals >= before["one"]["totals"]["embeddings"], "counters only grow"
    # the end: every stream, under SIGTERM, within the time to drain, and nobody stays behind
    pids = children(running.process.pid)
    running.stop()
    assert not any(lives(pid) for pid in pids)
    for name in before:
        found = numbers(folder / f"{name}.jsonl")
        assert [number for _, number in found] == list(range(len(found))), name
        assert len({epoch for epoch, _ in found}) == (2 if name in hit else 1)


def _is_worker(pid: int, number: int) -> bool:
    return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").endswith(b"ovstream-worker-%d" % number)


def test_without_the_service_its_workers_end(tmp_path: Path, camera: Path) -> None:
    """Killed without a word; one of the workers stands still and cannot notice."""
    with service(tmp_path, [stream("one", camera), stream("two", camera)], workers=2) as found:
        pids = found.wait(lambda: len(pids := children(found.process.pid)) == 2 and pids)
        found.until_live("one", "two")
        os.kill(pids[0], signal.SIGSTOP)
        found.process.kill()
        found.process.wait()
        deadline = time.monotonic() + 60
        while any(lives(pid) for pid in pids):
            assert time.monotonic() < deadline, "a worker lives on"
            time.sleep(0.05)


def one(name: str, url: object, folder: Path, **options: Any) -> StreamConfig:
    sink = {"type": "jsonl", "path": str(folder / f"{name}.jsonl"), "vectors": "list"}
    return StreamConfig.model_validate({"url": str(url), "stream_id": name, "sinks": [sink], **options})


async def test_results_are_those_of_one_process(tmp_path: Path, camera: Path) -> None:
    found = {}
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        folder.mkdir()
        options = ServiceConfig.model_validate({"load": NEVER})
        streams = [one(name, camera, folder, kinds=["scene", "event"]) for name in ("a", "b")]
        async with Supervisor(options, streams, workers=workers) as supervisor:
            await until(lambda s=supervisor: all(c.state == "ended" for c in s.cameras.values()))
            assert len(supervisor.workers.pids) == (0 if workers == 1 else 2)
        found[workers] = {name: _lines(folder / f"{name}.jsonl") for name in ("a", "b")}
    assert len(found[1]["a"]) > 40
    assert found[1] == found[2]


def _lines(path: Path) -> list[dict[str, Any]]:
    """Results without what differs from run to run."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [
        {key: value for key, value in line.items() if key not in ("epoch", "publish_time_ns")}
        for line in lines
    ]


async def test_a_worker_that_hangs_is_ended_and_its_streams_go_on(tmp_path: Path, camera: Path) -> None:
    live = {"source": {"pace": "realtime", "loop": True}}
    streams = [one(name, camera, tmp_path, **live) for name in ("a", "b")]
    options = ServiceConfig.model_validate({"load": NEVER})
    async with Supervisor(options, streams, workers=2, silent_seconds=6.0) as supervisor:
        await until(lambda: all(camera.state == "live" for camera in supervisor.cameras.values()))
        hung = supervisor.workers.of("a")
        assert hung is not None
        assert hung.pid is not None
        os.kill(hung.pid, signal.SIGSTOP)
        await until(lambda: hung.restarts == 1)
        assert "without a sign of life" in supervisor.log.after(0, stream_id="")[-1].detail
        assert supervisor.cameras["a"].facts().detail.startswith("its worker hangs")
        had = len(numbers(tmp_path / "a.jsonl"))
        await until(lambda: len(numbers(tmp_path / "a.jsonl")) > had + 3)
        assert supervisor.cameras["b"].facts().restarts == 0
    found = numbers(tmp_path / "a.jsonl")
    assert [number for _, number in found] == list(range(len(found)))


class Host:
    """A worker that only remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, Any]] = []

    def tell(self, kind: str, stream_id: str, body: Any = None) -> None:
        self.told.append((kind, stream_id, body))

    async def ask(self, kind: str, stream_id: str, body: Any = None) -> Any:
        raise LinkClosed("nobody there")


class Listed(Sink):
    """Keeps numbers, until somebody else takes the stream over."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.fenced = False

    def publish(self, embedding: Embedding) -> None:
        if self.fenced:
            raise FencedError(embedding.stream_id)
        self.seen.append(embedding.seq)


def result(number: int) -> list[bytes]:
    """As a worker sends it."""
    return encode(sample(number, stream_id="cam", epoch=7), dtype="float32")


async def test_who_was_replaced_publishes_nothing_more_and_the_worker_is_told() -> None:
    sink, host = Listed(), Host()

    class Outputs:
        def of(self, config: StreamConfig) -> list[Sink]:
            return [sink]

    home = OwnHome(EncoderPool(), Outputs(), EventLog())  # type: ignore[arg-type]
    camera = RemoteCamera(StreamConfig(url="x", stream_id="cam"), home, host)
    camera.start()
    stand = Checkpoint("cam", 7, 0, None, Fraction(1), "d")
    assert (await camera.begin())["results"] is True
    camera.heard("announce", (7, 0, encode_checkpoint(stand)))
    for number in range(3):
        camera.heard("publish", result(number))
    assert camera.checkpoint() == Checkpoint("cam", 7, 3, None, Fraction(1), "d")
    sink.fenced = True
    camera.heard("publish", result(3))
    sink.fenced = False
    camera.heard("publish", result(4))
    assert sink.seen == [0, 1, 2]
    assert ("fence", "cam", None) in host.told


@contextlib.asynccontextmanager
async def linked(asked: Any) -> AsyncIterator[tuple[Link, Link, list[Any]]]:
    """Two ends, and what the second heard."""
    heard: list[Any] = []
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()

    async def nobody(kind: str, stream_id: str, body: Any) -> Any:
        raise AssertionError

    one, other = Link(lambda *_: None, nobody), Link(lambda *said: heard.append(said), asked)
    await loop.create_unix_connection(lambda: one, sock=ours)
    await loop.create_unix_connection(lambda: other, sock=theirs)
    try:
        yield one, other, heard
    finally:
        one.close()
        other.close()


async def test_a_link_keeps_the_order_and_brings_errors_back() -> None:
    async def asked(kind: str, stream_id: str, body: Any) -> Any:
        if kind == "wrong":
            raise ConfigError("no such sink")
        if kind == "fenced":
            raise FencedError(stream_id)
        if kind == "never":
            await asyncio.Event().wait()
        return [kind, stream_id, body]

    async with linked(asked) as (link, other, heard):
        for number in range(500):
            link.tell("word", "cam", {"number": number, "bytes": b"\0" * 1000})
        assert await link.ask("echo", "cam", 5) == ["echo", "cam", 5]
        assert [body["number"] for _, _, body in heard] == list(range(500)), "said before, heard before"
        with pytest.raises(ConfigError, match="no such sink"):
            await link.ask("wrong")
        with pytest.raises(FencedError, match="cam"):
            await link.ask("fenced", "cam")
        waiting = asyncio.create_task(link.ask("never"))
        await asyncio.sleep(0)
        other.close()
        with pytest.raises(LinkClosed):
            await waiting
        with pytest.raises(LinkClosed):
            await link.ask("echo")


async def test_an_end_that_nobody_reads_is_given_up() -> None:
    async def asked(kind: str, stream_id: str, body: Any) -> Any:
        raise AssertionError

    async with linked(asked) as (link, _, _):
        for _ in range(70):
            link.tell("word", "cam", bytes(1 << 20))
        async with asyncio.timeout(60):
            await link.closed


async def test_what_goes_over_a_link_comes_back(units: object) -> None:  # noqa: F811
    unit: AccessUnit = units(frames=1)[0]  # type: ignore[operator]
    assert unpacked_unit(packed_unit(unit)) == unit
    second = Second(5.0, 0.5, 2.0, (1, 2, 3), (0.1,) * 7, [0] * 13, None, 4)
    assert unpacked_second(list(packed_second(second))) == second


async def test_streams_that_cannot_move_stay(units: object) -> None:  # noqa: F811
    """Sources that are objects of this process, and a stream that is alone."""
    some = units(frames=3)  # type: ignore[operator]
    streams = [StreamConfig(url="memory", stream_id=name) for name in "ab"]
    opened = Supervisor(streams=streams, open_source=lambda _: MemorySource(some, live=True), workers=4)
    async with opened as supervisor:
        await until(lambda: all(camera.state == "ended" for camera in supervisor.cameras.values()))
        assert supervisor.workers.pids == []
    paused = StreamConfig.model_validate(
        {"url": "synthetic:", "stream_id": "a", "supervise": {"paused": True}}
    )
    async with Supervisor(streams=[paused], workers=4) as supervisor:
        assert supervisor.workers.of("a") is None


CRASHING = """
import sys
if any(one.startswith("ovstream-worker") for one in sys.orig_argv):
    import ctypes
    from ovstream.pipeline import StreamWorker
    real = StreamWorker.process

    def process(self, unit):
        if self._config.stream_id == "bad" and self._config.plan.keep_ratio != 0.1:
            ctypes.string_at(0)
        return real(self, unit)

    StreamWorker.process = process
"""


async def test_a_stream_that_crashes_its_process_is_put_where_it_harms_nobody(
    tmp_path: Path, camera: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real fault of memory in real processes, with neighbours."""
    (tmp_path / "sitecustomize.py").write_text(CRASHING)
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    monkeypatch.setenv("PYTHONPATH", path)
    live = {"source": {"pace": "realtime", "loop": True}}
    streams = [one(name, camera, tmp_path, **live) for name in ("far", "bad", "near")]
    options = ServiceConfig.model_validate({"load": NEVER})
    async with Supervisor(options, streams, workers=2, silent_seconds=60.0) as supervisor:
        workers, cameras = supervisor.workers, supervisor.cameras
        shared = workers.number("bad")
        assert shared == workers.number("near") != workers.number("far")
        await until(lambda: workers.quarantined == {"bad"})
        alone = workers.of("bad")
        assert alone is not None
        assert alone.cameras.keys() == {"bad"}
        (told,) = [event for event in supervisor.log.after(0) if event.kind == "quarantine"]
        assert (told.stream_id, f"worker {alone.number}" in told.detail) == ("bad", True)
        await until(lambda: workers.crashes("bad") >= 3 and cameras["near"].state == "live")
        assert cameras["near"].facts().restarts == 2, "it did not notice the third"
        assert "SIGSEGV" in cameras["bad"].facts().detail
        assert workers.crashes("near") == cameras["far"].facts().restarts == 0
        view = camera_view(supervisor, cameras["bad"])
        assert (view["quarantined"], view["worker"]) == (True, alone.number)
        metrics = render(supervisor).decode()
        assert "ovstream_streams_quarantined 1.0" in metrics
        assert f'ovstream_crashes_total{{stream="bad"}} {view["crashes"]}.0' in metrics
        await supervisor.change("bad", {"plan": {"keep_ratio": 0.1}})
        assert workers.quarantined == set()
        assert workers.number("bad") in (shared, workers.number("far")), "it is among the others again"
        await until(lambda: cameras["bad"].state == "live" and len(workers.pids) == 2)
        assert cameras["near"].facts().restarts == 2
    for name in ("bad", "near", "far"):
        found = numbers(tmp_path / f"{name}.jsonl")
        assert [number for _, number in found] == list(range(len(found)))


def test_who_was_there_twice_within_the_window_is_named() -> None:
    suspects = Suspects()
    assert suspects.crashed({"a", "b"}, now=0.0) is None
    assert suspects.crashed({"c"}, now=10.0) is None
    assert suspects.crashed({"a"}, now=700.0) is None, "long ago"
    assert suspects.crashed({"a", "c"}, now=1000.0) == "a"
    suspects.acquit("a")
    assert suspects.crashed({"a"}, now=1001.0) is None
    assert (suspects.totals["a"], suspects.totals["c"]) == (4, 2)
    suspects.forget("a")
    assert "a" not in suspects.totals
    endings = (None, 0, -signal.SIGKILL, -signal.SIGTERM, 1, -signal.SIGSEGV)
    assert [crashed(code) for code in endings] == [*[False] * 4, True, True]


def test_of_those_who_are_always_there_together_one_at_a_time_goes() -> None:
    suspects = Suspects()
    assert suspects.crashed({"a", "b", "c"}, now=0.0) is None
    assert suspects.crashed({"a", "b", "c"}, now=1.0) == "a"
    assert suspects.crashed({"b", "c"}, now=2.0) == "b"


def test_the_record_names_the_thread_that_crashed_and_outlives_it() -> None:
    with contextlib.closing(Record()) as record:
        work, seen = AtWork(), []
        work.run("nobody", lambda: seen.append(record.suspects()))
        work.keep(memoryview(mmap.mmap(record.fds[0], 0)))

        def crash() -> None:
            seen.append(record.suspects())
            faulthandler.dump_traceback(record.fds[1])
            seen.append(record.suspects())

        def nested() -> None:
            with ThreadPoolExecutor() as pool:
                pool.submit(work.run, "x" * 64, crash).result()

        work.run("waits", nested)
        with pytest.raises(ZeroDivisionError):
            work.run("fails", lambda: 1 / 0)
        assert seen == [set(), {"waits", "x" * 64}, {"x" * 64}]
        assert record.suspects() == set()
