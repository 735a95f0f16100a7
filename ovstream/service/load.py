"""Who does less when the box is full: pure, called once a second."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ovstream.config import LoadConfig
from ovstream.pipeline import Effort

LEVELS = (
    Effort(),
    Effort(every=2, budget=0.5),
    Effort(every=4, budget=0.25, read=2),
    # all that can be saved: then pictures give way, not delay
    Effort(every=0, budget=0.125, read=4),
)
_LAST = len(LEVELS) - 1
_HORIZON_SECONDS = 2.0  # in which what is late should be made up for
_LONGEST_LATENCY_SECONDS = 3.0  # more says nothing new: older pictures are dropped
_OWN_CORE = 0.85  # of a core: a stream, which is one thread, can hardly use more
_ROOM = 0.8  # of `max_cpu` that steps up may fill
_WORST_PATIENCE = 8.0


@dataclass(frozen=True, slots=True)
class Demand:
    """What one stream asks of the box, over the last second.

    Attributes:
        priority: 0 to 9; lower ones degrade first.
        cpu: Cores that it used.
        decode_cpu: Of these, for decoding: spared where only keyframes are looked at.
        encode_cpu: Of these, for cutting and encoding: halved by each level.
        latency_seconds: 9th decile, from arrival to embedding; None without a picture.
        growth: Seconds by which pictures got later since the second before.
        dropped: Units left out because they came too late.
        group: Streams that share a process, and so its interpreter.
    """

    priority: int
    cpu: float
    decode_cpu: float = 0.0
    encode_cpu: float = 0.0
    latency_seconds: float | None = None
    growth: float = 0.0
    dropped: int = 0
    group: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """One stream's new level, and why."""

    stream_id: str
    level: int
    reason: str


class LoadPolicy:
    """Gives every stream a level of `LEVELS`: 0 is the full effort.

    Down is quick. Each second the share of the work is measured that is too much: how fast pictures get later, how
    late they are, how far the processors are above their limit. As many steps are taken at once as save that share:
    of the lowest priority first, equals in turns, so that streams of one priority are never more than one level apart
    and no stream degrades while one of lower priority could. Where streams are late while the box has room, their
    process is full (its interpreter runs one thread at a time), and that holds among its own streams alone. A stream that is late because its own thread is full,
    while the box has room, degrades alone.

    Up is slow: after `recover_seconds` of calm as many steps as fit into half of the room that is free, the highest
    priority first. A step up that has to be taken back makes the next wait twice as long.

    Args:
        config: Thresholds.

    Attributes:
        overload: Share of the work that was too much in the last second, 0 to 1.
    """

    def __init__(self, config: LoadConfig) -> None:
        self._config = config
        self._saved: dict[
            str, list[float]
        ] = {}  # cores that each step down was to save; as many as the level
        self._calm_since: float | None = None
        self._patience = 1.0
        self._last_up = float("-inf")
        self.overload = 0.0

    @property
    def config(self) -> LoadConfig:
        """The thresholds now in force."""
        return self._config

    def reconfigure(self, config: LoadConfig) -> None:
        """Goes on under other thresholds, from the levels that are."""
        self._config = config

    def level(self, stream_id: str) -> int:
        """Of one stream."""
        return len(self._saved.get(stream_id, ()))

    def forget(self, stream_id: str) -> None:
        """Drops what is known of a stream that is gone."""
        self._saved.pop(stream_id, None)

    @property
    def degraded(self) -> int:
        """Streams below the full effort."""
        return sum(bool(saved) for saved in self._saved.values())

    def step(
        self, demands: Mapping[str, Demand], *, cpu_share: float, cores: float, now: float
    ) -> list[Change]:
        """Decides once.

        Args:
            demands: By stream; streams that are not running are not among them.
            cpu_share: Of all cores, used by this process.
            cores: That this process may use.
            now: Seconds, monotonic.

        Returns:
            What changes; none when all is well.
        """
        most = self._config.max_cpu
        busy = max(0.0, 1 - most / cpu_share) if cpu_share else 0.0
        late = {name: excess for name, one in demands.items() if (excess := self._excess(one)) > 0}
        self.overload = max(busy, _shared(demands, late))
        before = {name: self.level(name) for name in demands}
        if not late and not busy:
            self._up(demands, room=(_ROOM * most - cpu_share) * cores, now=now)
            return self._changed(before, "there is room again")
        self._calm_since = None
        alone = {name for name in late if demands[name].cpu > _OWN_CORE and cpu_share < _ROOM * most}
        for name in alone:
            self._lower(name, demands[name], measured_at=before[name])
        changes = self._changed(before, "its own thread is full")
        if busy or late.keys() - alone:
            between = {name: self.level(name) for name in demands}
            # while the box has room a process can only be helped by its own streams: its interpreter is full
            full = {demands[name].group for name in late.keys() - alone}
            within = {name: one for name, one in demands.items() if busy or one.group in full}
            self._down(within, too_much=self.overload if busy else _shared(within, late))
            reason = (
                f"pictures are late in {len(late)} of {len(demands)} streams"
                if late
                else f"{cpu_share:.0%} of all cores are in use"
            )
            changes += self._changed(between, reason)
        if changes:
            again = now - self._last_up < 3 * self._config.recover_seconds  # a step up was one too many
            self._patience = min(2 * self._patience, _WORST_PATIENCE) if again else 1.0
        return changes

    def _excess(self, demand: Demand) -> float:
        """Share of one stream's work that is too much; 0 while it keeps up, or is late but catching up."""
        limit = self._config.max_latency_seconds
        beyond = min(demand.latency_seconds or 0.0, _LONGEST_LATENCY_SECONDS) - limit
        if demand.dropped and demand.growth >= 0:
            beyond = max(beyond, limit)
        if beyond + demand.growth <= 0:  # neither late nor about to be
            return 0.0
        return min(max(demand.growth + beyond / _HORIZON_SECONDS, 0.0), 1.0)

    def _down(self, demands: Mapping[str, Demand], *, too_much: float) -> None:
        """Takes steps until what they promise to save is what is too much; at least one."""
        wanted = too_much * sum(one.cpu for one in demands.values())
        measured = {name: self.level(name) for name in demands}
        while able := [name for name in demands if self.level(name) < _LAST]:
            chosen = min(
                able, key=lambda name: (demands[name].priority, self.level(name), -demands[name].cpu, name)
            )
            wanted -= self._lower(chosen, demands[chosen], measured_at=measured[chosen])
            if wanted <= 0:
                return

    def _lower(self, name: str, demand: Demand, *, measured_at: int) -> float:
        """Takes one step down, where there is one, and tells how many cores it promises to save."""
        level = self.level(name)
        if level == _LAST:
            return 0.0
        encode = demand.encode_cpu * 0.5 ** (level - measured_at)
        saves = encode + demand.decode_cpu if level == _LAST - 1 else encode / 2
        self._saved.setdefault(name, []).append(saves)
        return saves

    def _up(self, demands: Mapping[str, Demand], *, room: float, now: float) -> None:
        """Takes steps back once the calm has lasted, while half of the room is not filled by what they will cost."""
        if self._calm_since is None:
            self._calm_since = now
        degraded = [name for name in demands if self.level(name)]
        if not degraded or now - self._calm_since < self._config.recover_seconds * self._patience:
            return
        self._calm_since, left = now, room / 2
        first = max(demands[name].priority for name in degraded)  # the others wait until these are well
        chosen = [name for name in degraded if demands[name].priority == first]
        for name in sorted(chosen, key=lambda one: (-self.level(one), one)):
            left -= max(self._saved[name][-1], demands[name].encode_cpu)
            if left <= 0:
                return
            self._saved[name].pop()
            self._last_up = now

    def _changed(self, before: Mapping[str, int], reason: str) -> list[Change]:
        return [
            Change(name, self.level(name), reason)
            for name, level in before.items()
            if self.level(name) != level
        ]


def describe(level: int) -> str:
    """What a level means, for people."""
    if not level:
        return "full effort again"
    effort = LEVELS[level]
    looks = f"1 of {effort.every} pictures" if effort.every else "keyframes only"
    return f"looks at {looks}, with 1/{round(1 / effort.budget)} of its budget"


def _shared(demands: Mapping[str, Demand], late: Mapping[str, float]) -> float:
    """Share of all work that is too much: what the streams say, weighed by what they cost."""
    total = sum(one.cpu for one in demands.values())
    return sum(demands[name].cpu * excess for name, excess in late.items()) / total if total else 0.0
