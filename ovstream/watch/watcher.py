"""Scores the zones of one stream, picture by picture, and asks its rules."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from ovstream.config import RuleConfig, WatchConfig
from ovstream.plan.regions import mostly_covered
from ovstream.types import BoolArray, FloatArray
from ovstream.watch.novelty import Novelty
from ovstream.watch.rules import RuleEvent, RuleState

WHOLE = ""
"""Name of the whole picture among the zones."""

_ACTIVITY_SECONDS = 0.5  # time constant of activity: a single noisy picture is not motion
_TOKENS_SECONDS = 1.0  # between readings of all tokens: a copy of the whole cache
_LONGEST_STEP_SECONDS = 30.0  # between two pictures of a slow camera; more is a jump of its clock
HAPPENED_SECONDS = 10.0
"""How long a turn of the camera, or a change of scene, counts as a condition for rules."""
_LEAST = 1e-3


@dataclass(frozen=True, slots=True)
class Scores:
    """What a picture scored, per zone; the whole picture is the zone `WHOLE`.

    Attributes:
        activity: Share of the zone's patches that change, 0..1, smoothed over half a second.
        novelty: Distance to the stream's own past, 1 = as unusual as the rarest twentieth of it.
    """

    activity: Mapping[str, float] = field(default_factory=dict)
    novelty: Mapping[str, float] = field(default_factory=dict)


class Watcher:
    """All zones and rules of one stream; no clock, thread or I/O.

    Args:
        config: Zones and rules.
    """

    def __init__(self, config: WatchConfig) -> None:
        self._config = config
        self._rules = [RuleState(rule) for rule in config.rules]
        self._zones: dict[str, BoolArray] = {}
        self._grid: tuple[int, int] | None = None
        self._activity: dict[str, float] = {}
        self._novelty = {WHOLE: 0.0}
        watched = {rule.zone for rule in config.rules if rule.when == "unusual" and rule.zone}
        self._meters = {name: self._meter() for name in (WHOLE, *sorted(watched))}
        self._last_seconds: float | None = None
        self._clock = 0.0
        self._tokens_at = -math.inf
        self._since: dict[str, float] = {}
        self._until: dict[str, float] = {}

    @property
    def active(self) -> tuple[str, ...]:
        """Names of the rules whose events are going on."""
        return tuple(rule.config.name for rule in self._rules if rule.active)

    def update(
        self,
        seconds: float,
        changed: BoolArray,
        *,
        scene: FloatArray | None = None,
        tokens: Callable[[], FloatArray] | None = None,
        conditions: Iterable[str] = (),
        happened: Iterable[str] = (),
    ) -> tuple[Scores, list[RuleEvent]]:
        """Takes one picture.

        Args:
            seconds: Presentation time, or a clock; jumps are taken as no time.
            changed: (rows, cols) bool, patches that changed.
            scene: (D,) float32, the embedding; None while nothing was encoded yet.
            tokens: Gives (rows * cols, D) float32; called once a second, and only for zones that need it.
            conditions: Of the camera, that hold now.
            happened: Conditions that lasted no time: they count as holding for `HAPPENED_SECONDS`.
        """
        step = self._advance(seconds)
        if changed.shape != self._grid:
            self._fit(changed.shape)
        keep = math.exp(-step / _ACTIVITY_SECONDS)
        for name, zone in self._zones.items():
            now = float(changed[zone].mean()) if zone.any() else 0.0
            self._activity[name] = keep * self._activity.get(name, 0.0) + (1 - keep) * now
        if scene is not None:
            self._novelty[WHOLE] = self._meters[WHOLE].score(scene, self._clock)
            self._look_into_zones(tokens)
        self._note_health(conditions, happened)
        return Scores(dict(self._activity), dict(self._novelty)), self._ask()

    def silent(self, seconds: float, now: float) -> list[RuleEvent]:
        """Tells how long no picture came, for rules about the camera; `now` is any steady clock."""
        found = (rule.update(seconds, now) for rule in self._rules if rule.config.when == "silent")
        return [event for event in found if event is not None]

    def finish(self) -> list[RuleEvent]:
        """Ends the events that are going on: nobody watches any more."""
        return [event for rule in self._rules if (event := rule.finish()) is not None]

    def _meter(self) -> Novelty:
        return Novelty(
            history_seconds=self._config.history_seconds, settle_seconds=self._config.settle_seconds
        )

    def _advance(self, seconds: float) -> float:
        last, self._last_seconds = self._last_seconds, seconds
        step = 0.0 if last is None else seconds - last
        step = step if 0 <= step <= _LONGEST_STEP_SECONDS else 0.0
        self._clock += step
        return step

    def _fit(self, shape: tuple[int, ...]) -> None:
        rows, cols = shape
        self._grid = rows, cols
        self._zones = {WHOLE: np.ones(self._grid, np.bool_)}
        self._zones |= {zone.name: mostly_covered(zone.polygon, self._grid) for zone in self._config.zones}

    def _look_into_zones(self, tokens: Callable[[], FloatArray] | None) -> None:
        if len(self._meters) == 1 or tokens is None or self._clock - self._tokens_at < _TOKENS_SECONDS:
            return
        self._tokens_at = self._clock
        values = tokens()
        for name, meter in self._meters.items():
            if name != WHOLE and self._zones[name].any():
                vector = values[self._zones[name].ravel()].mean(axis=0)
                self._novelty[name] = meter.score(vector, self._clock)

    def _note_health(self, conditions: Iterable[str], happened: Iterable[str]) -> None:
        """Keeps since when each condition holds; `_until` is where one that only happened stops to count."""
        self._until |= {name: self._clock + HAPPENED_SECONDS for name in happened}
        holding = {*conditions, *(name for name, end in self._until.items() if end > self._clock)}
        self._since = {name: self._since.get(name, self._clock) for name in holding}

    def _ask(self) -> list[RuleEvent]:
        found = [
            rule.update(self._score(rule.config), self._clock)
            for rule in self._rules
            if rule.config.when != "silent"
        ]
        return [event for event in found if event is not None]

    def _score(self, rule: RuleConfig) -> float:
        if rule.when == "health":
            lasted = [self._clock - self._since[name] for name in rule.conditions if name in self._since]
            return max(lasted, default=-_LEAST) + _LEAST  # from its first moment on more than nothing
        return (self._activity if rule.when == "motion" else self._novelty).get(rule.zone or WHOLE, 0.0)
