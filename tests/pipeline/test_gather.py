"""Streams that share runs: same results, bounded waits, errors to their owner."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ovstream.encode import Encoder, EncoderState, Job, load_encoder
from ovstream.encode.batcher import SHARED_TOKENS, batches
from ovstream.errors import ConfigError, ModelError
from ovstream.model import export_model
from ovstream.pipeline.gather import Gather, share
from ovstream.types import Patches

from ..encode.pictures import GRID, everything, patches
from ..model.models import nano

LANES = 4
GRIDS = [GRID, (3, 5), GRID, (6, 4)]  # ragged: other sizes share runs as well
SCRIPTS = [
    [[3, 4, 9], [1], [0, 1, 2, 3, 5, 7]],
    [[2], [4, 5], [0]],
    [[5, 11, 12, 20], [], [8]],
    [[1], [2], [3]],
]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("nano")
    export_model(nano(), path, model_id="nano", trained=False)
    return path


class Recorder:
    """A backend that notes who came together; `hook` runs before each run."""

    def __init__(self, backend: Any, hook: Callable[[Sequence[Job]], None] = lambda jobs: None) -> None:
        self.backend, self.hook = backend, hook
        self.sizes: list[int] = []

    @property
    def lanes(self) -> int:
        return int(self.backend.lanes)

    def bind(self, state: EncoderState) -> Any:
        return self.backend.bind(state)

    def run(self, jobs: Sequence[Job]) -> None:
        self.sizes.append(len(jobs))
        self.hook(jobs)
        self.backend.run(jobs)


class Clock(threading.Condition):
    """A condition whose timed waits pass at once and move its clock; other waits are real."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    def wait(self, timeout: float | None = None) -> bool:
        if timeout is None:
            return super().wait(30)
        self.waits.append(timeout)
        self.now += timeout
        return False


def script(stream: int) -> list[Patches]:
    grid = GRIDS[stream]
    updates = enumerate(SCRIPTS[stream])
    return [everything(stream, grid=grid)] + [patches(s, 9 * stream + i, grid=grid) for i, s in updates]


def play(encoder: Encoder, streams: Sequence[int]) -> list[EncoderState]:
    """All streams at once, each in a thread, in step."""
    states = [encoder.new_state(GRIDS[stream]) for stream in streams]
    with ThreadPoolExecutor(len(streams)) as pool:
        for pictures in zip(*(script(stream) for stream in streams), strict=True):
            list(pool.map(encoder.encode_patches, states, pictures))
    return states


@pytest.mark.parametrize(
    ("mode", "cache", "backend", "limit"),
    [
        ("exact", "float32", "onnx", 1e-5),
        ("exact", "float16", "onnx", 1e-2),
        ("dense", "float32", "onnx", 1e-5),
        ("exact", "float32", "auto", 1e-5),
    ],
)
def test_a_shared_run_gives_what_each_stream_gets_alone(
    folder: Path, mode: Any, cache: Any, backend: Any, limit: float
) -> None:
    encoder = load_encoder(folder, mode=mode, cache=cache, streams=LANES, probes=0, backend=backend)
    recorder = Recorder(encoder.backend)
    shared = encoder.through(Gather(recorder, max_delay_seconds=5.0))
    recorder.sizes.clear()  # the self-test is over
    found = play(shared, range(LANES))
    for stream, state in enumerate(found):
        alone = encoder.new_state(GRIDS[stream])
        for picture in script(stream):
            encoder.encode_patches(alone, picture)
        for name in ("scene", "tokens", "keys", "values", "head_keys", "head_values"):
            difference = np.abs(getattr(state, name).astype(np.float32) - getattr(alone, name)).max()
            assert difference < limit, (stream, name)
        assert np.array_equal(state.ages, alone.ages)
    assert max(recorder.sizes) > 1, "nothing was shared"


@pytest.mark.parametrize("backend", ["onnx", "auto"])
def test_mode_fast_shares_runs_within_its_rounding(folder: Path, backend: Any) -> None:
    encoder = load_encoder(folder, mode="fast", streams=LANES, backend=backend)
    found = play(share(encoder, max_batch_delay_ms=5000), range(LANES))
    for stream, state in enumerate(found):
        alone = encoder.new_state(GRIDS[stream])
        for picture in script(stream):
            encoder.encode_patches(alone, picture)
        cosine = state.scene @ alone.scene / np.linalg.norm(state.scene) / np.linalg.norm(alone.scene)
        assert cosine > 0.99
        assert state.drift is not None


def test_no_stream_sees_another(folder: Path) -> None:
    """The same stream beside quiet and beside wild neighbours: not a bit differs in exact mode."""
    encoder = load_encoder(folder, mode="exact", streams=3)

    def beside(scale: float) -> bytes:
        states = [encoder.new_state(GRID) for _ in range(3)]
        jobs = []
        for number, state in enumerate(states):
            picture = patches([1, 4, 9, 16], number)
            pixels = picture.pixels * np.float32(scale if number else 1)
            found = state.locate(Patches(picture.indices, pixels, GRID))
            state.store(*found)
            jobs.append(Job(encoder.bound(state), *found))
        encoder.backend.run(jobs)
        return states[0].snapshot()

    assert beside(1.0) == beside(1e3)


def test_a_picture_does_not_wait_for_a_stream_that_stays_away(folder: Path) -> None:
    clock = Clock()
    encoder = load_encoder(folder, mode="exact", streams=LANES)
    gather = Gather(encoder.backend, max_delay_seconds=0.25, condition=clock, clock=clock)
    shared = encoder.through(gather)
    busy, away = shared.new_state(GRID), shared.new_state(GRID)
    clock.waits.clear()
    shared.encode_patches(busy, patches([1], 0))
    shared.encode_patches(busy, patches([2], 0))
    assert clock.waits == [0.25, 0.25]
    del away
    clock.waits.clear()
    shared.encode_patches(busy, patches([3], 0))  # nobody is left to wait for
    assert clock.waits == []


def test_a_large_picture_does_not_wait(folder: Path) -> None:
    clock = Clock()
    encoder = load_encoder(folder, mode="exact", streams=2)
    shared = encoder.through(Gather(encoder.backend, max_delay_seconds=0.25, condition=clock, clock=clock))
    grid = (16, 16)
    one, _other = shared.new_state(grid), shared.new_state(grid)
    clock.waits.clear()
    shared.encode_patches(one, everything(0, grid=grid))
    assert clock.waits == []


def test_calls_gather_while_a_run_is_under_way(folder: Path) -> None:
    """With no delay at all: the first runs alone, whoever comes meanwhile shares the next run."""
    encoder = load_encoder(folder, mode="exact", streams=LANES)
    started, finish = threading.Event(), threading.Event()
    gather: Gather

    def hook(jobs: Sequence[Job]) -> None:
        if not started.is_set():
            started.set()
            assert finish.wait(30)

    recorder = Recorder(encoder.backend)
    gather = Gather(recorder, max_delay_seconds=0)
    shared = encoder.through(gather)
    states = [shared.new_state(GRID) for _ in range(4)]
    recorder.sizes.clear()
    recorder.hook = hook
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(shared.encode_patches, states[0], patches([0], 0))]
        assert started.wait(30)
        jobs += [pool.submit(shared.encode_patches, state, patches([0], 1)) for state in states[1:]]
        with gather._condition:
            assert gather._condition.wait_for(lambda: len(gather._waiting) == 3, 30)
        finish.set()
        outputs = [job.result(30) for job in jobs]
    assert recorder.sizes == [1, 3]
    assert (gather.runs - 2, gather.calls - 2) == (2, 4)  # beside the two of the self-test
    assert all(np.isfinite(output.scene).all() for output in outputs)


def test_an_error_finds_its_owner(folder: Path) -> None:
    encoder = load_encoder(folder, mode="exact", streams=LANES)

    def hook(jobs: Sequence[Job]) -> None:
        if any(job.slots[0] == 13 for job in jobs):
            raise ModelError("slot 13")

    recorder = Recorder(encoder.backend, hook)
    shared = encoder.through(Gather(recorder, max_delay_seconds=5.0))
    states = [shared.new_state(GRID) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        jobs = [
            pool.submit(shared.encode_patches, state, patches([slot], 0))
            for state, slot in zip(states, (1, 13, 2), strict=True)
        ]
    assert [type(job.exception()).__name__ for job in jobs] == ["NoneType", "ModelError", "NoneType"]
    assert recorder.sizes[-4:] == [3, 1, 1, 1]


def test_an_interrupt_frees_the_others(folder: Path) -> None:
    encoder = load_encoder(folder, mode="exact", streams=2)

    def hook(jobs: Sequence[Job]) -> None:
        if len(jobs) == 2:
            raise KeyboardInterrupt

    recorder = Recorder(encoder.backend, hook)
    shared = encoder.through(Gather(recorder, max_delay_seconds=5.0))
    states = [shared.new_state(GRID) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(shared.encode_patches, state, patches([1], 0)) for state in states]
        kinds = sorted(type(job.exception(30)).__name__ for job in jobs)
    assert kinds == ["KeyboardInterrupt", "ModelError"]
    shared.encode_patches(states[0], patches([1], 0))  # and it goes on


def test_batches_are_bounded_and_keep_their_order() -> None:
    sizes = [SHARED_TOKENS, 3, 4, 5, 300, 200, 57, 1, 1, 1, 1, 1]

    def job(n: int) -> Job:
        empty = np.zeros((n, 3))
        return Job(None, empty.astype(np.float32), empty.astype(np.int64), np.zeros(n, np.int64))

    dealt = [[len(one) for one in batch] for batch in batches([job(n) for n in sizes], lanes=4)]
    assert dealt == [[256], [3, 4, 5], [300], [200], [57, 1, 1, 1], [1, 1]]


def test_wrong_numbers_are_refused(folder: Path) -> None:
    single = load_encoder(folder, mode="exact")
    with pytest.raises(ConfigError, match="streams=4"):
        share(single)
    several = load_encoder(folder, mode="exact", streams=2)
    with pytest.raises(ConfigError, match="max_delay_seconds"):
        share(several, max_batch_delay_ms=-1)
    with pytest.raises(ConfigError, match="parallel_runs"):
        share(several, parallel_runs=0)
    with pytest.raises(ConfigError, match="streams is 0"):
        load_encoder(folder, streams=0)
