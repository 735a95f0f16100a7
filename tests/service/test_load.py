"""The load policy alone, and against a model of a full box; time is passed in."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import pytest

from ovstream.config import LoadConfig
from ovstream.service.levels import LEVELS, describe
from ovstream.service.load import Demand, LoadPolicy
from ovstream.service.recovery import Recovery

LIMIT = 0.5


def demand(priority: int = 5, *, cpu: float = 0.1, **more: float) -> Demand:
    return Demand(priority, cpu=cpu, decode_cpu=0.3 * cpu, encode_cpu=0.5 * cpu, **more)  # type: ignore[arg-type]


def late(priority: int = 5, *, cpu: float = 0.1) -> Demand:
    return demand(priority, cpu=cpu, latency_seconds=2.0, growth=0.5)


def fine(priority: int = 5, *, cpu: float = 0.1) -> Demand:
    return demand(priority, cpu=cpu, latency_seconds=0.05)


def settle(policy: LoadPolicy, demands: dict[str, Demand], *, seconds: range, cpu: float = 0.5) -> list[str]:
    """Names in the order in which they changed."""
    steps = [policy.step(demands, cpu_share=cpu, cores=2, now=float(now)) for now in seconds]
    return [change.stream_id for step in steps for change in step]


def test_lower_priorities_degrade_first_and_equals_together() -> None:
    policy = LoadPolicy(LoadConfig())
    demands = {"low1": late(1), "low2": late(1), "high": late(9)}
    while policy.level("high") == 0:
        policy.step(demands, cpu_share=0.6, cores=2, now=0.0)
        levels = [policy.level(name) for name in ("low1", "low2")]
        assert max(levels) - min(levels) <= 1
        assert policy.level("high") == 0 or levels == [3, 3]
    assert policy.degraded == 3


def test_a_little_too_much_costs_little_and_much_is_answered_at_once() -> None:
    names = [f"s{number}" for number in range(16)]
    slightly = LoadPolicy(LoadConfig())
    slightly.step({name: fine() for name in names}, cpu_share=0.93, cores=2, now=0.0)
    assert slightly.degraded in (1, 2, 3)
    much = LoadPolicy(LoadConfig())
    much.step({name: late() for name in names}, cpu_share=0.93, cores=2, now=0.0)
    assert much.degraded == 16
    assert much.overload > 0.5


def test_a_stream_that_is_late_but_catches_up_is_left_alone() -> None:
    policy = LoadPolicy(LoadConfig())
    catching_up = demand(latency_seconds=1.0, growth=-0.4)
    assert policy.step({"one": catching_up}, cpu_share=0.5, cores=2, now=0.0) == []


def test_what_gets_late_is_met_before_it_is() -> None:
    policy = LoadPolicy(LoadConfig())
    on_its_way = demand(latency_seconds=0.35, growth=0.3)
    assert policy.step({"one": on_its_way}, cpu_share=0.5, cores=2, now=0.0)


def test_a_stream_whose_own_thread_is_full_degrades_alone() -> None:
    policy = LoadPolicy(LoadConfig())
    demands = {"giant": late(9, cpu=0.95), "small": fine(0)}
    (change,) = policy.step(demands, cpu_share=0.5, cores=4, now=0.0)
    assert (change.stream_id, change.level) == ("giant", 1)
    assert "own thread" in change.reason


def test_recovery_waits_for_calm_and_begins_at_the_top() -> None:
    policy = LoadPolicy(LoadConfig(recover_seconds=10))
    settle(policy, {"low": late(1), "high": late(9)}, seconds=range(10))
    assert (policy.level("low"), policy.level("high")) == (3, 3)
    calm = {"low": fine(1), "high": fine(9)}
    assert settle(policy, calm, seconds=range(10, 20), cpu=0.2) == []
    ups = settle(policy, calm, seconds=range(20, 200), cpu=0.2)
    assert ups == sorted(ups), "the high one first"
    assert policy.degraded == 0


def test_there_must_be_room_for_a_step_up() -> None:
    policy = LoadPolicy(LoadConfig(max_cpu=0.8))
    settle(policy, {"one": fine(cpu=0.5)}, seconds=range(1), cpu=0.95)
    assert policy.level("one") == 1
    assert settle(policy, {"one": fine(cpu=0.5)}, seconds=range(1, 100), cpu=0.77) == []
    assert settle(policy, {"one": fine(cpu=0.5)}, seconds=range(100, 200), cpu=0.7) == ["one"]


def test_a_step_up_that_failed_makes_the_next_one_wait_longer() -> None:
    policy = LoadPolicy(LoadConfig(recover_seconds=10))
    ups = []
    for now in range(600):
        before = policy.level("one")
        now_late = before == 0  # the box holds the stream at level 1, never at 0
        policy.step({"one": late() if now_late else fine()}, cpu_share=0.2, cores=2, now=float(now))
        if policy.level("one") < before and policy.level("one") == 0:
            ups.append(now)
    assert len(ups) < 12


def test_levels_only_ever_save_more() -> None:
    budget = [level.budget for level in LEVELS]
    assert budget == sorted(budget, reverse=True)
    assert [level.every for level in LEVELS] == [1, 2, 4, 0]
    assert (describe(0), describe(3)) == (
        "full effort again",
        "looks at keyframes only, with 1/8 of its budget",
    )


@dataclass
class Box:
    """A box whose streams share its cores: work that does not fit waits, first come, first served.

    Attributes:
        cores: What it has.
        priorities: By stream.
        fixed: Cores that a stream takes at any level.
        decode: Cores for decoding, spared at the last level.
        encode: Cores for encoding, halved by each level.
    """

    cores: float
    priorities: dict[str, int]
    fixed: float
    decode: float
    encode: float
    now: float = 0.0
    used: float = 0.0  # share of the cores, in the last second
    waiting: dict[str, float] = field(default_factory=dict)  # seconds of pictures
    latency: dict[str, float] = field(default_factory=dict)

    def second(self, policy: LoadPolicy) -> None:
        """Lets a second pass and the policy look at it."""
        cost = {name: self.cost(policy.level(name)) for name in self.priorities}
        wanted = {
            name: (1 + self.waiting.get(name, 0.0)) * sum(parts) for name, parts in cost.items()
        }  # all that is there
        share = min(1.0, self.cores / sum(wanted.values()))
        demands = {}
        for name, parts in cost.items():
            left = (1 + self.waiting.get(name, 0.0)) * (1 - share)
            self.waiting[name] = left
            now = 0.03 + left
            growth = now - self.latency.get(name, now)
            self.latency[name] = now
            done = share * wanted[name] / sum(parts)
            fixed, decode, encode = (done * one for one in parts)
            demands[name] = Demand(
                self.priorities[name], fixed + decode + encode, decode, encode, now, growth, dropped=0
            )
        self.used = sum(one.cpu for one in demands.values()) / self.cores
        policy.step(demands, cpu_share=self.used, cores=self.cores, now=self.now)
        self.now += 1

    def cost(self, level: int) -> tuple[float, float, float]:
        return self.fixed, self.decode * (level < 3), self.encode / 2**level


@pytest.mark.parametrize("times", [1.2, 1.7, 2.5])
def test_latency_never_builds_up_and_priorities_hold(times: float) -> None:
    """A box that gets `times` its capacity from one second to the next, and later half of it."""
    policy = LoadPolicy(LoadConfig(recover_seconds=10))
    priorities = {f"p{priority}-{number}": priority for priority in (2, 5, 8) for number in range(5)}
    one = times * 2.0 / len(priorities)
    box = Box(2.0, priorities, fixed=0.2 * one, decode=0.3 * one, encode=0.5 * one)
    worst = []
    for _ in range(60):
        box.second(policy)
        worst.append(max(box.latency.values()))
        assert _fair(policy, priorities)
    assert max(worst) < 1.5, worst
    assert sum(one > LIMIT for one in worst) <= 6, worst
    assert max(worst[15:]) < 0.1, worst
    degraded = policy.degraded
    assert degraded
    if times < 1.5:
        assert policy.level("p8-0") == 0, "the highest priority need not yield"
    for part in ("fixed", "decode", "encode"):
        setattr(box, part, getattr(box, part) / (2 * times))
    for _ in range(240):
        box.second(policy)
        assert _fair(policy, priorities)
        assert max(box.latency.values()) < LIMIT
    assert policy.degraded == 0


@pytest.mark.parametrize("times", [1.05, 1.3, 1.7, 2.2])
def test_what_is_free_is_used_and_trying_hurts_nobody(times: float) -> None:
    """Under a load that stays: no swinging, nobody late, and hardly a core idle while streams are degraded."""
    policy = LoadPolicy(LoadConfig(recover_seconds=10))
    priorities = {f"s{number:02}": 5 for number in range(16)}
    one = times * 2.0 / len(priorities)
    box = Box(2.0, priorities, fixed=0.2 * one, decode=0.3 * one, encode=0.5 * one)
    used, changes, worst = [], 0, 0.0
    for second in range(900):
        before = {name: policy.level(name) for name in priorities}
        box.second(policy)
        if second >= 300:
            used.append(box.used)
            worst = max(worst, *box.latency.values())
            changes += sum(policy.level(name) != level for name, level in before.items())
        assert _fair(policy, priorities)
    step = max(sum(box.cost(level)) - sum(box.cost(level + 1)) for level in range(3)) / 2.0
    assert 0.85 - step < sum(used) / len(used) <= 0.9, (used[::20], policy.degraded)
    assert worst < 0.2
    assert changes < 60


def test_a_bad_moment_is_soon_made_up_for() -> None:
    """A stall that has nothing to do with the load: everything falls at once, and is back within a minute."""
    policy = LoadPolicy(LoadConfig(recover_seconds=10))
    names = [f"s{number}" for number in range(16)]
    settle(policy, {name: late() for name in names}, seconds=range(3))
    assert policy.degraded == 16
    calm = {name: fine(cpu=0.02) for name in names}
    settle(policy, calm, seconds=range(3, 60), cpu=0.4)
    assert policy.degraded == 0


def test_who_comes_to_a_full_box_begins_where_the_others_are() -> None:
    policy = LoadPolicy(LoadConfig())
    demands = {"a": fine(5), "b": fine(5), "high": fine(9)}
    settle(policy, demands, seconds=range(2), cpu=0.91)
    assert [policy.level(name) for name in demands] == [1, 1, 0]
    demands |= {"new": fine(5), "low": fine(1), "top": fine(9)}
    changes = policy.step(demands, cpu_share=0.6, cores=2, now=1.0)
    assert {one.stream_id: one.level for one in changes} == {"new": 1, "low": 3}
    assert changes[0].reason == "as others of its priority"
    policy.forget("new")
    assert policy.level("new") == 0


def test_a_stream_that_nothing_can_help_does_not_keep_the_others_down() -> None:
    policy = LoadPolicy(LoadConfig(recover_seconds=10))
    demands = {"giant": late(5, cpu=0.95), "small": late(5)}
    settle(policy, demands, seconds=range(10), cpu=0.95)
    assert (policy.level("giant"), policy.level("small")) == (3, 3)
    demands["small"] = fine(5, cpu=0.01)
    settle(policy, demands, seconds=range(10, 120), cpu=0.5)
    assert (policy.level("giant"), policy.level("small")) == (3, 0)


def test_trials_grow_while_they_last_and_shrink_when_they_fail() -> None:
    recovery, now, sizes = Recovery(), 0.0, []
    while len(sizes) < 4:
        if steps := recovery.calm(now=now, seconds=10):
            sizes.append(steps)
            recovery.tried(["s"] * steps, now=now)
        now += 1
    assert sizes == [1, 2, 4, 8]
    assert now == 41
    waits = []
    for _ in range(5):
        assert recovery.trouble(now=now, seconds=10)
        assert recovery.trouble(now=now + 1, seconds=10) == (), "taken back once"
        tried = now = now + 1
        while not (steps := recovery.calm(now=now, seconds=10)):
            now += 1
        assert steps == 1
        waits.append(now - tried)
        recovery.tried("s", now=now)
    assert waits == [20, 40, 80, 80, 80]


def _fair(policy: LoadPolicy, priorities: dict[str, int]) -> bool:
    """No stream does less while one of lower priority could; equals are one level apart at most."""
    levels: dict[int, list[int]] = {}
    for name, priority in priorities.items():
        levels.setdefault(priority, []).append(policy.level(name))
    ordered = [levels[priority] for priority in sorted(levels)]
    equal = all(max(one) - min(one) <= 1 for one in ordered)
    return equal and all(min(lower) == 3 or max(higher) == 0 for lower, higher in itertools.pairwise(ordered))
