"""Which embeddings are kept."""

from __future__ import annotations

import numpy as np
import pytest

from ovstream.store import Keep, KeepPolicy, Moment
from ovstream.types import Action
from tests.wire.samples import embedding

SECOND_NS = 10**9


def kept(policy: KeepPolicy, *, angles: list[float], actions: list[Action] | None = None) -> list[int]:
    """Numbers of the embeddings kept, one a second, each turned by an angle in degrees."""
    found = []
    for seq, angle in enumerate(angles):
        turned = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))], np.float32)
        one = embedding(
            seq,
            vector=turned,
            publish_time_ns=seq * SECOND_NS,
            action=actions[seq] if actions else "sparse",
        )
        if policy.wants(one):
            found.append(seq)
    return found


def test_novel_compares_with_the_last_one_kept() -> None:
    policy = KeepPolicy("novel", novelty=1 - float(np.cos(np.radians(10))), at_least_every_seconds=0)
    # a slow drift is noticed although no two neighbours differ much
    assert kept(policy, angles=[0, 4, 8, 12, 16, 20, 24]) == [0, 3, 6]


@pytest.mark.parametrize(
    ("keep", "expected"),
    [("all", [0, 1, 2, 3]), ("changed", [0, 1, 3]), ("keyframe", [0, 3]), ("dense", [0, 3])],
)
def test_by_action(keep: Keep, expected: list[int]) -> None:
    policy = KeepPolicy(keep, at_least_every_seconds=0)
    assert kept(policy, angles=[0] * 4, actions=["dense", "sparse", "skip", "dense"]) == expected


def test_keyframes_that_only_checked_the_state_count_as_keyframes() -> None:
    policy = KeepPolicy("keyframe", at_least_every_seconds=0)
    reasons = ["cut", "change", "keyframe", "quiet"]
    found = [policy.wants(embedding(seq, reason=reason)) for seq, reason in enumerate(reasons)]
    assert found == [True, False, True, False]


def test_a_quiet_stream_leaves_a_trace() -> None:
    assert kept(KeepPolicy("novel", at_least_every_seconds=3), angles=[0] * 8) == [0, 3, 6]


def test_streams_and_models_are_apart() -> None:
    policy = KeepPolicy("novel")
    assert policy.wants(embedding(0))
    assert policy.wants(embedding(0, stream_id="yard"))
    assert not policy.wants(embedding(0))
    assert policy.wants(embedding(0, model_digest="f" * 16))
    assert not policy.wants(embedding(0, kind="tokens", vector=np.zeros((15, 8), np.float32)))
    policy.forget("yard")
    assert policy.wants(embedding(0, stream_id="yard"))


@pytest.mark.parametrize(("off_seconds", "trusted"), [(-30, True), (-86400 * 365, False), (86400, False)])
def test_a_camera_clock_is_trusted_within_reason(off_seconds: int, trusted: bool) -> None:
    published = 1_790_000_000 * SECOND_NS
    captured = published + off_seconds * SECOND_NS
    one = Moment.of(embedding(0, publish_time_ns=published, capture_time_ns=captured))
    assert one.time_ns == (captured if trusted else published)
