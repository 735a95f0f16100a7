"""Cameras in a process of their own, and `ovstream serve` with what its processes use: for `benchmarks.service`."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.ingest import Camera, split_units
from ovstream.sources.synthetic import SyntheticOptions, make_units

SCENES = {
    "quiet": {"objects": 0, "noise": 2.0, "seed": 1},
    "active": {"objects": 4, "noise": 2.0, "speed": 4.0, "rest": 0.3, "seed": 2},
}
CLIP_SECONDS = 20


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

    def __init__(
        self, folder: Path, streams: list[dict[str, Any]], workers: int | None, *, degrade: bool = True
    ) -> None:
        self._config = folder / "ovstream.json"  # JSON is YAML
        self._workers = workers
        self._load = {} if degrade else {"max_latency_seconds": 1000, "max_cpu": 1.0}
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
                    "service": {
                        "http": {"port": 0},
                        "state_folder": self._state,
                        "workers": self._workers,
                        "load": self._load,
                    },
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

    def until_live(self) -> None:
        """Waits for all streams."""
        while not all(one["state"] == "live" for one in self.streams().values()):
            time.sleep(0.5)

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


def clips_of(size: str, fps: int) -> dict[str, list[list[bytes]]]:
    """NAL units of every picture, by scene."""
    return {
        scene: split_units(b"".join(unit.data for unit in make_units(options_of(scene, size, fps))))
        for scene in SCENES
    }
