"""A stream that may cost less looks less often, forgets no change, and is quick again afterwards."""

from __future__ import annotations

from ovstream.config import stream_config
from ovstream.encode import Encoder
from ovstream.pipeline import Effort, FrameTrace, Latency, StreamStats, StreamWorker
from ovstream.sources.scene import Scene
from tests.pipeline.conftest import Units


def run(encoder: Encoder, units: Units, effort: Effort) -> tuple[list[FrameTrace], StreamStats]:
    clip = units(options={"x264-params": "bframes=0"}, scene=Scene(320, 240, noise=1.0))
    traces: list[FrameTrace] = []
    stats = StreamStats()
    worker = StreamWorker(stream_config("memory"), encoder=encoder, stats=stats, observe=traces.append)
    worker.effort = effort
    for unit in clip:
        worker.process(unit)
    return traces, stats


def test_a_lower_effort_looks_at_fewer_pictures(encoder: Encoder, units: Units) -> None:
    _, full_stats = run(encoder, units, Effort())
    less, stats = run(encoder, units, Effort(every=4, budget=0.5))
    assert stats.frames_parsed == full_stats.frames_parsed
    assert stats.frames_encoded <= 1 + 40 / 4 < full_stats.frames_encoded
    assert stats.frames_skipped_for_load > 0
    assert [trace.plan.reason for trace in less].count("load") == stats.frames_skipped_for_load
    assert stats.patches_encoded < full_stats.patches_encoded
    assert less[0].encoded.all(), "the first picture is encoded at any effort"


def test_the_least_effort_looks_at_keyframes_only(encoder: Encoder, units: Units) -> None:
    less, stats = run(encoder, units, Effort(every=0, budget=0.125))
    looked = [trace for trace in less if trace.picture is not None]
    assert looked
    assert all(trace.frame.keyframe for trace in looked)
    assert stats.frames_decoded == len(looked), "no other picture is decoded for them"


def test_a_low_effort_leaves_pictures_unread(encoder: Encoder, units: Units) -> None:
    _, full = run(encoder, units, Effort())
    traces, stats = run(encoder, units, Effort(read=4))
    assert full.frames_unread == 0
    assert stats.frames_parsed == full.frames_parsed
    assert 0.7 * stats.frames_parsed <= stats.frames_unread < stats.frames_parsed
    read = [trace for trace in traces if not trace.frame.unread]
    assert any(trace.plan.changed.any() for trace in read[1:]), "what moves is still noticed"


def test_pictures_that_depend_on_each_other_are_all_read(encoder: Encoder, units: Units) -> None:
    stats = StreamStats()
    worker = StreamWorker(stream_config("memory"), encoder=encoder, stats=stats)
    worker.effort = Effort(read=4)
    for unit in units("h265.mp4", codec="libx265", frames=12):
        worker.process(unit)
    assert stats.frames_parsed == 12
    assert stats.frames_unread == 0


def test_changes_that_waited_are_still_owed(encoder: Encoder, units: Units) -> None:
    traces, _ = run(encoder, units, Effort(every=8))
    waited = [trace for trace in traces if trace.plan.reason == "load"]
    after = traces[traces.index(waited[0]) + 1 :]
    assert any(trace.encoded.any() for trace in after)


def test_quantiles_of_latency() -> None:
    latency = Latency()
    assert latency.quantile(0.5) is None
    for milliseconds in range(1, 101):
        latency.observe(milliseconds / 1000)
    assert 0.04 <= (latency.quantile(0.5) or 0) <= 0.06
    assert 0.08 <= (latency.quantile(0.9) or 0) <= 0.1
    before = list(latency.counts)
    latency.observe(60.0)
    assert latency.since(before).quantile(0.5) is not None
    assert (latency.since(before).quantile(0.5) or 0) > 5
