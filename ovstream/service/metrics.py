"""Prometheus metrics, made when they are asked for; documented in docs/operations.md.

The only label with values from outside is `stream`; there are at most `service.max_streams` of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from typing import Any, get_args

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from ovstream.pipeline import BOUNDS_SECONDS, DROP_REASONS
from ovstream.service.facts import Facts, State
from ovstream.service.supervisor import Supervisor
from ovstream.service.usage import resident_bytes
from ovstream.watch import WHOLE

CONTENT_TYPE = CONTENT_TYPE_LATEST
STATES: tuple[State, ...] = get_args(State)

# Counter of `StreamStats` -> name and meaning of the metric.
COUNTERS = {
    "units": ("ovstream_units", "Access units received"),
    "frames_parsed": ("ovstream_frames_parsed", "Pictures whose metadata was read without decoding"),
    "frames_fallback": ("ovstream_frames_fallback", "Pictures whose metadata needed a decoder"),
    "frames_decoded": ("ovstream_frames_decoded", "Pictures that the pixel decoder worked on"),
    "frames_encoded": ("ovstream_frames_encoded", "Pictures of which at least one patch was encoded"),
    "frames_dense": ("ovstream_frames_dense", "Pictures encoded whole"),
    "frames_unread": ("ovstream_frames_unread", "Pictures left unread on purpose: sampled, or dear to read"),
    "frames_damaged": ("ovstream_frames_damaged", "Planned pictures with pixels missing or made up"),
    "frames_deferred": (
        "ovstream_frames_deferred",
        "Pictures whose changes waited because they cost too much",
    ),
    "frames_skipped_for_load": (
        "ovstream_frames_skipped_for_load",
        "Pictures whose changes waited because the box was full",
    ),
    "patches_encoded": ("ovstream_patches_encoded", "Patches that went through the model"),
    "patches_total": ("ovstream_patches", "Patches of all pictures"),
    "embeddings": ("ovstream_embeddings", "Results delivered"),
    "source_lost": ("ovstream_source_lost", "Access units lost before they arrived"),
    "parse_errors": ("ovstream_parse_errors", "Pictures whose bits were damaged"),
    "decode_errors": ("ovstream_decode_errors", "Planned pictures that the decoder could not give"),
    "sink_errors": ("ovstream_sink_errors", "Results that a sink refused"),
    "reconnects": ("ovstream_reconnects", "Times the source had to connect again"),
    "audits": ("ovstream_audits", "Comparisons with a dense pass"),
    "audits_failed": ("ovstream_audits_failed", "Comparisons below min_fidelity"),
}


# Field of `SinkCounts` -> type, name and meaning of the metric; labelled by `sink`.
SINKS: dict[str, tuple[Callable[..., Any], str, str]] = {
    "sent": (CounterMetricFamily, "ovstream_sink_sent", "Embeddings that the target has"),
    "failed": (CounterMetricFamily, "ovstream_sink_failed", "Embeddings that the target does not want"),
    "dropped": (CounterMetricFamily, "ovstream_sink_dropped", "Embeddings that found no room meanwhile"),
    "waiting": (GaugeMetricFamily, "ovstream_sink_waiting", "Embeddings on their way"),
    "waiting_bytes": (GaugeMetricFamily, "ovstream_sink_waiting_bytes", "Size of these, on disk"),
}


class _Collector:
    """Reads the supervisor at every scrape."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def collect(self) -> Iterator[Metric]:
        streams = {name: camera.facts() for name, camera in self._supervisor.cameras.items()}
        yield from self._whole()
        for key, (name, meaning) in COUNTERS.items():
            family = CounterMetricFamily(name, meaning, labels=["stream"])
            for stream_id, facts in streams.items():
                family.add_metric([stream_id], facts.totals.get(key, 0))
            yield family
        yield _dropped(streams)
        yield _cpu(streams)
        yield _states(streams)
        yield from self._gauges(streams)
        yield _latency(streams)
        yield from _sinks(self._supervisor)

    def _whole(self) -> Iterator[Metric]:
        supervisor = self._supervisor
        whole = {
            "ovstream_streams": ("Streams that the service knows", len(supervisor.cameras)),
            "ovstream_streams_degraded": ("Streams below their full effort", supervisor.load.degraded),
            "ovstream_overload": (
                "Share of the work that was too much in the last second",
                supervisor.load.overload,
            ),
            "ovstream_models_loaded": ("Models in memory", supervisor.models_loaded),
            "ovstream_cpu_share": ("Of all cores, used by the service, 0 to 1", supervisor.cpu_share),
            "ovstream_resident_bytes": (
                "Memory of the service in RAM, of all its processes",
                resident_bytes(supervisor.workers.pids),
            ),
            "ovstream_workers": (
                "Processes that streams are in, beside the first",
                len(supervisor.workers.pids),
            ),
            "ovstream_streams_quarantined": (
                "Streams kept in a process of their own because they make processes crash",
                len(supervisor.workers.quarantined),
            ),
            "ovstream_start_time_seconds": ("When the service started (Unix)", supervisor.started_at),
        }
        for name, (meaning, value) in whole.items():
            yield GaugeMetricFamily(name, meaning, value=value)
        yield CounterMetricFamily(
            "ovstream_worker_restarts",
            "Times a process of streams had to be started again",
            value=supervisor.workers.restarts,
        )

    def _gauges(self, streams: Mapping[str, Facts]) -> Iterator[Metric]:
        families = {
            name: GaugeMetricFamily(name, meaning, labels=["stream"])
            for name, meaning in (
                ("ovstream_activity", "Share of patches that change, 0 to 1"),
                ("ovstream_novelty", "Distance to the stream's own past; 1 is the rarest twentieth of it"),
                ("ovstream_drift", "Estimated error of old tokens"),
                ("ovstream_fidelity", "Mean cosine to a dense pass, of all audits"),
                ("ovstream_load_level", "0: full effort, 3: least"),
                ("ovstream_stream_bytes", "Memory of caches and of compressed pictures that wait"),
                ("ovstream_rules_active", "Rules whose events are going on"),
                ("ovstream_conditions_active", "Conditions of the camera that hold: frozen, dark, ..."),
            )
        }
        for stream_id, facts in streams.items():
            seen, audits = facts.seen, facts.totals.get("audits", 0)
            values = {
                "ovstream_activity": seen.activity.get(WHOLE) if seen else None,
                "ovstream_novelty": seen.novelty.get(WHOLE) if seen else None,
                "ovstream_drift": seen.drift if seen else None,
                "ovstream_fidelity": facts.totals["audit_cosine_sum"] / audits if audits else None,
                "ovstream_load_level": self._supervisor.load.level(stream_id),
                "ovstream_stream_bytes": facts.memory_bytes,
                "ovstream_rules_active": len(facts.active_rules),
                "ovstream_conditions_active": len(facts.conditions),
            }
            for name, value in values.items():
                if value is not None:
                    families[name].add_metric([stream_id], value)
        yield from families.values()
        restarts = CounterMetricFamily(
            "ovstream_restarts", "Times a stream was started again", labels=["stream"]
        )
        for stream_id, facts in streams.items():
            restarts.add_metric([stream_id], facts.restarts)
        yield restarts
        crashes = CounterMetricFamily(
            "ovstream_crashes", "Times a process crashed while it computed for a stream", labels=["stream"]
        )
        for stream_id in streams:
            crashes.add_metric([stream_id], self._supervisor.workers.crashes(stream_id))
        yield crashes


def render(supervisor: Supervisor) -> bytes:
    """All metrics in the text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(supervisor))
    return generate_latest(registry)


def _cpu(streams: Mapping[str, Facts]) -> Metric:
    family = CounterMetricFamily("ovstream_cpu_seconds", "CPU time per stage", labels=["stream", "stage"])
    for stream_id, facts in streams.items():
        for stage, seconds in facts.totals.get("cpu_seconds", {}).items():
            family.add_metric([stream_id, stage], seconds)
    return family


def _dropped(streams: Mapping[str, Facts]) -> Metric:
    family = CounterMetricFamily(
        "ovstream_dropped", "Access units and results left out on purpose", labels=["stream", "reason"]
    )
    for stream_id, facts in streams.items():
        for reason in DROP_REASONS:
            family.add_metric([stream_id, reason], facts.totals.get("dropped_for", {}).get(reason, 0))
    return family


def _states(streams: Mapping[str, Facts]) -> Metric:
    family = GaugeMetricFamily(
        "ovstream_state", "1 for the state that the stream is in", labels=["stream", "state"]
    )
    for stream_id, facts in streams.items():
        for state in STATES:
            family.add_metric([stream_id, state], float(state == facts.state))
    return family


def _sinks(supervisor: Supervisor) -> Iterator[Metric]:
    counts = supervisor.outputs.counts()
    for field, (kind, name, meaning) in SINKS.items():
        family = kind(name, meaning, labels=["sink"])
        for sink, found in counts.items():
            family.add_metric([sink], getattr(found, field))
        yield family


def _latency(streams: Mapping[str, Facts]) -> Metric:
    family = HistogramMetricFamily(
        "ovstream_latency_seconds",
        "From the arrival of a picture until its results are out",
        labels=["stream"],
    )
    bounds = [*map(str, BOUNDS_SECONDS), "+Inf"]
    for stream_id, facts in streams.items():
        buckets = list(zip(bounds, accumulate(facts.latency_counts), strict=True))
        family.add_metric([stream_id], buckets, sum_value=facts.latency_seconds)
    return family
