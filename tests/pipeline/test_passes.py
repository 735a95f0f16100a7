"""Whole passes of many streams take turns: all get theirs, soon enough, and never all at once."""

from __future__ import annotations

from ovstream.config import stream_config
from ovstream.encode import Encoder
from ovstream.pipeline import Effort, FrameTrace, StreamStats, StreamWorker
from ovstream.pipeline.passes import Passes
from ovstream.sources.scene import Scene
from tests.pipeline.conftest import Units

PASS_SECONDS = 0.08


def test_a_stream_that_is_alone_never_waits() -> None:
    passes = Passes(1.0, clock=lambda: 0.0)
    passes.join("one")
    for _ in range(50):
        assert passes.admits("one")
        passes.done("one", PASS_SECONDS, put_off=False)
    passes.join("two")
    assert not passes.admits("one")
    passes.leave("two")
    assert passes.admits("one")


def test_keyframes_that_come_together_are_encoded_one_after_the_other_and_none_is_forgotten() -> None:
    now = [0.0]
    passes = Passes(1.0, share=0.4, max_wait_seconds=3.0, clock=lambda: now[0])
    names = [f"s{number}" for number in range(8)]
    for name in names:
        passes.join(name)
    wanting = set(names)
    done: dict[str, float] = {}
    while wanting:
        began = len(done)
        for name in sorted(wanting):
            whole = passes.admits(name)
            passes.done(name, PASS_SECONDS if whole else 0.0, put_off=not whole)
            if whole:
                done[name] = now[0]
                wanting.discard(name)
        assert len(done) - began <= 2, "never all at once"
        now[0] += 1 / 15
        assert now[0] < 3.5
    assert 8 * PASS_SECONDS / now[0] <= 0.4 + 0.2, "a share of the time, and what was saved"


def test_nobody_waits_longer_than_the_limit() -> None:
    now = [0.0]
    passes = Passes(1.0, share=0.01, max_wait_seconds=3.0, clock=lambda: now[0])
    for name in ("one", "two"):
        passes.join(name)
    passes.done("two", 100.0, put_off=False)
    assert not passes.admits("one")
    passes.done("one", 0.0, put_off=True)
    now[0] = 2.9
    assert not passes.admits("one")
    passes.done("one", 0.0, put_off=True)
    now[0] = 3.0
    assert passes.admits("one")
    assert not passes.admits("two"), "who has not waited yet does"


def worked(encoder: Encoder, units: Units, whole: list[bool], **effort: float) -> list[FrameTrace]:
    """Twenty seconds of two pictures each, whose whole passes may run where `whole` says so."""
    clip = units(
        fps=2,
        frames=40,
        options={"x264-params": "bframes=0", "g": "8"},
        scene=Scene(320, 240, noise=1.0, objects=0),
    )
    traces: list[FrameTrace] = []
    worker = StreamWorker(
        stream_config("memory"), encoder=encoder, stats=StreamStats(), observe=traces.append
    )
    for number, unit in enumerate(clip):
        worker.effort = Effort(whole=whole[number], **effort)  # type: ignore[arg-type]
        worker.process(unit)
    return traces


def test_a_pass_that_is_put_off_runs_at_the_next_picture_that_may(encoder: Encoder, units: Units) -> None:
    free = worked(encoder, units, [True] * 40)
    first, second = [number for number, one in enumerate(free) if one.encoded.all()][:2]
    held = [number < 1 or number >= second + 3 for number in range(40)]
    for every in (1, 0):
        traces = worked(encoder, units, held, every=every)
        assert traces[first].encoded.all(), "the first picture waits for nobody"
        assert not any(one.encoded.all() for one in traces[first + 1 : second + 3])
        assert "load" in {one.plan.reason for one in traces[second : second + 3]}
    assert worked(encoder, units, held)[second + 3].encoded.all()
