"""Who does less when the box is full: pure, called once a second."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ovstream.config import LoadConfig
from ovstream.service.levels import LAST
from ovstream.service.recovery import Recovery

_HORIZON_SECONDS = 2.0  # in which what is late should be made up for
_LONGEST_LATENCY_SECONDS = 3.0  # more says nothing new: older pictures are dropped
_OWN_CORE = 0.85  # of a core: a stream, which is one thread, can hardly use more
_SPARE = 0.8  # of `max_cpu`: below it who is late is not so because the box is full
_ROOM = 0.95  # of `max_cpu`, that steps up may fill
_BARRED = 8.0  # calm waits, in which a stream whose own thread was full is not tried again
_NEWS = 0.3  # weight of the last second in what a stream is known to cost


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
    process is full (its interpreter runs one thread at a time), and that holds among its own streams alone. A stream
    that is late because its own thread is full, while the box has room, degrades alone.

    Up is careful: after `recover_seconds` of calm some steps are tried, the highest priority first, as far as half of
    the free room seems to reach, one at least where there is any; see `Recovery`. Where trouble follows, these are taken
    back before anything else is. Streams that come begin where others of their priority are.

    Args:
        config: Thresholds.

    Attributes:
        overload: Share of the work that was too much in the last second, 0 to 1.
    """

    def __init__(self, config: LoadConfig) -> None:
        self._config = config
        self._saved: dict[str, list[float]] = {}  # cores that each step down saves; as many as the level
        self._costs: dict[str, tuple[float, float]] = {}  # cores for decoding and for encoding, smoothed
        self._barred: dict[str, float] = {}  # from steps up, until when
        self._recovery = Recovery()
        self._eased = False  # a second ago, by taking a trial back
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
        self._costs.pop(stream_id, None)
        self._barred.pop(stream_id, None)

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
        changes = self._learn(demands)
        most, seconds = self._config.max_cpu, self._config.recover_seconds
        busy = max(0.0, 1 - most / cpu_share) if cpu_share else 0.0
        late = {name: excess for name, one in demands.items() if (excess := self._excess(one)) > 0}
        self.overload = max(busy, _shared(demands, late))
        before = {name: self.level(name) for name in demands}
        alone = {
            name for name in late if demands[name].cpu > _OWN_CORE and cpu_share < _SPARE * most and not busy
        }
        for name in alone:
            self._lower(name)
            self._barred[name] = now + _BARRED * seconds
        changes += self._changed(before, "its own thread is full")
        before = {name: self.level(name) for name in demands}
        eased, self._eased = self._eased, False
        if not busy and not late.keys() - alone:
            steps = self._recovery.calm(now=now, seconds=seconds)
            if cpu_share < _ROOM * most:
                self._up(demands, steps=steps, room=(most - cpu_share) * cores, now=now)
            return changes + self._changed(before, "there is room again")
        trial = self._recovery.trouble(now=now, seconds=seconds)
        for name in trial:
            self._lower(name)
        if trial:
            self._eased = True
            return changes + self._changed(before, "the step up was one too many")
        if eased and self.overload < 1:  # that takes a second to show
            return changes
        # while the box has room a process can only be helped by its own streams: its interpreter is full
        full = {demands[name].group for name in late.keys() - alone}
        within = {name: one for name, one in demands.items() if busy or one.group in full}
        self._recovery.fell(self._down(within, too_much=self.overload if busy else _shared(within, late)))
        reason = (
            f"pictures are late in {len(late)} of {len(demands)} streams"
            if late
            else f"{cpu_share:.0%} of all cores are in use"
        )
        return changes + self._changed(before, reason)

    def _learn(self, demands: Mapping[str, Demand]) -> list[Change]:
        """Notes what streams cost; those that are new begin where their like are."""
        known = [name for name in demands if name in self._costs]
        changes = []
        for name, one in demands.items():
            if name not in self._costs:
                self._costs[name] = one.decode_cpu, one.encode_cpu
                like = [self.level(other) for other in known if demands[other].priority == one.priority]
                above = any(self.level(other) for other in known if demands[other].priority > one.priority)
                for _ in range(LAST if above else min(like, default=0)):
                    self._lower(name)
                if self.level(name):
                    changes.append(Change(name, self.level(name), "as others of its priority"))
            decode, encode = self._costs[name]
            self._costs[name] = (
                decode + _NEWS * (one.decode_cpu - decode),
                encode + _NEWS * (one.encode_cpu - encode),
            )
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

    def _down(self, demands: Mapping[str, Demand], *, too_much: float) -> int:
        """Takes steps until what they promise to save is what is too much, one at least; tells how many."""
        wanted = too_much * sum(one.cpu for one in demands.values())
        measured = {name: self.level(name) for name in demands}
        steps = 0
        while able := [name for name in demands if self.level(name) < LAST]:
            chosen = min(
                able, key=lambda name: (demands[name].priority, self.level(name), -demands[name].cpu, name)
            )
            wanted -= self._lower(chosen, measured_at=measured[chosen])
            steps += 1
            if wanted <= 0:
                break
        return steps

    def _lower(self, name: str, *, measured_at: int | None = None) -> float:
        """Takes one step down, where there is one, and tells how many cores it promises to save."""
        level = self.level(name)
        if level == LAST or name not in self._costs:
            return 0.0
        decode, encode = self._costs[name]
        encode *= 0.5 ** (level - measured_at) if measured_at is not None else 1.0
        saves = encode + decode if level == LAST - 1 else encode / 2
        self._saved.setdefault(name, []).append(saves)
        return saves

    def _up(self, demands: Mapping[str, Demand], *, steps: int, room: float, now: float) -> None:
        """Tries steps up, while half of the room is not filled by what they seem to cost."""
        degraded = [name for name in demands if self.level(name) and self._barred.get(name, now) <= now]
        if not degraded or not steps:
            return
        first = max(demands[name].priority for name in degraded)  # the others wait until these are well
        chosen = [name for name in degraded if demands[name].priority == first]
        left = room / 2
        tried: list[str] = []
        while len(tried) < steps and (able := [name for name in chosen if self.level(name)]):
            name = min(able, key=lambda one: (-self.level(one), one))
            left -= max(self._saved[name][-1], self._costs[name][1])
            if left <= 0 and tried:
                break
            self._saved[name].pop()
            tried.append(name)
        self._recovery.tried(tried, now=now)

    def _changed(self, before: Mapping[str, int], reason: str) -> list[Change]:
        return [
            Change(name, self.level(name), reason)
            for name, level in before.items()
            if self.level(name) != level
        ]


def _shared(demands: Mapping[str, Demand], late: Mapping[str, float]) -> float:
    """Share of all work that is too much: what the streams say, weighed by what they cost."""
    total = sum(one.cpu for one in demands.values())
    return sum(demands[name].cpu * excess for name, excess in late.items()) / total if total else 0.0
