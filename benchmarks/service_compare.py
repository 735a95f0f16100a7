"""Parts two and three of `benchmarks.service`: what cameras cost, against the usual ways; and what memory they take."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.service_rig import SCENES, Cameras, Service

WARM_SECONDS = 8.0
EVERYTHING = {"plan": {"everything": True}, "encode": {"max_flops": 1e9}}


@dataclass(frozen=True, slots=True)
class Cost:
    """What one way took, over some time.

    Attributes:
        cpu_seconds: Of all its processes.
        pictures: That it took.
        encoded: Share of all patches.
        memory_mib: At the end.
        kept_up: No picture was dropped and no stream did less than it should.
    """

    cpu_seconds: float
    pictures: int
    encoded: float
    memory_mib: float
    kept_up: bool


def compare(args: argparse.Namespace, clips: dict[str, list[list[bytes]]]) -> None:
    """Part two: every way in turns, over the same network, from the same cameras; prints a Markdown table."""
    cameras = Cameras(clips, args.fps, apart=True)
    costs: dict[tuple[str, str], list[Cost]] = {}
    ways: dict[str, Callable[[str], Cost]] = {
        "ovstream": lambda url: _service(args, url, args.together, {}),
        "decode + encode everything": lambda url: _service(args, url, max(args.together // 4, 1), EVERYTHING),
        "OpenCV frame difference": lambda url: _opencv(args, url),
    }
    try:
        for number in range(args.rounds):
            for scene in SCENES:
                for way, measure in ways.items():
                    cost = measure(cameras.url(scene))
                    costs.setdefault((scene, way), []).append(cost)
                    print(f"round {number + 1}: {scene}, {way}: {cost}", file=sys.stderr, flush=True)
    finally:
        cameras.kill()
    print(
        f"\n{args.size} at {args.fps} pictures/s over RTSP, {args.together} cameras at a time "
        f"({max(args.together // 4, 1)} where everything is encoded), {args.rounds} rounds of "
        f"{args.seconds:g} s, medians; {os.cpu_count()} cores\n"
    )
    print(
        f"| scene | way | CPU per camera, of a core | {args.cameras} cameras, cores | against ovstream | patches encoded | memory MiB | kept up |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for scene in SCENES:
        ours = _per_camera(costs[scene, "ovstream"], args.fps)
        for way in ways:
            found = costs[scene, way]
            one = _per_camera(found, args.fps)
            encoded = statistics.median(cost.encoded for cost in found)
            memory = statistics.median(cost.memory_mib for cost in found)
            print(
                f"| {scene} | {way} | {100 * one:.1f} % | {one * args.cameras:.2f} | {one / ours:.1f} "
                f"| {f'{encoded:.1%}' if 'OpenCV' not in way else 'no embedding'} | {memory:.0f} | {'yes' if all(cost.kept_up for cost in found) else 'no'} |"
            )


def _per_camera(costs: list[Cost], fps: int) -> float:
    """Cores for one camera whose pictures are all taken."""
    return statistics.median(cost.cpu_seconds / cost.pictures * fps for cost in costs)


def _service(args: argparse.Namespace, url: str, count: int, options: dict[str, Any]) -> Cost:
    """`ovstream serve`, with its processes, at full effort."""
    streams = [{"url": url, "stream_id": f"camera-{number}", **options} for number in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        service = Service(Path(folder), streams, args.workers, degrade=False)
        try:
            service.until_live()
            time.sleep(WARM_SECONDS)
            first, cpu = service.streams(), sum(service.cpu_seconds().values())
            time.sleep(args.seconds)
            last, spent = service.streams(), sum(service.cpu_seconds().values()) - cpu
            memory = service.resident_mib()
        finally:
            service.stop()
    grown = {
        key: sum(last[name]["totals"][key] - first[name]["totals"][key] for name in first)
        for key in ("frames_parsed", "patches_encoded", "patches_total", "dropped")
    }
    return Cost(
        cpu_seconds=spent,
        pictures=grown["frames_parsed"],
        encoded=grown["patches_encoded"] / max(grown["patches_total"], 1),
        memory_mib=memory,
        kept_up=not grown["dropped"] and not any(one["level"] for one in last.values()),
    )


def _opencv(args: argparse.Namespace, url: str) -> Cost:
    """The common motion detector, a thread for each camera, in one process."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.service_opencv",
        url,
        str(args.together),
        f"{args.seconds:g}",
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    spent, pictures, memory = map(float, done.stdout.split())
    wanted = 0.98 * args.together * args.seconds * args.fps
    return Cost(spent, int(pictures), 0.0, memory, kept_up=pictures >= wanted)


def memory(args: argparse.Namespace, clips: dict[str, list[list[bytes]]]) -> None:
    """Part three: memory of the service without streams, with one in each worker, and with more."""
    cameras = Cameras(clips, args.fps, apart=True)
    counts = (0, 2, 4, 8, 16)
    found = {}
    try:
        for count in counts:
            streams = [
                {"url": cameras.url("active"), "stream_id": f"camera-{number}"} for number in range(count)
            ]
            with tempfile.TemporaryDirectory() as folder:
                service = Service(Path(folder), streams, 2)
                try:
                    service.until_live()
                    time.sleep(args.seconds)
                    found[count] = service.resident_mib()
                    print(f"{count} streams: {found[count]:.0f} MiB", file=sys.stderr, flush=True)
                finally:
                    service.stop()
    finally:
        cameras.kill()
    print(
        f"{args.size} at {args.fps} pictures/s, two workers; pages that processes share are divided between them"
    )
    print("| streams | memory MiB |\n|---|---|")
    for count, mib in found.items():
        print(f"| {count} | {mib:.0f} |")
    first, last = counts[1], counts[-1]
    print(
        f"a worker with its first stream: {(found[first] - found[0]) / 2:.0f} MiB; each further stream: "
        f"{(found[last] - found[first]) / (last - first):.1f} MiB"
    )
