"""What watches over the quality of a stream's embeddings."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from ovstream.encode import Encoder, Output, load_encoder
from ovstream.sources.scene import Scene
from tests.pipeline.conftest import Units
from tests.pipeline.test_worker import Bench

PLAIN = {"x264-params": "bframes=0:keyint=250"}


@pytest.fixture(scope="module")
def fast() -> Encoder:
    return load_encoder("ov-nano", mode="fast")


def test_drift_travels_with_every_embedding(fast: Encoder, units: Units) -> None:
    found = Bench(fast).feed(units(options=PLAIN))
    for one in found:
        assert one.drift is not None
        assert one.drift == 0 or one.staleness_frames > 0
    assert any(one.drift for one in found)


def test_work_travels_with_every_embedding(fast: Encoder, units: Units) -> None:
    """What ran for a picture; nothing where nothing did, both passes where an audit made two."""
    bench = Bench(fast, encode={"audit_seconds": 0.4})
    found = bench.feed(units(options=PLAIN))
    whole = fast.dense_flops(found[0].grid)
    assert (found[0].n_updated, found[0].flops) == (found[0].changed.size, whole)
    assert sum(one.n_updated for one in found) == bench.stats.patches_encoded
    assert all((one.flops > 0) == (one.n_updated > 0) == (one.action != "skip") for one in found)
    assert sum(one.n_updated > one.changed.size for one in found) == bench.stats.audits > 0


def test_drift_asks_for_a_dense_pass(fast: Encoder, units: Units) -> None:
    options = {"refresh_seconds": 100.0, "plan": {"dense_above": 1.0}}
    some = units(options=PLAIN)
    eager = Bench(fast, encode={"max_drift": 0.2, "max_flops": 1.0}, **options).feed(some)
    patient = Bench(fast, encode={"max_drift": 1e9, "max_flops": 1.0}, **options).feed(some)
    assert "drift" in {one.reason for one in eager}
    assert "drift" not in {one.reason for one in patient}


def test_an_audit_below_the_floor_is_an_event(fast: Encoder, units: Units) -> None:
    bench = Bench(fast, encode={"audit_seconds": 0.4, "min_fidelity": 1.0})
    found = bench.feed(units(options=PLAIN))
    assert bench.stats.audits == bench.stats.audits_failed >= 2
    assert 0.5 < bench.stats.audit_cosine_sum / bench.stats.audits < 1
    assert [kind for kind, _ in bench.events] == ["quality"] * bench.stats.audits
    assert len(found) == 40


def test_sparse_calls_ask_for_a_whole_pass_when_they_cost_as_much(fast: Encoder, units: Units) -> None:
    bench = Bench(
        fast,
        encode={"max_drift": 1e9, "max_flops": 0.5, "audit_seconds": 0},
        plan={"dense_above": 1.0},
        refresh_seconds=100.0,
    )
    found = bench.feed(units(options=PLAIN))
    whole = [number for number, one in enumerate(found) if one.action == "dense"]
    assert len(whole) >= 3
    dense = fast.dense_flops(found[0].grid)
    for first, then in pairwise(whole):
        between = sum(one.flops for one in found[first + 1 : then]) / dense
        assert 1 <= between < 1.5


def test_a_tight_budget_leaves_changes_for_later(fast: Encoder, units: Units) -> None:
    bench = Bench(fast, encode={"max_flops": 0.01, "audit_seconds": 0}, refresh_seconds=100.0)
    found = bench.feed(units(options=PLAIN))
    assert bench.stats.frames_deferred > 0
    assert len(found) == 40
    assert any(one.reason == "budget" and one.action == "skip" for one in found)


def test_constant_embeddings_are_an_event(
    encoder: Encoder, units: Units, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model gone wrong answers every picture with the same vector."""
    publish = type(encoder.new_state((2, 2))).publish

    def constant(self: object, **values: object) -> Output:
        output = publish(self, **values)  # type: ignore[arg-type]
        object.__setattr__(output, "scene", np.ones(encoder.info.dim, np.float32))
        return output

    monkeypatch.setattr("ovstream.encode.state.EncoderState.publish", constant)
    bench = Bench(encoder, everything=True)
    bench.feed(units(scene=Scene(320, 240, lighting=0.5, pan_px=20.0), options=PLAIN))
    assert [(kind, "same" in detail) for kind, detail in bench.events] == [("quality", True)]


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_a_stream_may_remember_a_window(
    mode: str, encoder: Encoder, fast: Encoder, units: Units, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The picture after the last time is encoded whole; audits compare with all that is remembered."""
    for module in ("ovstream.pipeline.scene", "ovstream.encode.window"):
        monkeypatch.setattr(f"{module}.TEMPORAL_POSITIONS", 8)
    model = {"exact": encoder, "fast": fast}[mode]
    options = {"memory": "window", "audit_seconds": 0.4, "max_flops": 1.0, "max_drift": 1e9}
    bench = Bench(model, encode=options, refresh_seconds=100.0, plan={"dense_above": 1.0})
    found = bench.feed(units(options=PLAIN))
    encoded = [one.action for one in found if one.action != "skip"]
    assert encoded == (["dense"] + 7 * ["sparse"]) * (len(encoded) // 8) + encoded[len(encoded) // 8 * 8 :]
    assert len(encoded) > 16
    assert {one.reason for one in found if one.action == "dense"} == {"keyframe", "refresh"}
    assert all(one.vector.shape == (model.info.dim,) for one in found)
    canvas = Bench(model, encode=options | {"memory": "canvas"}, refresh_seconds=100.0).feed(
        units(options=PLAIN)
    )
    assert np.array_equal(canvas[0].vector, found[0].vector)  # the first picture, whole, is the same in both
    assert any(not np.array_equal(a.vector, b.vector) for a, b in zip(canvas, found, strict=True))
    assert bench.stats.audits >= 2
    assert 0.9 < bench.stats.audit_cosine_sum / bench.stats.audits <= 1


def test_what_changed_in_an_audited_picture_is_told(encoder: Encoder, units: Units) -> None:
    options = {"memory": "window", "audit_seconds": 0.2, "max_flops": 1.0}
    bench = Bench(encoder, encode=options, plan={"dense_above": 1.0}, kinds=("event",))
    found = bench.feed(units(options=PLAIN)[:12])
    assert bench.stats.audits >= 1
    assert len(found) == bench.stats.frames_encoded
