"""What watches over the quality of a stream's embeddings."""

from __future__ import annotations

import numpy as np
import pytest

from ovstream.encode import Encoder, Fallback, Output, load_encoder
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


def test_key_framing_answers_changes_by_whole_passes(
    fast: Encoder, units: Units, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Fallback, "key_framing", property(lambda _: True))
    bench = Bench(fast, encode={"max_flops": 0.25, "audit_seconds": 0}, refresh_seconds=100.0)
    found = bench.feed(units(options=PLAIN))
    assert {one.action for one in found} == {"skip", "dense"}
    whole = [one.reason for one in found if one.action == "dense"]
    assert whole.count("budget") >= 2
    assert len(whole) <= 2 + 0.25 * len(found) + 1  # what was saved up, what was earned


def test_whole_passes_are_reported_with_what_stood_before(
    fast: Encoder, units: Units, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bool, float]] = []

    def observe(_: Fallback, before: object, after: object, *, spent: float) -> None:
        seen.append((before is None, spent))

    monkeypatch.setattr(Fallback, "observe", observe)
    Bench(fast, encode={"audit_seconds": 0.4}).feed(units(options=PLAIN))
    assert seen[0][0]
    assert not any(first for first, _ in seen[1:])
    assert all(spent >= 1 for _, spent in seen)
    assert any(spent > 1.05 for _, spent in seen)  # sparse calls in between
