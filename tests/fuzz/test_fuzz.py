"""A few hundred inputs for each target in every test run; and the fuzzer finds what is there to be found."""

from __future__ import annotations

import pytest

from tests.fuzz.engine import Target, fuzz
from tests.fuzz.targets import TARGETS

RUNS = 60


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_any_input_is_survived(target: Target) -> None:
    outcome = fuzz(target, runs=RUNS, seconds=60, seed=1)
    assert outcome.failure is None, outcome.failure
    assert outcome.runs == RUNS
    assert len(outcome.kept) >= len(target.seeds)


def _guarded(data: bytes) -> None:
    if data[:1] != b"D":
        return
    if data[1:2] != b"E":
        return
    if data[2:3] == b"A":
        raise RuntimeError("found")


def _endless(data: bytes) -> None:
    while data:
        pass


def test_what_lies_behind_several_conditions_is_found() -> None:
    target = Target("planted", _guarded, (b"xyz",), (b"D", b"E", b"A"), ("test_fuzz.py",))
    outcome = fuzz(target, runs=20_000, seconds=60, seed=1)
    assert outcome.failure is not None
    assert outcome.failure[0].startswith(b"DEA")


def test_a_hang_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.engine.HANG_SECONDS", 0.05)
    outcome = fuzz(Target("endless", _endless, (b"x",)), runs=5, seconds=60, seed=1)
    assert outcome.failure is not None
    assert "still at work" in str(outcome.failure[1])
