"""What is wrong with a running service, and how to mend it: pure, from what its REST API tells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_MUCH = 1e-3  # of the pictures: below it, what was left out is a bad moment of the past
_MANY_RECONNECTS_AN_HOUR = 6
_OF_A_CAMERA = {
    "frozen": ("the same picture comes again and again", "restart the camera"),
    "dark": ("the picture has lost its texture", "look for a covered lens, a light that is out, a cable"),
    "starved": (
        "its encoder has far fewer bits than before",
        "raise its bit rate, or look for a limit that was set",
    ),
    "shaking": ("it shakes", "fasten it; until then that costs CPU"),
}


@dataclass(frozen=True, slots=True)
class Complaint:
    """One thing that is wrong.

    Attributes:
        where: A stream, a sink, or "service".
        bad: It does not work; else it works less well than it could.
        what: What is seen.
        remedy: What to do.
    """

    where: str
    bad: bool
    what: str
    remedy: str


def complaints(
    service: Mapping[str, Any], streams: Sequence[Mapping[str, Any]], *, now: float
) -> list[Complaint]:
    """Everything that is wrong, what is worst first.

    Args:
        service: As `/api/service` answers.
        streams: As `/api/streams` answers.
        now: Wall clock, seconds.
    """
    hours = max(now - service["started_at"], 1.0) / 3600
    found = [*_service(service), *(one for stream in streams for one in _stream(stream, hours=hours))]
    return sorted(found, key=lambda one: not one.bad)


def _service(service: Mapping[str, Any]) -> Iterator[Complaint]:
    if not service["streams"]:
        yield Complaint(
            "service", False, "it has no stream", "add one on the page, by the API or in the file"
        )
    if service["degraded"]:
        yield Complaint(
            "service",
            False,
            f"the box is full: {service['degraded']} of {service['streams']} streams do less than they could",
            "give those that matter a higher supervise.priority; lower fps or size at the camera, or plan.keep_ratio; "
            "'ovstream bench' tells how many cameras this box carries",
        )
    if service["worker_restarts"]:
        yield Complaint(
            "service",
            False,
            f"a process of streams ended {service['worker_restarts']} times and was started again",
            "its last words are in the log; out of memory? see supervise.max_memory_mb",
        )
    for sink in service["sinks"]:
        name = f"sink {sink['name']}"
        if sink["failed"]:
            what = f"its target refused {sink['failed']} embeddings"
            yield Complaint(
                name, True, what, "the log tells the first refusal: the target's limits, or its rights"
            )
        if sink["dropped"]:
            what = f"{sink['dropped']} embeddings were lost: its spool or the disk was full"
            yield Complaint(name, True, what, "see to the target; a larger spool_megabytes bridges more")
        elif sink["waiting"] > 1000:
            what = f"{sink['waiting']} embeddings wait ({sink['waiting_bytes'] / 2**20:.0f} MB)"
            yield Complaint(name, False, what, "the target is away or slow; they are sent when it is back")


def _stream(stream: Mapping[str, Any], *, hours: float) -> Iterator[Complaint]:
    name, detail = stream["id"], stream["detail"] or "no reason is known"

    def poor(what: str, remedy: str) -> Complaint:
        return Complaint(name, False, what, remedy)

    if stream["quarantined"]:
        what = f"processes crashed {stream['crashes']} times while they computed for it: it is alone in one"
        yield Complaint(
            name, True, what, "try source.backend or another model; a change or restart lets it out again"
        )
    if stream["state"] == "failed":
        yield Complaint(
            name, True, f"it has given up: {detail}", "change what it names; it begins again then"
        )
    elif stream["state"] in ("waiting", "starting"):
        yield Complaint(name, True, f"no picture comes: {detail}", f"try: ovstream probe {stream['url']}")
    if stream["abandoned_threads"]:
        what = f"{stream['abandoned_threads']} threads hang in a driver or decoder"
        yield poor(what, "restart the service when it suits")
    yield from (poor(*_OF_A_CAMERA[one]) for one in stream["conditions"] if one in _OF_A_CAMERA)
    if stream["fallback"]:
        what = f"each of its pictures is decoded: no parser reads its {stream['codec'] or 'codec'} stream"
        yield poor(what, "set the camera to H.264 or H.265, 8 bit; 'ovstream probe' tells why")
    yield from _losses(stream, hours=hours)
    if stream["audits_failed"]:
        what = f"{stream['audits_failed']} of {stream['audits']} audits were below encode.min_fidelity"
        yield poor(what, "raise plan.keep_ratio, or lower plan.refresh_seconds")
    if stream["trained"] is False:
        yield poor(
            f"its model {stream['model']} is untrained: vectors mean nothing", "name another in encode.model"
        )
    if not stream["sinks"] and stream["state"] == "live":
        yield poor(
            "its results go nowhere", "give it publish.endpoint or sinks, unless page and rules are enough"
        )


def _losses(stream: Mapping[str, Any], *, hours: float) -> Iterator[Complaint]:
    name, totals = stream["id"], stream["totals"]
    least = _MUCH * max(totals.get("units", 0), 1)
    reasons = totals.get("dropped_for", {})
    if (late := reasons.get("late", 0) + reasons.get("queue", 0)) > least:
        what = f"{late} pictures were left out: they waited longer than source.max_latency_seconds"
        yield Complaint(
            name, False, what, "the box is or was too slow: see 'service'; a GOP that is shorter loses less"
        )
    if (unread := reasons.get("reader", 0)) > least:
        yield Complaint(
            name, False, f"{unread} results gave way to newer ones", "whoever reads them is too slow"
        )
    if (lost := totals.get("source_lost", 0)) > least:
        what = f"data was lost on the way {lost} times"
        yield Complaint(name, False, what, "the network: cable or WLAN, or source.transport: tcp")
    if (damaged := totals.get("parse_errors", 0)) > least:
        what = f"{damaged} pictures came damaged"
        yield Complaint(
            name, False, what, "the network or the camera's encoder: 'ovstream inspect' shows where"
        )
    if totals.get("reconnects", 0) > _MANY_RECONNECTS_AN_HOUR * max(hours, 1.0):
        what = f"it connected again {totals['reconnects']} times in {hours:.1f} hours"
        yield Complaint(
            name, False, what, "the camera restarts, or has too many clients: read it through MediaMTX"
        )
