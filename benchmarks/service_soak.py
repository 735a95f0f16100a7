"""Part one of `benchmarks.service`: many cameras live together, and what happens to one is not noticed by the others."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.service_rig import Cameras, Service

LATE_SECONDS = 0.5
MOST_LATE_SECONDS = 10.0
MOST_DRAIN_SECONDS = 5.5  # drain_seconds, and what the kernel takes
SAMPLE_SECONDS = 2.0


@dataclass(slots=True)
class Verdict:
    """Promises, and whether they were kept."""

    lines: list[tuple[bool, str, str]] = field(default_factory=list)

    def judge(self, kept: bool, promise: str, found: str) -> None:
        """Adds one."""
        self.lines.append((kept, promise, found))

    def show(self) -> bool:
        """Prints all; tells whether every promise was kept."""
        print("\nverdict")
        for kept, promise, found in self.lines:
            print(f"  {'kept  ' if kept else 'BROKEN'}  {promise:58} {found}")
        return all(kept for kept, _, _ in self.lines)


def soak(args: argparse.Namespace, clips: dict[str, list[list[bytes]]]) -> bool:
    """Part one; tells whether every promise was kept."""
    verdict = Verdict()
    apart = not args.in_step
    steady = Cameras(clips, args.fps, apart=apart)
    victim = Cameras({"active": clips["active"]}, args.fps, apart=apart)
    scenes = ["quiet" if number % 2 else "active" for number in range(args.cameras)]
    streams = [
        {"url": steady.url(scene), "stream_id": f"{scene}-{number:02d}"}
        for number, scene in enumerate(scenes)
    ]
    streams[-1] = {"url": victim.url("active"), "stream_id": "victim"}
    extra = {"url": steady.url("active"), "stream_id": "extra"}
    with tempfile.TemporaryDirectory() as folder:
        service = Service(Path(folder), streams, args.workers)
        try:
            _soak(args, service, streams, extra, victim, verdict)
        finally:
            drained = service.stop()
            steady.kill()
            victim.kill()
    verdict.judge(
        drained <= MOST_DRAIN_SECONDS,
        "SIGTERM to the end of the process, under load: 5.5 s",
        f"{drained:.1f} s",
    )
    return verdict.show()


def _soak(
    args: argparse.Namespace,
    service: Service,
    streams: list[dict[str, Any]],
    extra: dict[str, Any],
    victim: Cameras,
    verdict: Verdict,
) -> None:
    service.until_live()
    changed = [{**streams[0], "plan": {"keep_ratio": 0.1}}, *streams[1:]]
    schedule = [
        (0.15, "add a camera", lambda: service.ask("api/streams", "POST", extra)),
        (0.3, "change it", lambda: service.ask("api/streams/extra", "PATCH", {"plan": {"keep_ratio": 0.06}})),
        (0.45, "kill a camera", victim.kill),
        (0.6, "it comes back", victim.start),
        (0.7, "reload the file", lambda: service.write(changed)),
        (0.85, "remove the added", lambda: service.ask("api/streams/extra", "DELETE")),
    ]
    seconds = 60 * args.minutes
    first, cpu, began = service.streams(), service.cpu_seconds(), time.monotonic()
    seen = 0  # events
    memory, latencies = [], {name: ([], []) for name in first}
    late: dict[str, int] = dict.fromkeys(first, 0)  # samples in a row with a late median
    latest, levels = 0, Counter[int]()
    print(f"{len(first)} cameras, {args.size}, {args.fps}/s, {args.minutes:g} minutes", flush=True)
    while (now := time.monotonic() - began) < seconds:
        while schedule and now >= schedule[0][0] * seconds:
            _, what, action = schedule.pop(0)
            action()
            print(f"{now:7.0f} s  {what}", flush=True)
        memory.append(service.resident_mib())
        for event in service.ask(f"api/events?after={seen}"):
            seen = event["number"]
            if event["kind"] == "dropped":
                print(f"{now:7.0f} s  {event['stream_id']}: dropped: {event['detail']}", flush=True)
        for name, one in service.streams().items():
            if name in latencies and one["latency"]["p50"] is not None:
                latencies[name][0].append(one["latency"]["p50"])
                latencies[name][1].append(one["latency"]["p99"])
            if name in late:
                point = one["latency_now"]
                late[name] = late[name] + 1 if point is not None and point > LATE_SECONDS else 0
                latest = max(latest, late[name])
                levels[one["level"]] += 1
        time.sleep(SAMPLE_SECONDS)
    wall, last = time.monotonic() - began, service.streams()
    used = {pid: (spent - cpu.get(pid, 0.0)) / wall for pid, spent in service.cpu_seconds().items()}
    cores = sum(used.values())
    _table(first, last, latencies, wall)
    untouched = [name for name in first if name not in ("victim", streams[0]["stream_id"])]
    disturbed = [
        name
        for name in untouched
        if last[name]["epoch"] != first[name]["epoch"]
        or last[name]["restarts"]
        or last[name]["totals"]["reconnects"]
    ]
    quarter = max(len(memory) // 4, 1)
    early, final = statistics.mean(memory[quarter : 2 * quarter]), statistics.mean(memory[-quarter:])
    shares = ", ".join(
        f"{level}: {count / sum(levels.values()):.0%}" for level, count in sorted(levels.items())
    )
    print(
        f"CPU {cores:.2f} cores ({', '.join(f'{one:.2f}' for one in used.values())}: the first process and its workers), "
        f"{100 * cores / len(first):.1f} % of a core per camera; memory {early:.0f} MiB in the "
        f"second quarter, {final:.0f} in the last; time at each level of load: {shares}"
    )
    dropped = {
        name: lost
        for name in untouched
        if (lost := last[name]["totals"]["overrun"])  # from its first picture on, while all open
    }
    waited = {
        name: lost
        for name in untouched
        if (lost := _waited(last[name]["totals"]) - _waited(first[name]["totals"]))
    }
    slow = {
        name: round(median, 2) for name in untouched if (median := statistics.median(latencies[name][1])) > 1
    }
    rates = [_pictures(first[name], last[name]) / wall / args.fps for name in untouched]
    verdict.judge(
        not disturbed, "nobody notices add, change, kill, return, reload, remove", f"{disturbed or 'none'}"
    )
    verdict.judge(min(rates) > 0.98, "every picture of the others is read", f"{min(rates):.1%} of the worst")
    verdict.judge(not dropped, "no picture is dropped for lateness, from the start", f"{dropped or 0}")
    verdict.judge(not waited, "none is left out for want of a keyframe, once live", f"{waited or 0}")
    verdict.judge(
        latest * SAMPLE_SECONDS <= MOST_LATE_SECONDS,
        f"a stream is late (> {LATE_SECONDS:g} s) for 10 s in a row at most",
        f"{latest * SAMPLE_SECONDS:.0f} s",
    )
    verdict.judge(not slow, "99 of 100 pictures within 1 s, in the median minute", f"{slow or 'all'}")
    verdict.judge(final < 1.1 * early, "memory does not grow", f"{final / early - 1:+.1%}")


def _pictures(before: dict[str, Any], after: dict[str, Any]) -> int:
    return after["totals"]["frames_parsed"] - before["totals"]["frames_parsed"]


def _waited(totals: dict[str, Any]) -> int:
    """Pictures left out because no keyframe had come: at the beginning of a connection, or after loss."""
    found: int = totals["dropped_for"].get("keyframe", 0)
    return found


def _table(
    first: dict[str, Any],
    last: dict[str, Any],
    latencies: dict[str, tuple[list[float], list[float]]],
    wall: float,
) -> None:
    print(
        f"{'stream':12}{'pictures/s':>11}{'decoded':>9}{'patches':>9}{'CPU %':>8}{'p50 ms':>8}{'p99 ms':>8}"
        f"{'too late':>9}{'no key':>8}{'level':>7}{'epochs':>8}"
    )
    for name in sorted(first):
        before, after = first[name]["totals"], last[name]["totals"]
        frames = after["frames_parsed"] - before["frames_parsed"]
        p50, p99 = (statistics.median(found) if found else float("nan") for found in latencies[name])
        print(
            f"{name:12}{frames / wall:11.1f}{(after['frames_decoded'] - before['frames_decoded']) / max(frames, 1):9.0%}"
            f"{(after['patches_encoded'] - before['patches_encoded']) / max(after['patches_total'] - before['patches_total'], 1):9.1%}"
            f"{100 * sum(last[name]['cpu'].values()):8.1f}{1000 * p50:8.1f}{1000 * p99:8.1f}"
            f"{after['overrun'] - before['overrun']:9}{_waited(after) - _waited(before):8}{last[name]['level']:7}{1 + last[name]['epoch'] - first[name]['epoch']:8}"
        )
