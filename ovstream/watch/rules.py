"""One rule: when its score has been high for long enough, and when it has been low again."""

from __future__ import annotations

from dataclasses import dataclass

from ovstream.config import RuleConfig


@dataclass(frozen=True, slots=True)
class RuleEvent:
    """The start or the end of what a rule waits for.

    Attributes:
        rule: Its name.
        when: "motion", "unusual", "silent" or "health".
        zone: Name of the zone; None for the whole picture.
        started: False at the end.
        score: What the rule looked at, now.
        seconds: At the end: since the start; else 0.
    """

    rule: str
    when: str
    zone: str | None
    started: bool
    score: float
    seconds: float = 0.0

    def __str__(self) -> str:
        where = f" in '{self.zone}'" if self.zone else ""
        if self.started:
            return f"{self.rule}: start: {self.when} {self.score:.2f}{where}"
        return f"{self.rule}: end: {self.when}{where} after {self.seconds:.1f} s"


class RuleState:
    """Hysteresis of one rule, by thresholds and by time.

    Args:
        config: Of the rule.
    """

    def __init__(self, config: RuleConfig) -> None:
        self.config = config
        self._since: float | None = None  # when the score crossed towards the other state
        self._started_at: float | None = None
        self._seen_at = 0.0

    @property
    def active(self) -> bool:
        """Whether the event is going on."""
        return self._started_at is not None

    def update(self, score: float, now: float) -> RuleEvent | None:
        """Looks at a score.

        Args:
            score: In the unit of the rule.
            now: Seconds, of a clock that does not jump.

        Returns:
            An event when one starts or ends.
        """
        config, self._seen_at = self.config, now
        crossed = score < config.ends_below if self.active else score >= config.above
        if not crossed:
            self._since = None
            return None
        if self._since is None:
            self._since = now
        patience = config.quiet_seconds if self.active else config.for_seconds
        if now - self._since < patience:
            return None
        started = not self.active
        lasted = 0.0 if self._started_at is None else self._since - self._started_at
        self._started_at = now if started else None
        self._since = None
        return RuleEvent(config.name, config.when, config.zone, started, score, lasted)

    def finish(self) -> RuleEvent | None:
        """Ends the event that is going on, if one is."""
        started, self._started_at, self._since = self._started_at, None, None
        if started is None:
            return None
        config = self.config
        return RuleEvent(config.name, config.when, config.zone, False, 0.0, self._seen_at - started)
