"""Who does less when the box is full: pure, called once a second."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ovstream.config import LoadConfig
from ovstream.pipeline import Effort

LEVELS = (Effort(), Effort(every=2, budget=0.5), Effort(every=4, budget=0.25), Effort(every=8, budget=0.125))
_STEP_SECONDS = 2.0  # a step down needs time to show


@dataclass(frozen=True, slots=True)
class Demand:
    """What one stream asks of the box, over the last second.

    Attributes:
        priority: 0 to 9; lower ones degrade first.
        cpu: Cores that it used.
        latency_seconds: 9th decile, from arrival to embedding; None without a picture.
        dropped: Units left out because they came too late.
    """

    priority: int
    cpu: float
    latency_seconds: float | None
    dropped: int = 0


class LoadPolicy:
    """Gives every stream a level of `LEVELS`: 0 is the full effort.

    While pictures are late, or the process takes too many cores, one stream goes one level down every two seconds: of
    those with the lowest priority that can still go, the one at the highest effort, and among equals the one that
    costs most. So streams of the same priority are never more than one level apart, and no stream degrades while
    one of lower priority could. After `recover_seconds` of calm the most degraded of the highest priority goes one up.

    Args:
        config: Thresholds.
    """

    def __init__(self, config: LoadConfig) -> None:
        self._config = config
        self._levels: dict[str, int] = {}
        self._last_step = float("-inf")
        self._calm_since: float | None = None
        self._patience = 1.0
        self._last_up = float("-inf")

    @property
    def config(self) -> LoadConfig:
        """The thresholds now in force."""
        return self._config

    def reconfigure(self, config: LoadConfig) -> None:
        """Goes on under other thresholds, from the levels that are."""
        self._config = config

    def level(self, stream_id: str) -> int:
        """Of one stream."""
        return self._levels.get(stream_id, 0)

    def forget(self, stream_id: str) -> None:
        """Drops what is known of a stream that is gone."""
        self._levels.pop(stream_id, None)

    @property
    def degraded(self) -> int:
        """Streams below the full effort."""
        return sum(level > 0 for level in self._levels.values())

    def full(self, demands: Mapping[str, Demand], cpu_share: float) -> str | None:
        """Says why the box is full; None when it is not."""
        if cpu_share > self._config.max_cpu:
            return f"{cpu_share:.0%} of all cores are in use"
        late = [
            name
            for name, demand in demands.items()
            if demand.dropped or (demand.latency_seconds or 0) > self._config.max_latency_seconds
        ]
        return f"pictures of {len(late)} streams are late" if late else None

    def step(
        self, demands: Mapping[str, Demand], *, cpu_share: float, now: float
    ) -> tuple[str, int, str] | None:
        """Decides once.

        Args:
            demands: By stream; streams that are not running are not among them.
            cpu_share: Of all cores, used by this process.
            now: Seconds, monotonic.

        Returns:
            (stream, new level, reason) when one stream changes its level.
        """
        reason = self.full(demands, cpu_share)
        if reason is not None:
            self._calm_since = None
            return self._down(demands, reason, now)
        if self._calm_since is None:
            self._calm_since = now
        if now - self._calm_since < self._config.recover_seconds * self._patience:
            return None
        return self._up(demands, cpu_share, now)

    def _down(self, demands: Mapping[str, Demand], reason: str, now: float) -> tuple[str, int, str] | None:
        if now - self._last_step < _STEP_SECONDS:
            return None
        able = [name for name in demands if self.level(name) < len(LEVELS) - 1]
        if not able:
            return None
        chosen = min(able, key=lambda name: (demands[name].priority, self.level(name), -demands[name].cpu))
        self._last_step = now
        self._patience = min(self._patience * 2, 8.0) if self._recovered_lately(now) else 1.0
        return self._set(chosen, self.level(chosen) + 1, reason)

    def _up(self, demands: Mapping[str, Demand], cpu_share: float, now: float) -> tuple[str, int, str] | None:
        degraded = [name for name in demands if self.level(name)]
        if not degraded or cpu_share > 0.8 * self._config.max_cpu:
            return None
        chosen = max(
            degraded, key=lambda name: (demands[name].priority, self.level(name), -demands[name].cpu)
        )
        self._calm_since = now
        self._last_up = now
        return self._set(chosen, self.level(chosen) - 1, "there is room again")

    def _recovered_lately(self, now: float) -> bool:
        """A step up that had to be taken back: the next one waits longer, so that levels do not swing."""
        return now - self._last_up < 3 * self._config.recover_seconds

    def _set(self, name: str, level: int, reason: str) -> tuple[str, int, str]:
        self._levels[name] = level
        return name, level, reason
