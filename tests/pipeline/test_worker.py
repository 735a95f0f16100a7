"""One stream's stages in a row, without tasks or threads."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import ovstream
from ovstream.bitstream import Parser
from ovstream.config import stream_config
from ovstream.encode import Encoder
from ovstream.errors import BitstreamError, UnsupportedBitstream
from ovstream.pipeline import FrameTrace, StreamStats, StreamWorker, metadata
from ovstream.sources import MemorySource
from ovstream.sources.scene import Scene
from ovstream.types import AccessUnit, Checkpoint, Embedding, FrameMetadata
from tests.pipeline.conftest import Units


class Bench:
    """A worker with everything it tells collected."""

    def __init__(self, encoder: Encoder, *, restore: Checkpoint | None = None, **options: object) -> None:
        self.stats = StreamStats()
        self.events: list[tuple[str, str]] = []
        self.traces: list[FrameTrace] = []
        self.worker = StreamWorker(
            stream_config("synthetic:", **options),
            encoder=encoder,
            stats=self.stats,
            restore=restore,
            on_event=lambda kind, detail: self.events.append((kind, detail)),
            observe=self.traces.append,
            wall_clock_ns=lambda: 1,
        )

    def feed(self, units: list[AccessUnit]) -> list[Embedding]:
        found = [one for unit in units for one in self.worker.process(unit)]
        return found + self.worker.flush()


def test_every_picture_of_a_camera_gives_one_embedding_in_order(encoder: Encoder, units: Units) -> None:
    bench = Bench(encoder)
    found = bench.feed(units(options={"x264-params": "bframes=0"}))
    assert [one.seq for one in found] == list(range(40))
    times = [one.pts_seconds for one in found]
    assert times == sorted(times)
    assert {one.epoch for one in found} == {0}
    assert found[0].action == "dense"
    assert all(one.vector.shape == (encoder.info.dim,) for one in found)


def test_sampled_pictures_cost_little_and_still_give_embeddings(encoder: Encoder, units: Units) -> None:
    data = units(options={"x264-params": "bframes=0"})
    bench = Bench(encoder, every=5)
    found = bench.feed(data)
    assert [one.seq for one in found] == list(range(40))
    inter = sum(not trace.frame.keyframe for trace in bench.traces)
    assert (bench.stats.frames_parsed, bench.stats.frames_costly) == (40, 0)
    assert bench.stats.frames_unread == sum(trace.frame.unread == "inter" for trace in bench.traces)
    assert bench.stats.frames_unread >= inter * 3 // 4
    assert not any(trace.frame.unread and trace.plan.reason == "change" for trace in bench.traces[:5])


def test_costly_pictures_are_counted_and_encoded(encoder: Encoder, units: Units) -> None:
    bench = Bench(encoder, max_bits_per_pixel=0.001, max_flops=1.0)
    found = bench.feed(units(options={"x264-params": "bframes=0"}))
    assert bench.stats.frames_costly == bench.stats.frames_unread > 30
    assert bench.stats.frames_dense > 1
    assert {one.reason for one in found} >= {"keyframe", "change"}


def test_unread_keyframes_start_decoding_all_the_same(encoder: Encoder, units: Units) -> None:
    bench = Bench(encoder, skip_intra=True)
    found = bench.feed(units(options={"x264-params": "bframes=0:keyint=8"}))
    assert (found[0].action, found[0].decoded) == ("dense", True)
    assert bench.stats.frames_unread == sum(trace.frame.keyframe for trace in bench.traces) >= 5
    assert bench.stats.decode_errors == 0


def test_a_quiet_camera_saves_decoding_and_encoding(encoder: Encoder, units: Units) -> None:
    bench = Bench(encoder)
    bench.feed(
        units(scene=Scene(320, 240, objects=0, noise=0.0, lighting=0.0), options={"x264-params": "bframes=0"})
    )
    stats = bench.stats
    assert stats.frames_parsed == 40
    assert stats.frames_fallback == 0
    assert stats.frames_decoded < 4
    assert stats.patches_encoded < 2 * stats.patches_total / 40


def test_the_numbers_agree_with_each_other(encoder: Encoder, units: Units) -> None:
    bench = Bench(encoder)
    found = bench.feed(units(options={"x264-params": "bframes=0"}))
    stats = bench.stats
    assert stats.units == stats.frames == 40
    assert stats.patches_encoded == sum(int(trace.encoded.sum()) for trace in bench.traces)
    assert stats.frames_encoded == sum(bool(trace.encoded.any()) for trace in bench.traces)
    assert stats.embeddings == len(found)
    assert found[-1].counters == stats.counters()
    assert set(stats.cpu_seconds) <= {"parse", "plan", "decode", "crop", "encode", "watch", "health"}


def test_a_skipped_picture_repeats_the_vector_bit_for_bit(encoder: Encoder, units: Units) -> None:
    found = Bench(encoder).feed(
        units(scene=Scene(320, 240, objects=0, noise=0.0, lighting=0.0), options={"x264-params": "bframes=0"})
    )
    skipped = [(a, b) for a, b in pairwise(found) if b.action == "skip"]
    assert skipped
    for before, after in skipped:
        np.testing.assert_array_equal(before.vector, after.vector)
        assert after.keep_ratio == 0
        assert not after.changed.any()


def test_the_usual_way_decodes_and_encodes_everything(encoder: Encoder, units: Units) -> None:
    bench = Bench(encoder, everything=True)
    found = bench.feed(units(options={"x264-params": "bframes=0"}))
    assert {one.action for one in found} == {"dense"}
    assert bench.stats.encoded_ratio == 1.0
    assert bench.stats.frames_decoded == 40


def test_b_pictures_only_add_evidence(encoder: Encoder, units: Units) -> None:
    bench = Bench(encoder)
    found = bench.feed(units(options={"x264-params": "bframes=3:b-adapt=0:b-pyramid=none"}))
    times = [one.pts_seconds for one in found]
    assert times == sorted(times)
    assert bench.stats.frames == 40
    late = [trace for trace in bench.traces if trace.frame.slice_type == "B"]
    assert late
    assert not any(trace.plan.needs_pixels for trace in late)
    assert len(found) == 40 - len(late)


def test_only_changes_are_emitted_on_request(encoder: Encoder, units: Units) -> None:
    found = Bench(encoder, emit="changes").feed(units(options={"x264-params": "bframes=0"}))
    assert found
    assert all(one.changed.any() for one in found)
    assert [one.seq for one in found] == list(range(len(found)))


def test_event_and_tokens_come_on_request(encoder: Encoder, units: Units) -> None:
    found = Bench(encoder, kinds=("scene", "event", "tokens")).feed(units(frames=5))
    first = {one.kind: one for one in found[:3]}
    rows, cols = first["scene"].grid
    assert first["tokens"].vector.shape == (rows * cols, encoder.info.dim)
    assert first["event"].vector.shape == (encoder.info.dim,)
    for one in found:
        if one.kind == "event":
            assert one.changed.any()


def test_a_reconnect_starts_an_epoch_and_a_dense_pass(encoder: Encoder, units: Units) -> None:
    some = units(options={"x264-params": "bframes=0"})
    again = [replace(unit, epoch=1, discontinuity=number == 0) for number, unit in enumerate(some)]
    found = Bench(encoder).feed([*some, *again])
    assert [one.epoch for one in found] == [0] * 40 + [1] * 40
    assert [one.seq for one in found] == list(range(80))
    assert found[40].action == "dense"


def test_a_new_picture_size_starts_an_epoch(encoder: Encoder, units: Units) -> None:
    bench = Bench(encoder)
    found = bench.feed([*units(frames=5), *units("small.mp4", frames=5, scene=Scene(160, 176))])
    assert {one.epoch for one in found} == {0, 1}
    assert found[0].grid != found[-1].grid
    assert any(kind == "params" for kind, _ in bench.events)


def test_an_encoder_that_pads_the_same_size_otherwise_goes_on(encoder: Encoder, units: Units) -> None:
    """320x232 are 15 rows of cells, of interlaced video 16; the camera's health outlives the change."""
    scene = Scene(320, 232, noise=1.0)
    frames = units(frames=3, scene=scene, options={"x264-params": "bframes=0"})
    fields = units(frames=3, scene=scene, options={"x264-params": "tff=1:bframes=0"})
    later = [replace(unit, pts=(unit.pts or 0) + round(2 / unit.time_base)) for unit in fields]
    bench = Bench(encoder)
    assert len(bench.feed([*frames, *later])) == 6
    assert {trace.frame.mb_shape for trace in bench.traces} == {(15, 20), (16, 20)}


def test_damage_is_counted_and_the_stream_goes_on(encoder: Encoder, units: Units) -> None:
    some = units(options={"x264-params": "bframes=0:keyint=10"})
    broken = [
        replace(unit, data=unit.data[: len(unit.data) // 2]) if number in (13, 14) else unit
        for number, unit in enumerate(some)
    ]
    bench = Bench(encoder)
    found = bench.feed(broken)
    assert bench.stats.parse_errors >= 1
    whole = [one for one in found if one.pts_seconds and one.pts_seconds >= 20 / 25]
    assert len(whole) == 20
    assert any(one.action == "dense" for one in whole)


def test_a_parser_that_fails_costs_pictures_not_the_stream(
    encoder: Encoder, units: Units, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = units(frames=10, options={"x264-params": "bframes=0"})
    parse = Parser.parse

    def fail(self: Parser, unit: AccessUnit, **options: Any) -> FrameMetadata:
        if unit.pts == some[4].pts:
            raise BitstreamError("h264: failed at an internal error of the parser")
        return parse(self, unit, **options)

    monkeypatch.setattr(Parser, "parse", fail)
    bench = Bench(encoder)
    assert len(bench.feed(some)) == 9
    assert bench.stats.parse_errors == 1
    monkeypatch.setattr(ovstream.pipeline.inspection, "open_source", lambda *_, **__: MemorySource(some))
    assert len(list(ovstream.inspect("camera"))) == 9


def test_noise_as_input_never_raises(encoder: Encoder, units: Units) -> None:
    rng = np.random.default_rng(0)
    some = units(frames=10)
    junk = [replace(unit, data=rng.bytes(400)) for unit in some]
    bench = Bench(encoder)
    found = bench.feed([*junk, *some])
    assert bench.stats.parse_errors == 10
    assert found


def test_streams_without_a_parser_go_through_the_decoder(encoder: Encoder, units: Units) -> None:
    bench = Bench(encoder)
    found = bench.feed(units("old.mp4", codec="mpeg4", options={}, frames=12))
    assert bench.stats.frames_parsed == 0
    assert bench.stats.frames_fallback == bench.stats.frames_decoded == 12
    assert len(found) == 12
    assert [kind for kind, _ in bench.events] == ["fallback"]
    picture, masked = bench.worker.picture()
    assert picture.pts == bench.traces[-1].frame.pts
    assert masked.shape == found[-1].grid


def test_interlaced_h264_is_parsed_like_any_other(encoder: Encoder, units: Units) -> None:
    bench = Bench(encoder)
    found = bench.feed(units("interlaced.mp4", options={"x264-params": "tff=1:bframes=0"}, frames=12))
    assert found
    assert bench.stats.frames_parsed == 12
    assert bench.stats.frames_fallback == bench.stats.parse_errors == bench.stats.decode_errors == 0
    assert bench.events == []


@pytest.mark.parametrize("params", ["bframes=0", "bframes=3:b-adapt=0:keyint=10"])
def test_h265_needs_no_decoder_for_its_metadata(encoder: Encoder, units: Units, params: str) -> None:
    options = {"x265-params": f"log-level=none:pools=1:frame-threads=1:{params}"}
    bench = Bench(encoder)
    found = bench.feed(units("hevc.mp4", codec="libx265", options=options, frames=30))
    assert found
    assert bench.stats.frames_parsed == 30
    assert bench.stats.frames_fallback == bench.stats.parse_errors == bench.stats.decode_errors == 0
    assert bench.events == []


def test_pictures_that_nobody_sees_are_parsed_but_not_encoded(encoder: Encoder, units: Units) -> None:
    """VP8's altref; libvpx makes them in two passes only, so here some frames lose their show_frame bit."""
    some = units("plain.webm", codec="libvpx", options={})
    for number in (5, 6, 20):
        some[number] = replace(
            some[number], data=bytes([some[number].data[0] & ~0x10]) + some[number].data[1:]
        )
    bench = Bench(encoder)
    found = bench.feed(some)
    assert len(found) == 37
    assert bench.stats.frames_parsed == 40
    assert bench.stats.decode_errors == bench.stats.parse_errors == 0


def test_a_successor_goes_on_where_the_first_stopped(encoder: Encoder, units: Units) -> None:
    some = units(options={"x264-params": "bframes=0:keyint=20"})
    first = Bench(encoder)
    before = first.feed(some[:20])
    checkpoint = first.worker.checkpoint
    after = Bench(encoder, restore=checkpoint).feed(some[20:])
    assert checkpoint.cursor_pts == some[19].pts
    assert [one.seq for one in before + after] == list(range(40))
    assert (before[-1].epoch, after[0].epoch) == (0, 1)
    assert after[0].action == "dense"


def test_a_gop_longer_than_the_buffer_stays_decodable(encoder: Encoder, units: Units) -> None:
    bench = Bench(encoder, queue_units=2)
    still = Scene(320, 240, objects=0, noise=0.0, lighting=0.0)
    bench.feed(units(scene=still, options={"x264-params": "bframes=0:keyint=40"}))
    assert bench.stats.decode_errors == 0
    assert bench.stats.frames_decoded > 8


def test_nothing_of_the_scene_before_a_reconnect_is_published_after_it(
    encoder: Encoder, units: Units
) -> None:
    camera = {"options": {"x264-params": "bframes=0"}, "frames": 10}
    before, other = units(**camera), units("other.mp4", scene=Scene(320, 240, seed=9), **camera)
    bench = Bench(encoder)
    bench.feed(before)
    late = [replace(unit, epoch=1, discontinuity=not number) for number, unit in enumerate(other)]
    assert bench.worker.process(replace(late[0], data=late[0].data[:40])) == []
    found = bench.feed(late)
    alone = Bench(encoder).feed(other)
    np.testing.assert_array_equal(found[0].vector, alone[0].vector)
    assert found[0].action == "dense"


def test_pixels_that_are_missing_are_told(encoder: Encoder, units: Units) -> None:
    some = units(options={"x264-params": "bframes=0:keyint=100"}, frames=20)
    bench = Bench(encoder)
    found = bench.feed([*some[:5], replace(some[5], discontinuity=True), *some[6:]])
    assert bench.stats.frames_damaged > 0
    assert "lost" in {one.reason for one in found[5:]}


def test_a_parser_that_gives_up_inside_a_gop_loses_nothing(
    encoder: Encoder, units: Units, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = units(options={"x264-params": "bframes=0:keyint=100"}, frames=20)
    parse = Parser.parse

    def give_up(self: Parser, unit: AccessUnit, **options: Any) -> FrameMetadata:
        if unit.pts == some[7].pts:
            raise UnsupportedBitstream("an SP slice")
        return parse(self, unit, **options)

    monkeypatch.setattr(Parser, "parse", give_up)
    bench = Bench(encoder)
    found = bench.feed(some)
    assert len(found) == 20
    assert (bench.stats.frames_parsed, bench.stats.frames_fallback) == (7, 13)
    assert bench.stats.parse_errors == 0


def test_capture_times_stay_with_their_pictures(encoder: Encoder, units: Units) -> None:
    some = units("b.mp4", codec="mpeg4", options={"bf": "2", "b": "800k"}, frames=12)
    timed = [replace(unit, capture_time_ns=1000 + (unit.pts or 0)) for unit in some]
    bench = Bench(encoder)
    found = bench.feed(timed)
    assert bench.stats.frames_fallback == len(found) == 12
    base = some[0].time_base
    for one in found:
        assert one.pts_seconds is not None
        assert one.capture_time_ns == 1000 + round(one.pts_seconds / base)


def test_raw_files_with_b_pictures_never_go_back_in_time(encoder: Encoder, units: Units) -> None:
    bench = Bench(encoder)
    bench.feed(units("raw.264", options={"x264-params": "bframes=3:b-adapt=0:b-pyramid=normal:ref=4"}))
    newest = -1
    for trace in bench.traces:
        if trace.frame.keyframe:
            newest = -1
        if trace.encoded.any():
            assert trace.frame.poc > newest
            newest = trace.frame.poc


def test_other_parameter_sets_of_the_same_size_start_one_epoch(encoder: Encoder, units: Units) -> None:
    some = units(options={"x264-params": "bframes=0:keyint=10"})
    changed = [replace(unit, params_changed=number == 20) for number, unit in enumerate(some)]
    bench = Bench(encoder)
    found = bench.feed(changed)
    assert [one.epoch for one in found] == [0] * 20 + [1] * 20
    assert found[20].action == "dense"


def test_a_reconnect_with_other_parameter_sets_is_one_epoch(encoder: Encoder, units: Units) -> None:
    some = units(options={"x264-params": "bframes=0:keyint=10"})
    again = [replace(unit, epoch=1, params_changed=not number) for number, unit in enumerate(some)]
    found = Bench(encoder).feed([*some, *again])
    assert {one.epoch for one in found} == {0, 1}


def test_units_kept_for_a_fallback_are_bounded_in_bytes_and_counted(
    encoder: Encoder, units: Units, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = units(options={"x264-params": "bframes=0", "g": "1000"})
    most = 3 * len(some[0].data) // 2
    assert sum(len(unit.data) for unit in some) > most
    monkeypatch.setattr(metadata, "_MAX_GOP_BYTES", most)
    bench = Bench(encoder)
    reader = bench.worker._reader
    for unit in some:
        bench.worker.process(unit)
        assert 0 < reader.memory_bytes <= most
        assert bench.worker.memory_bytes >= reader.memory_bytes
    bench.worker.close()
    assert reader.memory_bytes == 0


def test_counters_may_be_read_while_a_stage_runs_for_the_first_time() -> None:
    stats = StreamStats()

    class Seconds(float):
        def __deepcopy__(self, memo: object) -> Seconds:
            stats.cpu_seconds.setdefault("plan", 0.5)  # as the stream's thread may at any moment
            return self

    stats.cpu_seconds["parse"] = Seconds(1.0)
    read = stats.as_dict()
    assert read["cpu_seconds"]["parse"] == 1.0
    stats.cpu_seconds["parse"] = 2.0
    assert read["cpu_seconds"]["parse"] == 1.0
