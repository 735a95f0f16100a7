"""Processes share streams by what these cost: with costs that the test makes up, and no process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ovstream.config import ServiceConfig, StreamConfig
from ovstream.pipeline import Latency
from ovstream.service.balance import Balance
from ovstream.service.checkpoints import StateFolder
from ovstream.service.costs import Costs
from ovstream.service.encoders import EncoderPool
from ovstream.service.events import EventLog
from ovstream.service.facts import Facts
from ovstream.service.home import OwnHome
from ovstream.service.load import LoadPolicy
from ovstream.service.packing import packed_second
from ovstream.service.placement import Placement
from ovstream.service.remote import RemoteCamera
from ovstream.service.saving import Saving
from ovstream.service.supervisor import Supervisor
from ovstream.service.timeline import STAGES, Second
from ovstream.service.worker import Worker
from ovstream.service.workers import Workers


@pytest.fixture(autouse=True)
def _no_process_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def add(worker: Worker, camera: RemoteCamera) -> None:
        worker.cameras[camera.stream_id] = camera

    monkeypatch.setattr(Worker, "add", add)


def placed(names: list[str], costs: Costs, *, count: int = 2) -> tuple[Placement, dict[str, Any]]:
    """Streams, put one after the other, and what they became."""
    workers = Workers(count, EventLog(), costs=costs)
    placement = Placement(OwnHome(EncoderPool(), None, EventLog()), workers)  # type: ignore[arg-type]
    return placement, {
        name: placement.make(StreamConfig(url="x", stream_id=name), "file", alone=False) for name in names
    }


def loads(placement: Placement, costs: Costs) -> list[float]:
    """Cores per worker, the fullest last."""
    found: dict[int, float] = {}
    for name, number in placement.workers.numbers.items():
        found[number] = found.get(number, 0.0) + costs.of(name)
    return sorted(found.values())


@pytest.mark.parametrize(("count", "expected"), [(2, "1221122112"), (3, "1233211233"), (4, "1234432112")])
async def test_streams_that_nobody_knows_are_shared_by_number_to_and_fro(count: int, expected: str) -> None:
    """Main and sub stream of each camera in turns: one after the other, one of two would get all that are large."""
    names = [f"{number}" for number in range(10)]
    placement, _ = placed(names, Costs(), count=count)
    assert "".join(str(placement.workers.numbers[name]) for name in names) == expected


async def test_known_streams_are_shared_by_cost() -> None:
    """Busy and quiet ones in turns: by number one process would get all that are busy."""
    names = [f"{'busy' if number % 2 == 0 else 'quiet'}-{number:02d}" for number in range(16)]
    costs = Costs({name: 0.11 if name.startswith("busy") else 0.03 for name in names})
    placement, _ = placed(names, costs)
    light, heavy = loads(placement, costs)
    assert heavy - light <= 0.11  # one stream at most
    assert abs(heavy - light) < 0.2 * heavy


async def test_a_new_stream_goes_where_the_least_is_done() -> None:
    costs = Costs({"heavy": 0.8, "one": 0.1, "two": 0.1, "three": 0.1})
    placement, _ = placed(["heavy", "one", "two", "three", "new"], costs)
    numbers = placement.workers.numbers
    assert numbers["new"] == numbers["three"] == 2  # four small ones, and one that is dear


async def test_a_stream_that_begins_again_moves_where_that_helps_and_keeps_its_counters() -> None:
    costs = Costs()
    placement, cameras = placed(["a", "b", "c", "d"], costs)  # a and d in the first
    costs.note({"a": 0.6, "b": 0.05, "c": 0.05, "d": 0.3})
    camera: RemoteCamera = cameras["d"]
    camera.start()
    facts = Facts(state="live", totals={"units": 70, "cpu_seconds": {"parse": 1.5}}).as_dict()
    camera.pulse({"life": 1, "facts": facts, "second": None, "stand": None})
    await camera.stop()
    assert await placement.go_on(camera, camera.config) is camera
    assert placement.workers.numbers["d"] == 2
    facts = Facts(state="live", totals={"units": 2, "cpu_seconds": {"parse": 0.5}}).as_dict()
    camera.pulse({"life": 2, "facts": facts, "second": None, "stand": None})
    assert camera.facts().totals["units"] == 72
    assert camera.facts().totals["cpu_seconds"] == {"parse": 2.0}
    await camera.stop()
    await placement.go_on(camera, camera.config)
    assert placement.workers.numbers["d"] == 2, "it stays where it is well"


async def test_a_stream_stays_where_moving_would_win_next_to_nothing() -> None:
    costs = Costs({"a": 0.30, "b": 0.29, "c": 0.02, "d": 0.02})
    placement, cameras = placed(["a", "b", "c", "d"], costs)
    before = placement.workers.numbers
    for name in cameras:
        placement.workers.settle(name)
    assert placement.workers.numbers == before


def test_what_a_stream_costs_is_the_mean_of_its_last_minute() -> None:
    costs = Costs({"old": 0.5})
    assert costs.of("new") == 0.5  # as the others
    for second in range(300):
        costs.note({"new": 2.0 if second == 0 else 0.1})  # a model begins slowly
    assert costs.of("new") == pytest.approx(0.1, abs=0.02)
    for _ in range(300):
        costs.note({"new": 0.4})
    assert costs.of("new") == pytest.approx(0.4, abs=0.01)
    costs.keep(["new"])
    assert costs.known.keys() == {"new"}


async def test_the_seconds_of_the_streams_teach_the_costs() -> None:
    costs = Costs()
    _, cameras = placed(["a"], costs)
    cameras["a"].start()
    second = Second(
        time=1.0,
        activity=0.0,
        novelty=0.0,
        actions=(15, 0, 0),
        cpu=tuple(0.02 for _ in STAGES),
        latencies=list(Latency().counts),
        latency=None,
        dropped=0,
    )
    entry = {
        "life": 1,
        "facts": Facts(state="live").as_dict(),
        "second": packed_second(second),
        "stand": None,
    }
    balance = Balance(LoadPolicy(ServiceConfig().load), lambda *_: None, costs)
    balance.step(cameras, {"a": 1}, pids=[], now=1.0)
    assert costs.known == {}  # it has not begun
    cameras["a"].pulse(entry)
    balance.step(cameras, {"a": 1}, pids=[], now=2.0)
    assert costs.known == {"a": pytest.approx(0.02 * len(STAGES))}


async def test_costs_outlive_the_service_and_a_damaged_file_costs_nothing(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    assert state.load_costs() == {}
    costs = Costs({"busy": 0.25, "gone": 0.1})
    Saving(state, seconds=1.0, costs=costs).now([])
    assert state.load_costs() == {"busy": 0.25, "gone": 0.1}
    streams = [StreamConfig(url="x", stream_id="busy", supervise={"paused": True})]  # type: ignore[arg-type]
    async with Supervisor(ServiceConfig(state_folder=str(tmp_path)), streams) as supervisor:
        assert supervisor.workers.costs.known == {"busy": 0.25}  # others are gone
    for damage in ("", "[1]", '{"busy": "x"}', '{"busy": null}'):
        (tmp_path / "costs.json").write_text(damage)
        assert state.load_costs() == {}
    (tmp_path / "costs.json").write_text('{"busy": NaN, "other": -1, "third": 1e300}')
    assert state.load_costs() == {"busy": 0.0, "other": 0.0, "third": 64.0}
