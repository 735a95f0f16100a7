"""Once a second: what every stream asks of the box, and what the load policy makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ovstream.pipeline import Latency
from ovstream.service.costs import Costs
from ovstream.service.load import Demand, LoadPolicy
from ovstream.service.timeline import STAGES
from ovstream.service.usage import CpuMeter, available_cores
from ovstream.service.watched import Watched

Tell = Callable[[str, str, str], None]


class Balance:
    """Measures, asks the policy, and tells the streams.

    Args:
        policy: Decides.
        tell: Is told when the box begins or ceases to be full.
        costs: Learns what streams cost.

    Attributes:
        policy: As given.
        cpu_share: Of all cores, used by all processes of the service.
    """

    def __init__(self, policy: LoadPolicy, tell: Tell, costs: Costs) -> None:
        self.policy = policy
        self.cpu_share = 0.0
        self._tell = tell
        self._costs = costs
        self._meter = CpuMeter()

    def step(
        self,
        cameras: Mapping[str, Watched],
        groups: Mapping[str, int],
        *,
        pids: list[int],
        now: float,
    ) -> None:
        """Looks once.

        Args:
            cameras: All streams.
            groups: Number of the worker that a stream is in; those of this process are missing.
            pids: Processes of the workers.
            now: Monotonic seconds.
        """
        cores = available_cores()
        self.cpu_share = self._meter.measure(now, pids) / cores
        demands = {
            name: demand_of(camera, group=groups.get(name, 0))
            for name, camera in cameras.items()
            if camera.state == "live"
        }
        self._costs.note({name: one.cpu for name, one in demands.items()})
        before = self.policy.degraded
        for change in self.policy.step(demands, cpu_share=self.cpu_share, cores=cores, now=now):
            cameras[change.stream_id].ease(change.level, change.reason)
        if bool(before) != bool(self.policy.degraded):
            full = f"the box is full, {self.policy.overload:.0%} too much to do: streams do less by priority"
            self._tell("", "load", full if self.policy.degraded else "all streams are at full effort again")


def demand_of(camera: Watched, *, group: int = 0) -> Demand:
    """What a stream asked of the box in its last second."""
    priority = camera.config.supervise.priority
    window = camera.timeline.window(2)
    if not window:
        return Demand(priority, cpu=0.0, group=group)
    last = window[-1]
    cpu = dict(zip(STAGES, last.cpu, strict=True))
    means = [one.latency for one in window if one.latency is not None]
    return Demand(
        priority=priority,
        cpu=sum(last.cpu),
        decode_cpu=cpu["decode"],
        encode_cpu=cpu["crop"] + cpu["encode"],
        latency_seconds=Latency(list(last.latencies)).quantile(0.9),
        growth=means[-1] - means[0] if len(means) == 2 else 0.0,
        dropped=last.dropped,
        group=group,
    )
