"""Streams as users open them: tasks, threads, ends and failures."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import numpy as np
import pytest

import ovstream
from ovstream.config import stream_config
from ovstream.encode import Encoder
from ovstream.errors import ConfigError, FencedError, SourceNotFound, SourceTimeout
from ovstream.pipeline import Stream
from ovstream.pipeline.dropping import DropTeller
from ovstream.sinks import MemorySink, Sink
from ovstream.sources import MemorySource
from ovstream.types import AccessUnit, Embedding, StreamEvent
from tests.pipeline.conftest import Units

Clip = Callable[..., Path]
CAMERA = {"options": {"x264-params": "bframes=0"}, "frames": 20}


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> object:
    before = set(threading.enumerate())
    yield
    left = [one for one in threading.enumerate() if one not in before and one.name.startswith("ovstream")]
    assert not left


async def test_a_file_gives_every_embedding(encoder: Encoder, clip: Clip) -> None:
    sink = MemorySink()
    async with ovstream.open(clip(**CAMERA), encoder=encoder, sinks=[sink], stream_id="cam1") as stream:
        found = [one async for one in stream]
    assert [one.seq for one in found] == list(range(20))
    assert [one.seq for one in sink.embeddings] == list(range(20))
    assert {one.stream_id for one in found} == {"cam1"}
    assert stream.stats.frames == 20


def test_iterate_is_the_sync_twin(encoder: Encoder, clip: Clip) -> None:
    found = list(ovstream.iterate(clip(**CAMERA), encoder=encoder))
    assert [one.seq for one in found] == list(range(20))


def test_iterate_may_be_left_early(encoder: Encoder, clip: Clip) -> None:
    for embedding in ovstream.iterate(clip(**CAMERA), encoder=encoder):
        if embedding.seq == 3:
            break


async def test_two_runs_give_the_same_vectors(encoder: Encoder, clip: Clip) -> None:
    runs = []
    for _ in range(2):
        async with ovstream.open(clip(**CAMERA), encoder=encoder) as stream:
            runs.append(np.stack([one.vector async for one in stream]))
    np.testing.assert_array_equal(*runs)


async def test_streams_side_by_side_do_not_touch_each_other(encoder: Encoder, clip: Clip) -> None:
    async def read(path: Path) -> np.ndarray:
        async with ovstream.open(path, encoder=encoder) as stream:
            return np.stack([one.vector async for one in stream])

    first, second = clip(**CAMERA), clip("other.mp4", options={"x264-params": "bframes=0"}, frames=20)
    alone = [await read(first), await read(second)]
    together = await asyncio.gather(read(first), read(second))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


async def test_closing_in_the_middle_is_quick_and_repeatable(encoder: Encoder, clip: Clip) -> None:
    stream = ovstream.open(clip(**CAMERA), encoder=encoder, loop=True)
    async with stream:
        async for one in stream:
            if one.seq == 5:
                break
    await stream.aclose()


async def test_a_slow_reader_of_a_live_camera_loses_old_results_and_it_is_counted(
    encoder: Encoder, units: Units
) -> None:
    source = MemorySource(units(**CAMERA) * 5, live=True)
    async with ovstream.open(source, encoder=encoder) as stream:
        first = await anext(stream)
        async for event in stream.events():  # nothing is read until the source has ended
            if event.kind == "ended":
                break
        rest = [one async for one in stream]
    assert first.seq == 0
    assert stream.stats.dropped == 100 - 1 - len(rest)
    assert [one.seq for one in rest] == list(range(100 - len(rest), 100))


async def test_a_failing_source_raises_at_the_reader(encoder: Encoder, units: Units) -> None:
    some = units(**CAMERA)
    source = MemorySource([*some[:5], SourceTimeout("nothing arrived for 5 s")])
    async with ovstream.open(source, encoder=encoder) as stream:
        for _ in range(5):
            await anext(stream)
        with pytest.raises(SourceTimeout, match="nothing arrived"):
            await anext(stream)


async def test_a_missing_file_is_named(encoder: Encoder) -> None:
    with pytest.raises(SourceNotFound, match=r"nowhere\.mp4"):
        async with ovstream.open("nowhere.mp4", encoder=encoder) as stream:
            await anext(stream)


def test_an_unknown_option_lists_its_neighbours() -> None:
    with pytest.raises(ConfigError, match="keep_ratio"):
        ovstream.open("synthetic:", keep_ration=0.1)


@pytest.mark.parametrize("url", [None, 0, b"clip.mp4"])
def test_what_is_no_url_is_named(url: object) -> None:
    with pytest.raises(ConfigError, match=f"not {type(url).__name__}"):
        ovstream.open(url)  # type: ignore[arg-type]


async def test_the_fallback_is_an_event(encoder: Encoder, units: Units) -> None:
    source = MemorySource(units("old.mp4", codec="mpeg4", options={}, frames=5))
    async with ovstream.open(source, encoder=encoder) as stream:
        async for _ in stream:
            pass
        await stream.aclose()
        kinds = [event.kind async for event in stream.events()]
    assert "fallback" in kinds
    assert kinds[-1] == "ended"


def test_inspect_reads_every_picture_without_decoding(clip: Clip) -> None:
    frames = list(ovstream.inspect(clip(**CAMERA)))
    assert len(frames) == 20
    assert {frame.origin for frame in frames} == {"bitstream"}
    assert frames[0].keyframe
    assert all(frame.coverage == 1.0 for frame in frames)


class BrokenSink(Sink):
    """Fails at everything."""

    def publish(self, embedding: Embedding) -> None:
        raise OSError("disk full")

    def event(self, event: StreamEvent) -> None:
        raise OSError("disk full")


async def test_a_broken_sink_costs_the_others_nothing(encoder: Encoder, clip: Clip) -> None:
    good = MemorySink()
    async with ovstream.open(clip(**CAMERA), encoder=encoder, sinks=[BrokenSink(), good]) as stream:
        found = [one async for one in stream]
    assert len(found) == len(good.embeddings) == 20
    assert stream.stats.sink_errors >= 20


async def test_a_failing_source_with_a_broken_sink_still_raises(encoder: Encoder) -> None:
    source = MemorySource([SourceTimeout("nothing arrived")])
    async with ovstream.open(source, encoder=encoder, sinks=[BrokenSink()]) as stream:
        with pytest.raises(SourceTimeout):
            await anext(stream)


async def test_a_sink_that_is_fenced_in_everything_ends_the_stream(encoder: Encoder, clip: Clip) -> None:
    class Fenced(MemorySink):
        def publish(self, embedding: Embedding) -> None:
            raise FencedError("door")

        def event(self, event: StreamEvent) -> None:
            raise FencedError("door")

        def end(self, stream_id: str) -> None:
            raise FencedError("door")

    async with asyncio.timeout(15.0):
        async with ovstream.open(clip(**CAMERA), encoder=encoder, sinks=[Fenced()]) as stream:
            with pytest.raises(FencedError):
                await anext(stream)


async def test_leaving_early_tells_the_sinks_that_the_stream_is_over(encoder: Encoder, clip: Clip) -> None:
    sink = MemorySink()
    async with ovstream.open(
        clip(**CAMERA), encoder=encoder, sinks=[sink], loop=True, stream_id="door"
    ) as stream:
        await anext(stream)
    assert sink.ended == ["door"]
    assert not sink.closed  # it belongs to the caller


async def test_events_end_with_the_stream(encoder: Encoder, clip: Clip) -> None:
    async with ovstream.open(clip(**CAMERA), encoder=encoder) as stream:
        await stream.run()
        kinds = [event.kind async for event in stream.events()]
    assert kinds[-1] == "ended"
    assert kinds.count("ended") == 1


async def test_epochs_grow_over_restarts(
    encoder: Encoder, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs = []
    for now in (1000.0, 1002.0):
        monkeypatch.setattr("ovstream.pipeline.stream.time.time", lambda now=now: now)
        async with ovstream.open(clip(**CAMERA), encoder=encoder) as stream:
            epochs.append((await anext(stream)).epoch)
    assert epochs == [1000, 1002]


async def test_iterate_works_where_a_loop_is_running(encoder: Encoder, clip: Clip) -> None:
    assert sum(1 for _ in ovstream.iterate(clip(**CAMERA), encoder=encoder)) == 20


def test_a_live_stream_goes_on_while_the_caller_of_iterate_works(encoder: Encoder, units: Units) -> None:
    sink = MemorySink()
    stream = ovstream.iterate(MemorySource(units(**CAMERA), live=True), encoder=encoder, sinks=[sink])
    next(stream)
    deadline = time.monotonic() + 30
    while len(sink.embeddings) < 20 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(sink.embeddings) == 20
    stream.close()


async def test_who_sees_a_picture_sees_what_was_left_out_before_it_and_why(
    encoder: Encoder, units: Units
) -> None:
    """Counted once the picture is done, what came before a first keyframe would seem to be dropped later."""

    class Leaky(MemorySource):
        async def units(self) -> AsyncGenerator[AccessUnit, None]:
            async for unit in super().units():
                self.stats.dropped += 3
                self.stats.unusable += 2
                yield unit

    seen: list[tuple[int, int, dict[str, int]]] = []
    config = stream_config("memory:", stream_id="leaky")
    source = Leaky(units(**CAMERA))
    stream = Stream(
        config,
        source=source,
        encoder=encoder,
        observe=lambda trace: seen.append(
            (stream.stats.dropped, stream.stats.overrun, dict(stream.stats.dropped_for))
        ),
    )
    async with stream:
        events = [event async for event in stream.events()]
    expected = [(3 * n, n, {"keyframe": 2 * n, "queue": n, "late": 0, "reader": 0}) for n in range(1, 21)]
    assert seen == expected
    told = [event.detail for event in events if event.kind == "dropped"]
    assert all("found no room between source and parser" in one for one in told)


def test_what_is_left_out_is_told_once() -> None:
    teller = DropTeller()
    assert teller.report({}) is None
    assert (
        teller.report({"keyframe": 9, "late": 4, "queue": 0, "reader": 0}) is None
    )  # normal, and told elsewhere
    found = teller.report({"keyframe": 9, "late": 4, "queue": 3, "reader": 1})
    assert found is not None
    assert found.startswith("3 found no room")
    assert "1 gave way" in found
    assert teller.report({"keyframe": 20, "late": 4, "queue": 3, "reader": 1}) is None


async def test_a_stream_opens_once(encoder: Encoder, clip: Clip) -> None:
    stream = ovstream.open(clip(**CAMERA), encoder=encoder)
    async with stream:
        pass
    with pytest.raises(ConfigError, match="once"):
        async with stream:
            pass


async def test_sinks_may_be_described(encoder: Encoder, clip: Clip, tmp_path: Path) -> None:
    lines = tmp_path / "out.jsonl"
    described, kept = {"type": "jsonl", "path": str(lines)}, MemorySink()
    async with ovstream.open(clip(**CAMERA), encoder=encoder, sinks=[described, kept]) as stream:
        await stream.run()
    assert len(lines.read_text().splitlines()) == len(kept.embeddings) > 0
