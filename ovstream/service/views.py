"""The state of the service as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ovstream import __version__
from ovstream.service.camera import Camera
from ovstream.service.supervisor import Supervisor, available_cores
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
        "memory_bytes": resident_bytes(),
        "last_event": supervisor.log.last,
    }


def sinks_view(supervisor: Supervisor) -> list[dict[str, Any]]:
    """What became of the results, per sink."""
    return [{"name": name, **asdict(counts)} for name, counts in supervisor.outputs.counts().items()]


def camera_view(camera: Camera, *, level: int) -> dict[str, Any]:
    """One stream: how it is, what it sees, what it costs."""
    trace, monitor, stream = camera.monitor.trace, camera.monitor, camera.stream
    totals = camera.totals()
    audits = totals.get("audits", 0)
    return {
        "id": camera.stream_id,
        "url": shown_url(camera.config.url),
        "origin": camera.origin,
        "state": camera.state,
        "detail": camera.detail,
        "priority": camera.config.supervise.priority,
        "level": level,
        "codec": trace.frame.codec if trace else None,
        "size": [trace.frame.width, trace.frame.height] if trace else None,
        "activity": _rounded(trace.scores.activity if trace else {}),
        "novelty": _rounded(trace.scores.novelty if trace else {}),
        "rules": [rule.name for rule in camera.config.watch.rules],
        "active_rules": list(stream.active_rules) if stream else [],
        "conditions": list(stream.conditions) if stream else [],
        "sinks": camera.outputs,
        "zones": [{"name": zone.name, "polygon": zone.polygon} for zone in camera.config.watch.zones],
        "last_motion": monitor.last_motion,
        "drift": None if trace is None or trace.drift is None else round(trace.drift, 4),
        "fidelity": round(totals.get("audit_cosine_sum", 0.0) / audits, 5) if audits else None,
        "audits": audits,
        "audits_failed": totals.get("audits_failed", 0),
        "fallback": bool(trace and trace.frame.origin != "bitstream"),
        "memory_bytes": stream.memory_bytes if stream else 0,
        "restarts": camera.restarts,
        "abandoned_threads": camera.abandoned,
        "trained": stream.model.trained if stream else None,
        "model": stream.model.model_id if stream else camera.config.encode.model,
        "next_seq": checkpoint.next_seq if (checkpoint := camera.checkpoint()) else 0,
        "epoch": checkpoint.epoch if checkpoint else 0,
        "totals": {name: value for name, value in totals.items() if name != "cpu_seconds"},
        **monitor.rates(),
    }


def config_view(camera: Camera) -> dict[str, Any]:
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


def resident_bytes() -> int:
    """Memory of this process that is in RAM."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * 4096
    except (OSError, ValueError, IndexError):
        return 0


def _rounded(scores: Any) -> dict[str, float]:
    return {name: round(float(value), 4) for name, value in scores.items()}
