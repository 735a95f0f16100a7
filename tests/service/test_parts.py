"""Parts of the service alone, with time passed in."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from fractions import Fraction
from pathlib import Path

import pytest

from ovstream.config import HttpConfig, ServiceConfig, StreamConfig, SuperviseConfig
from ovstream.errors import ConfigError, InsecureBindError, ModelError, SourceError
from ovstream.service.balance import demand_of
from ovstream.service.checkpoints import StateFolder
from ovstream.service.events import EventLog
from ovstream.service.notify import Notifier
from ovstream.service.preserve import as_plain
from ovstream.service.security import check_door
from ovstream.service.server import serve
from ovstream.service.supervisor import Supervisor
from ovstream.service.watchdog import Watchdog
from ovstream.sources import MemorySource, Pause
from ovstream.types import AccessUnit, Checkpoint
from tests.pipeline.conftest import clip, units  # noqa: F401 - fixtures


def test_checkpoints_survive_damage_and_are_private(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path / "s")
    checkpoint = Checkpoint("one", 7, 42, 90, Fraction(1, 25), "d" * 16)
    folder.save(checkpoint)
    assert folder.load("one") == checkpoint
    path = tmp_path / "s" / "one.checkpoint"
    assert path.stat().st_mode & 0o077 == 0
    path.write_bytes(path.read_bytes()[:-5])
    assert folder.load("one") is None
    assert folder.load("none") is None
    (tmp_path / "s" / "streams.json").write_text("{")
    with pytest.raises(ConfigError, match=r"streams\.json"):
        folder.load_added()


def test_an_older_checkpoint_never_replaces_a_newer_one(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    stands = [
        Checkpoint("one", epoch, seq, None, Fraction(1), "d")
        for epoch, seq in ((7, 5), (8, 6), (7, 9), (8, 4))
    ]
    folder.save_all(stands)
    assert folder.load("one") == stands[1]
    folder.forget("one")
    folder.save(stands[0])
    assert folder.load("one") == stands[0]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="state_folder"):
        StateFolder(tmp_path / "file")


def test_a_configuration_comes_back_with_its_secrets() -> None:
    config = StreamConfig.model_validate(
        {"url": "rtsp://x", "source": {"password": "hush"}, "sinks": [{"type": "jsonl", "path": "/tmp/x"}]}
    )
    assert StreamConfig.model_validate(as_plain(config)) == config
    assert "hush" in str(as_plain(config))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.9.1"])
def test_this_machine_needs_no_token(host: str) -> None:
    check_door(HttpConfig(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "example.org", "10.0.0.1", "127.0.0.1.example.org", ""])
def test_every_other_host_does(host: str) -> None:
    with pytest.raises(InsecureBindError, match="token"):
        check_door(HttpConfig(host=host))
    check_door(HttpConfig(host=host, token="0123456789abcdef"))


def test_the_service_manager_is_told(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        Notifier(address).send(READY=1, STATUS="2 of 3 streams are live")
        assert manager.recv(1000) == b"READY=1\nSTATUS=2 of 3 streams are live"
    Notifier(address).send(READY=1)  # nobody there: no error
    Notifier("").send(READY=1)


def test_the_log_is_bounded_and_numbered() -> None:
    log = EventLog(clock=lambda: 5.0)
    for number in range(1500):
        log.add("a" if number % 2 else "b", "load", str(number))
    assert len(log.after(0, limit=5000)) == 1000
    assert [one.detail for one in log.after(1498)] == ["1498", "1499"]
    assert {one.stream_id for one in log.after(0, stream_id="a")} == {"a"}


async def until(what: object, seconds: float = 100) -> None:
    async with asyncio.timeout(seconds):
        while not what():  # type: ignore[operator]  # noqa: ASYNC110 - many different conditions
            await asyncio.sleep(0.02)


def config(name: str, **options: object) -> StreamConfig:
    return StreamConfig.model_validate({"url": "memory", "stream_id": name, **options})


async def test_a_stream_that_fails_is_started_again_and_the_other_goes_on(units: object) -> None:  # noqa: F811
    some: list[AccessUnit] = units(frames=20)  # type: ignore[operator]
    lives = []

    def open_source(wanted: StreamConfig) -> MemorySource:
        if wanted.stream_id == "bad":
            lives.append(1)
            return MemorySource([*some[:5], SourceError("it broke")], live=True)
        return MemorySource(some, live=True)

    async with Supervisor(streams=[config("bad"), config("good")], open_source=open_source) as supervisor:
        bad, good = supervisor.cameras["bad"], supervisor.cameras["good"]
        await until(lambda: len(lives) >= 2 and bad.restarts)
        assert bad.totals()["units"] >= 5
        await until(lambda: good.state == "ended")
        assert good.restarts == 0
        assert good.totals()["units"] == 20
    assert (
        next(one.detail for one in supervisor.log.after(0, stream_id="bad") if one.kind == "error")
        == "it broke"
    )


def test_the_watchdog_barks_at_what_hangs_and_at_what_grew_too_large() -> None:
    now = [100.0]
    watchdog, limits = Watchdog(lambda: now[0]), SuperviseConfig(stall_seconds=10, max_memory_mb=16)

    def look(frames: int, *, mebibytes: int = 1, excused: bool = False) -> tuple[bool, str]:
        return watchdog.look(limits, frames=frames, memory_bytes=mebibytes << 20, excused=excused)

    watchdog.begin()
    assert look(5) == (True, "")
    now[0] += 2
    assert (look(5), watchdog.silent) == ((False, ""), False)
    now[0] += 20
    assert (look(5, excused=True), watchdog.silent) == ((False, ""), True)
    assert not watchdog.barks.is_set(), "it is known why nothing comes"
    look(5)
    assert watchdog.barks.is_set()
    watchdog.begin()
    assert not watchdog.barks.is_set()
    came, failure = look(1, mebibytes=17)
    assert (came, watchdog.barks.is_set()) == (True, True)
    assert "holds 17 MB" in failure


async def test_a_stream_without_progress_is_started_again(units: object) -> None:  # noqa: F811
    some: list[AccessUnit] = units(frames=10)  # type: ignore[operator]
    now = [0.0]

    class Stuck(MemorySource):
        async def units(self):  # type: ignore[no-untyped-def]
            async for unit in super().units():
                yield unit
            await asyncio.Event().wait()

    watched = config("stuck", supervise={"stall_seconds": 30})
    async with Supervisor(
        streams=[watched], open_source=lambda _: Stuck(some, live=True), clock=lambda: now[0]
    ) as supervisor:
        camera = supervisor.cameras["stuck"]
        await until(lambda: camera.stream is not None and camera.stream.stats.units == 10)
        supervisor.tick()
        assert camera.state == "live"
        now[0] += 29
        supervisor.tick()
        await asyncio.sleep(0)
        assert camera.restarts == 0
        now[0] += 2
        supervisor.tick()
        await until(lambda: camera.restarts == 1)
    assert "no progress for 30 s" in supervisor.log.after(0, stream_id="stuck")[-1].detail


async def test_a_stream_that_grows_too_large_is_stopped_and_says_what_to_change(units: object) -> None:  # noqa: F811
    some: list[AccessUnit] = units(frames=10)  # type: ignore[operator]

    class Endless(MemorySource):
        async def units(self):  # type: ignore[no-untyped-def]
            async for unit in super().units():
                yield unit
            await asyncio.Event().wait()

    greedy = config("greedy", supervise={"max_memory_mb": 1})
    async with Supervisor(streams=[greedy], open_source=lambda _: Endless(some, live=True)) as supervisor:
        camera = supervisor.cameras["greedy"]
        await until(lambda: camera.state == "failed")
        assert "max_memory_mb" in camera.detail
        await supervisor.change("greedy", {"supervise": {"max_memory_mb": 512}})
        await until(lambda: camera.stream is not None and camera.stream.stats.units == 10)


async def test_there_is_a_limit_to_streams() -> None:
    async with Supervisor(
        ServiceConfig(max_streams=1), [config("one", supervise={"paused": True})]
    ) as supervisor:
        with pytest.raises(ConfigError, match="max_streams"):
            await supervisor.add(config("two"))
        assert supervisor.ready
        assert supervisor.started


async def test_a_model_that_fails_while_it_runs_is_tried_again_one_that_cannot_be_loaded_is_not(
    units: object,  # noqa: F811
) -> None:
    some: list[AccessUnit] = units(frames=10)  # type: ignore[operator]
    lives = []

    def open_source(wanted: StreamConfig) -> MemorySource:
        lives.append(1)
        broken = ModelError("onnxruntime: out of memory")
        return MemorySource([*some[:3], broken] if len(lives) == 1 else some, live=True)

    streams = [config("passing"), config("never", encode={"model": "no-such-model"})]
    async with Supervisor(streams=streams, open_source=open_source) as supervisor:
        passing, never = supervisor.cameras["passing"], supervisor.cameras["never"]
        await until(lambda: never.state == "failed")
        assert "no-such-model" in never.detail
        assert never.restarts == 0
        await until(lambda: passing.state == "ended")
        assert passing.restarts == 1


async def test_who_was_replaced_stops_and_does_not_take_the_stream_back(
    units: object,  # noqa: F811
    tmp_path: Path,
) -> None:
    # more pictures than numbers are reserved ahead
    some: list[AccessUnit] = units(frames=100, options={"x264-params": "bframes=0"})  # type: ignore[operator]
    replaced = asyncio.Event()

    class Held(MemorySource):
        async def units(self):  # type: ignore[no-untyped-def]
            number = 0
            async for unit in super().units():
                if number == 3:
                    await replaced.wait()
                number += 1
                yield unit

    def one(name: str) -> StreamConfig:
        publish = {"endpoint": f"ipc://{tmp_path}/{name}", "leases": str(tmp_path / "leases.sqlite")}
        return config("door", publish=publish, supervise={"stall_seconds": 3600})  # it waits on purpose

    async with (
        Supervisor(streams=[one("older")], open_source=lambda _: Held(some, live=True)) as older,
        Supervisor(open_source=lambda _: MemorySource(some, live=True)) as younger,
    ):
        await until(lambda: older.cameras["door"].totals().get("embeddings", 0) == 3)
        successor = await younger.add(one("younger"))
        await until(lambda: successor.state == "ended", seconds=120)
        replaced.set()
        await until(lambda: older.cameras["door"].state == "failed", seconds=120)
        assert "another publisher" in older.cameras["door"].detail
        assert successor.totals()["embeddings"] == len(some)


async def test_what_hangs_is_left_behind_and_takes_nothing_from_the_others(units: object) -> None:  # noqa: F811
    """A decoder that never comes back: the drain is bounded, and threads of the loop stay free for others."""
    some: list[AccessUnit] = units(frames=10)  # type: ignore[operator]
    free = threading.Event()
    names = [f"stuck{number}" for number in range(12)]
    service = ServiceConfig(drain_seconds=1.0)

    def hang(trace: object) -> None:
        free.wait()

    supervisor = Supervisor(
        service, [config(name) for name in names], open_source=lambda _: MemorySource(some, live=True)
    )
    try:
        async with supervisor:
            for name in names:
                supervisor.cameras[name].monitor.observe = hang  # type: ignore[method-assign]
            await until(lambda: all(supervisor.cameras[name].opened.is_set() for name in names))
            began = time.monotonic()
            async with asyncio.timeout(20):
                await supervisor.aclose()
                await asyncio.to_thread(time.sleep, 0)
        assert supervisor.drained_seconds is not None
        assert time.monotonic() - began < 15
    finally:
        free.set()


async def test_a_camera_that_cannot_be_opened_does_not_keep_the_service_from_being_started(
    units: object,  # noqa: F811
) -> None:
    some: list[AccessUnit] = units(frames=10)  # type: ignore[operator]

    def open_source(wanted: StreamConfig) -> MemorySource:
        if wanted.stream_id == "bad":
            raise SourceError("no such device")
        return MemorySource(some, live=True)

    async with Supervisor(streams=[config("bad"), config("good")], open_source=open_source) as supervisor:
        await until(lambda: supervisor.started)
        assert supervisor.cameras["bad"].state == "waiting"


async def test_a_publisher_that_is_waited_for_is_no_stall() -> None:
    now = [0.0]

    class Door(MemorySource):
        async def units(self):  # type: ignore[no-untyped-def]
            await asyncio.Event().wait()
            yield

    watched = config("door", supervise={"stall_seconds": 5})
    async with Supervisor(
        streams=[watched], open_source=lambda _: Door([], live=True), clock=lambda: now[0]
    ) as supervisor:
        camera = supervisor.cameras["door"]
        await until(lambda: camera.stream is not None)
        assert camera.stream is not None
        camera.stream.tell("waiting", "for a publisher")
        await until(lambda: camera.detail == "for a publisher")
        for _ in range(4):
            now[0] += 5
            supervisor.tick()
            await asyncio.sleep(0)
        assert camera.restarts == 0


async def test_a_removed_stream_closes_its_sinks(tmp_path: Path) -> None:
    sink = {"type": "jsonl", "path": str(tmp_path / "a.jsonl")}
    paused = {"paused": False}
    async with Supervisor(
        streams=[config("one", sinks=[sink], supervise=paused)],
        open_source=lambda _: MemorySource([], live=True),
    ) as supervisor:
        await until(lambda: supervisor.outputs.names("one") == ["jsonl"])
        await supervisor.change("one", {"sinks": [{**sink, "vectors": "list"}]})
        await until(lambda: supervisor.outputs.names("one") == ["jsonl"])
        await supervisor.remove("one")
        assert supervisor.outputs.counts() == {}


async def test_a_camera_that_loses_packets_makes_nobody_do_less(
    units: object,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is left out before a keyframe is no sign of a full box."""
    monkeypatch.setattr("ovstream.service.supervisor._TICK_SECONDS", 3600.0)  # the ticks here are the test's
    some: list[AccessUnit] = units(frames=10)  # type: ignore[operator]
    source = MemorySource([*some, Pause(3600.0)], live=True)  # a stream that goes on
    async with Supervisor(streams=[config("lossy")], open_source=lambda _: source) as supervisor:
        camera = supervisor.cameras["lossy"]
        await until(lambda: camera.stream is not None)
        source.stats.dropped = source.stats.unusable = 40
        await until(lambda: camera.totals().get("dropped") == 40)
        camera.tick()
        source.stats.dropped = source.stats.unusable = 90
        await until(lambda: camera.totals().get("dropped") == 90)
        camera.tick()
        assert demand_of(camera).dropped == 0
        source.stats.dropped += 5  # no room in the queue
        await until(lambda: camera.totals().get("dropped") == 95)
        camera.tick()
        assert demand_of(camera).dropped == 5


async def test_a_wrong_certificate_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("no certificate")
    path = tmp_path / "o.yaml"
    path.write_text(
        f"streams: []\nservice: {{http: {{port: 0, tls_cert_file: {tmp_path}/cert.pem, tls_key_file: {tmp_path}/cert.pem}}}}\n"
    )
    with pytest.raises(ConfigError, match="tls_cert_file"):
        await serve(path)
