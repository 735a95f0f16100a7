"""The state of the service as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ovstream import __version__
from ovstream.service.supervisor import Supervisor
from ovstream.service.usage import available_cores, resident_bytes
from ovstream.service.watched import Watched
from ovstream.sources import redact_url


def service_view(supervisor: Supervisor) -> dict[str, Any]:
    """The whole, in a few numbers."""
    cameras = list(supervisor.cameras.values())
    return {
        "version": __version__,
        "started_at": round(supervisor.started_at, 1),
        "streams": len(cameras),
        "live": sum(camera.state == "live" for camera in cameras),
        "degraded": supervisor.load.degraded,
        "overload": round(supervisor.load.overload, 3),
        "sinks": sinks_view(supervisor),
        "models_loaded": supervisor.models_loaded,
        "cpu": round(supervisor.cpu_share * available_cores(), 3),
        "cores": available_cores(),
        "memory_bytes": resident_bytes(supervisor.workers.pids),
        "workers": len(supervisor.workers.pids),
        "worker_restarts": supervisor.workers.restarts,
        "quarantined": len(supervisor.workers.quarantined),
        "last_event": supervisor.log.last,
    }


def sinks_view(supervisor: Supervisor) -> list[dict[str, Any]]:
    """What became of the results, per sink."""
    return [{"name": name, **asdict(counts)} for name, counts in supervisor.outputs.counts().items()]


def camera_view(supervisor: Supervisor, camera: Watched) -> dict[str, Any]:
    """One stream: how it is, what it sees, what it costs."""
    facts, config = camera.facts(), camera.config
    seen, totals = facts.seen, facts.totals
    audits = totals.get("audits", 0)
    checkpoint = camera.checkpoint()
    return {
        "id": camera.stream_id,
        "url": shown_url(config.url),
        "origin": camera.origin,
        "state": facts.state,
        "detail": facts.detail,
        "worker": supervisor.workers.number(camera.stream_id),
        "quarantined": camera.stream_id in supervisor.workers.quarantined,
        "crashes": supervisor.workers.crashes(camera.stream_id),
        "priority": config.supervise.priority,
        "level": supervisor.load.level(camera.stream_id),
        "codec": seen.codec if seen else None,
        "size": seen.size if seen else None,
        "activity": _rounded(seen.activity if seen else {}),
        "novelty": _rounded(seen.novelty if seen else {}),
        "rules": [rule.name for rule in config.watch.rules],
        "active_rules": facts.active_rules,
        "conditions": facts.conditions,
        "sinks": supervisor.outputs.names(camera.stream_id),
        "zones": [{"name": zone.name, "polygon": zone.polygon} for zone in config.watch.zones],
        "last_motion": camera.timeline.last_motion,
        "drift": None if seen is None or seen.drift is None else round(seen.drift, 4),
        "fidelity": round(totals.get("audit_cosine_sum", 0.0) / audits, 5) if audits else None,
        "audits": audits,
        "audits_failed": totals.get("audits_failed", 0),
        "fallback": bool(seen and seen.fallback),
        "memory_bytes": facts.memory_bytes,
        "restarts": facts.restarts,
        "abandoned_threads": facts.abandoned,
        "trained": facts.trained,
        "model": facts.model or config.encode.model,
        "next_seq": checkpoint.next_seq if checkpoint else 0,
        "epoch": checkpoint.epoch if checkpoint else 0,
        "totals": {name: value for name, value in totals.items() if name != "cpu_seconds"},
        **camera.timeline.rates(),
    }


def config_view(camera: Watched) -> dict[str, Any]:
    """The options of a stream as they may be shown: no password, no credentials in the URL."""
    shown: dict[str, Any] = camera.config.model_dump(mode="json", exclude={"sinks"})
    shown["url"] = shown_url(camera.config.url)
    if shown["source"]["username"] is not None:
        shown["source"]["username"] = "***"
    shown["sinks"] = [{"type": sink.type} for sink in camera.config.sinks]
    return shown


def shown_url(url: str) -> str:
    """Without credentials."""
    return redact_url(url)


def _rounded(scores: Any) -> dict[str, float]:
    return {name: round(float(value), 4) for name, value in scores.items()}
