"""Do many cameras live together for long, and what do they cost against the usual ways?

Part one runs `ovstream serve` with synthetic cameras, half of them quiet and half with traffic, that come over RTSP from
a process of their own. While it runs a camera is added, changed, removed, killed and comes back, and the file is
reloaded; the table tells what each stream did, and whether one of the others noticed. CPU and memory are those of the
service's processes. Cameras are in different places of their scenes, as if each had been started some time. Last comes the verdict: each promise with what was measured; the exit status is 1 when one is broken.

Part two takes the same pictures through four ways on this one core, in turns, without a network: ours on a quiet and on
an active scene; decoding every picture and encoding every patch with the same model; and OpenCV decoding every picture
and differencing grey frames, which gives no embedding at all.

    python -m benchmarks.service [--cameras 16] [--minutes 20] [--fps 15] [--size 1280x720] [--only soak|compare]
        [--in-step] [--workers 2]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.ingest import Camera, split_units
from ovstream.config import stream_config
from ovstream.pipeline import StreamStats, StreamWorker, encoder_of
from ovstream.sources.synthetic import SyntheticOptions, make_units

SCENES = {
    "quiet": {"objects": 0, "noise": 2.0, "seed": 1},
    "active": {"objects": 4, "noise": 2.0, "speed": 4.0, "rest": 0.3, "seed": 2},
}
CLIP_SECONDS = 20
LATE_SECONDS = 0.5
MOST_LATE_SECONDS = 10.0
MOST_DRAIN_SECONDS = 5.5  # drain_seconds, and what the kernel takes
SAMPLE_SECONDS = 2.0
ROUNDS = 3


def options_of(scene: str, size: str, fps: int) -> SyntheticOptions:
    width, _, height = size.partition("x")
    base = {"width": width, "height": height, "fps": fps, "seconds": CLIP_SECONDS, "gop": 4 * fps}
    return SyntheticOptions.model_validate({**base, **SCENES[scene]})


def run_cameras(
    clips: dict[str, list[list[bytes]]], fps: int, apart: bool, port: int, answer: Connection
) -> None:
    """The process of some cameras: one RTSP server per scene, the first on `port` (0: any)."""

    async def serve() -> None:
        ports, servers = {}, []
        for number, (scene, units) in enumerate(clips.items()):
            server = await asyncio.start_server(
                Camera(units, fps=fps, apart=apart).serve,
                "127.0.0.1",
                0 if number else port,
                reuse_address=True,
            )
            ports[scene] = server.sockets[0].getsockname()[1]
            servers.append(server.serve_forever())
        answer.send(ports)
        await asyncio.gather(*servers)

    with suppress(KeyboardInterrupt):
        asyncio.run(serve())


class Cameras:
    """Cameras that can be killed and come back on the same port."""

    def __init__(self, clips: dict[str, list[list[bytes]]], fps: int, *, apart: bool) -> None:
        self._clips, self._fps, self._apart = clips, fps, apart
        self.ports: dict[str, int] = {}
        self.start()

    def start(self) -> None:
        """Begins; returns when they can be reached."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        port = next(iter(self.ports.values()), 0)
        self._process = context.Process(
            target=run_cameras, args=(self._clips, self._fps, self._apart, port, theirs)
        )
        self._process.start()
        self.ports = ours.recv()

    def kill(self) -> None:
        """Ends them without a word."""
        self._process.kill()
        self._process.join()

    def url(self, scene: str) -> str:
        """Of one scene."""
        return f"rtsp://127.0.0.1:{self.ports[scene]}/{scene}"


class Service:
    """`ovstream serve` and what its processes used."""

    def __init__(self, folder: Path, streams: list[dict[str, Any]], workers: int | None) -> None:
        self._config = folder / "ovstream.json"  # JSON is YAML
        self._workers = workers
        self._state = str(folder / "state")
        self.write(streams)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ovstream", "serve", str(self._config)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
        )
        assert self._process.stdout is not None
        self._address = self._process.stdout.readline().split()[0]

    def write(self, streams: list[dict[str, Any]]) -> None:
        """Replaces the configuration file."""
        fresh = self._config.with_suffix(".new")
        fresh.write_text(
            json.dumps(
                {
                    "streams": streams,
                    "service": {"http": {"port": 0}, "state_folder": self._state, "workers": self._workers},
                }
            )
        )
        fresh.replace(self._config)

    def ask(self, path: str, method: str = "GET", body: Any = None) -> Any:
        """One request to the REST API."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._address + path, data, method=method)
        request.add_header("content-type", "application/json")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer) if answer.status != 204 else None

    def streams(self) -> dict[str, dict[str, Any]]:
        """All streams by name."""
        return {one["id"]: one for one in self.ask("api/streams")}

    def _pids(self) -> list[int]:
        """Its process, and those that it started."""
        pid = self._process.pid
        return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]

    def cpu_seconds(self) -> dict[int, float]:
        """Of its processes so far, the first one first."""
        used = {}
        for pid in self._pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            used[pid] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return used

    def resident_mib(self) -> float:
        """Of its processes now; what they share is divided between them."""
        total = 0
        for pid in self._pids():
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        return total / 1024

    def stop(self) -> float:
        """SIGTERM; returns the seconds that the end took."""
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(30)
        return time.monotonic() - began


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
    while not all(one["state"] == "live" for one in service.streams().values()):
        time.sleep(0.5)
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
        if (lost := last[name]["totals"]["dropped"] - first[name]["totals"]["dropped"])
    }
    slow = {
        name: round(median, 2) for name in untouched if (median := statistics.median(latencies[name][1])) > 1
    }
    rates = [_pictures(first[name], last[name]) / wall / args.fps for name in untouched]
    verdict.judge(
        not disturbed, "nobody notices add, change, kill, return, reload, remove", f"{disturbed or 'none'}"
    )
    verdict.judge(min(rates) > 0.98, "every picture of the others is read", f"{min(rates):.1%} of the worst")
    verdict.judge(not dropped, "no picture is dropped for lateness", f"{dropped or 0}")
    verdict.judge(
        latest * SAMPLE_SECONDS <= MOST_LATE_SECONDS,
        f"a stream is late (> {LATE_SECONDS:g} s) for 10 s in a row at most",
        f"{latest * SAMPLE_SECONDS:.0f} s",
    )
    verdict.judge(not slow, "99 of 100 pictures within 1 s, in the median minute", f"{slow or 'all'}")
    verdict.judge(final < 1.1 * early, "memory does not grow", f"{final / early - 1:+.1%}")


def _pictures(before: dict[str, Any], after: dict[str, Any]) -> int:
    return after["totals"]["frames_parsed"] - before["totals"]["frames_parsed"]


def _table(
    first: dict[str, Any],
    last: dict[str, Any],
    latencies: dict[str, tuple[list[float], list[float]]],
    wall: float,
) -> None:
    print(
        f"{'stream':12}{'pictures/s':>11}{'decoded':>9}{'patches':>9}{'CPU %':>8}{'p50 ms':>8}{'p99 ms':>8}"
        f"{'dropped':>9}{'level':>7}{'epochs':>8}"
    )
    for name in sorted(first):
        before, after = first[name]["totals"], last[name]["totals"]
        frames = after["frames_parsed"] - before["frames_parsed"]
        p50, p99 = (statistics.median(found) if found else float("nan") for found in latencies[name])
        print(
            f"{name:12}{frames / wall:11.1f}{(after['frames_decoded'] - before['frames_decoded']) / max(frames, 1):9.0%}"
            f"{(after['patches_encoded'] - before['patches_encoded']) / max(after['patches_total'] - before['patches_total'], 1):9.1%}"
            f"{100 * sum(last[name]['cpu'].values()):8.1f}{1000 * p50:8.1f}{1000 * p99:8.1f}"
            f"{after['dropped'] - before['dropped']:9}{last[name]['level']:7}{1 + last[name]['epoch'] - first[name]['epoch']:8}"
        )


def compare(args: argparse.Namespace) -> None:
    """Part two."""
    encoder = encoder_of(stream_config("x").encode)
    results: dict[tuple[str, str], list[float]] = {}
    for scene in SCENES:
        units = make_units(options_of(scene, args.size, args.fps))
        with tempfile.NamedTemporaryFile(suffix=".264") as file:
            file.write(b"".join(unit.data for unit in units))
            file.flush()
            for _ in range(ROUNDS):
                for way, cost in (
                    ("ours", lambda units=units: _worker_cost(units, encoder, everything=False)),
                    (
                        "decode + dense",
                        lambda units=units: _worker_cost(units[: 3 * args.fps], encoder, everything=True),
                    ),
                    ("OpenCV difference", lambda name=file.name: _opencv_cost(name)),
                ):
                    used, pictures = cost()
                    results.setdefault((scene, way), []).append(used / pictures)
    print(
        f"\n{'per camera at ' + str(args.fps) + '/s':26}{'CPU % of a core':>16}{'against ours':>14}{'x ' + str(args.cameras) + ' cameras':>14}"
    )
    for scene in SCENES:
        ours = statistics.median(results[scene, "ours"])
        for (found, way), costs in results.items():
            if found == scene:
                cost = statistics.median(costs)
                print(
                    f"{scene + ', ' + way:26}{100 * cost * args.fps:16.1f}{cost / ours:13.1f}x"
                    f"{cost * args.fps * args.cameras:9.2f} cores"
                )


def _worker_cost(units: list[Any], encoder: Any, *, everything: bool) -> tuple[float, int]:
    """CPU seconds of all threads, and pictures; the first second is not counted."""
    options = {"everything": True, "max_flops": 1e9} if everything else {}
    worker = StreamWorker(stream_config("x", **options), encoder=encoder, stats=StreamStats())
    skip = len(units) // 4
    for unit in units[:skip]:
        worker.process(unit)
    began = time.process_time()
    for unit in units[skip:]:
        worker.process(unit)
    used = time.process_time() - began
    worker.close()
    return used, len(units) - skip


def _opencv_cost(name: str) -> tuple[float, int]:
    """The common motion detector: decode, grey, blur, difference, threshold."""
    import cv2

    cv2.setNumThreads(1)
    os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "threads;1"
    capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG)
    before, pictures, began = None, 0, time.process_time()
    while True:
        good, image = capture.read()
        if not good:
            break
        grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), (5, 5), 0)
        if before is not None:
            cv2.countNonZero(cv2.threshold(cv2.absdiff(grey, before), 25, 255, cv2.THRESH_BINARY)[1])
        before = grey
        pictures += 1
    capture.release()
    return time.process_time() - began, pictures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cameras", type=int, default=16)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--fps", type=int, default=15)
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--in-step", action="store_true", help="the worst case: all keyframes fall together")
    parser.add_argument("--workers", type=int, help="processes that share the streams; default: one per core")
    parser.add_argument("--only", choices=("soak", "compare"))
    args = parser.parse_args()
    kept = True
    if args.only != "compare":
        clips = {
            scene: split_units(
                b"".join(unit.data for unit in make_units(options_of(scene, args.size, args.fps)))
            )
            for scene in SCENES
        }
        kept = soak(args, clips)
    if args.only != "soak":
        compare(args)
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
