"""Cameras that flap at random, for as long as you like: does memory grow, is a camera lost, is anything left open?

python -m tests.net.soak --cameras 16 --minutes 20

Every camera is a server of `fault_server` with a fault of its own, drawn anew each time it is used up. A camera
counts as lost when it has given no picture for a minute. The run fails when one is, when descriptors, tasks or
threads are left, or when the resident size still grows by more than 1 MiB a minute in the second half.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import statistics
import sys
import tempfile
import time
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ovstream.config import SourceConfig
from ovstream.sources import Source, open_source
from tests.net.fault_matrix import make_streams
from tests.net.fault_server import Behaviour, FaultServer
from tests.sources.support import reader_threads

FAULTS = (
    "silent",
    "close",
    "reset",
    "half",
    "garbage",
    "bye",
    "sequence jump",
    "new sender",
    "switch",
    "crumble",
)
LOST_SECONDS = 60.0
SAMPLE_SECONDS = 1.0
FLAP_CHANCE = 0.2  # of a fault that was used up, at each sample
MAX_SLOPE_MIB = 1.0  # a minute
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True)
class Camera:
    """One flapping camera and what its client has seen."""

    server: FaultServer
    source: Source
    pictures: int = 0
    heard: float = field(default_factory=time.monotonic)
    longest_seconds: float = 0.0

    async def follow(self) -> None:
        async with aclosing(self.source.units()) as units:
            async for _ in units:
                now = time.monotonic()
                self.longest_seconds = max(self.longest_seconds, now - self.heard)
                self.pictures, self.heard = self.pictures + 1, now

    def flap(self, chance: random.Random) -> None:
        """Lets the next picture, or one soon after, meet a fault."""
        if self.server.armed or chance.random() > FLAP_CHANCE:
            return
        at, hang = chance.randint(5, 100), chance.choice(("", "", "", "DESCRIBE", "PLAY"))
        loss = chance.choice((0.0, 0.0, 0.005))
        self.server.behaviour = Behaviour(fault=chance.choice(FAULTS), at=at, hang=hang, loss=loss)
        self.server.rearm()


def resident_mib() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * PAGE_BYTES / 2**20


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def open_files() -> dict[str, str]:
    """Descriptors and what they stand for."""
    found = {}
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found[number] = os.readlink(f"/proc/self/fd/{number}")
    return found


def show_new(files: dict[str, str], when: str) -> None:
    """Prints what was not open at the beginning."""
    for number, file in open_files().items():
        if files.get(number) != file and not file.startswith("/proc/"):
            print(f"still open {when}: {number} {file}")


def slope_mib(samples: list[tuple[float, float]]) -> float:
    """Least squares, MiB a minute."""
    times, sizes = zip(*samples, strict=True)
    slope, _ = statistics.linear_regression(times, sizes)
    return 60 * slope


async def run(cameras: int, seconds: float, backend: str, seed: int) -> bool:
    """Prints a line every ten seconds; returns whether everything was as it should be."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        units, other = await make_streams(Path(folder))
    fleet = []
    before, files = (descriptors(), len(asyncio.all_tasks())), open_files()
    for number in range(cameras):
        server = FaultServer(units, Behaviour(fault="close", at=50 + 7 * number), other_units=other)
        await server.__aenter__()
        config = SourceConfig.model_validate(
            {
                "backend": backend,
                "transport": "udp" if number % 4 == 3 else "tcp",
                "keep_trying": True,
                "open_timeout_seconds": 2,
                "read_timeout_seconds": 1,
                "reconnect_initial_seconds": 0.05,
                "reconnect_max_seconds": 0.5,
            }
        )
        fleet.append(Camera(server, open_source(server.url, config=config)))
    following = [asyncio.create_task(camera.follow()) for camera in fleet]
    samples = await watch(fleet, seconds, chance)
    started = time.monotonic()
    await asyncio.gather(*(camera.source.aclose() for camera in fleet))
    closing_seconds = time.monotonic() - started
    await asyncio.gather(*following, return_exceptions=True)
    for camera in fleet:
        await camera.server.__aexit__(None, None, None)
    show_new(files, "before the garbage is collected")
    gc.collect()
    left = (
        descriptors() - before[0],
        len(asyncio.all_tasks()) - before[1],
        len(reader_threads()),
    )
    show_new(files, "at the end")
    return judge(fleet, samples, left, closing_seconds)


async def watch(fleet: list[Camera], seconds: float, chance: random.Random) -> list[tuple[float, float]]:
    """Flaps and samples; returns (seconds, MiB)."""
    samples, started, shown = [], time.monotonic(), 0.0
    while (now := time.monotonic() - started) < seconds:
        await asyncio.sleep(SAMPLE_SECONDS)
        samples.append((now, resident_mib()))
        for camera in fleet:
            camera.flap(chance)
            camera.server.requests.clear()  # the memory of the server is not what is measured
            camera.server.reports.clear()
        if now - shown >= 10:
            shown = now
            reconnects = sum(camera.source.stats.reconnects for camera in fleet)
            pictures = sum(camera.pictures for camera in fleet)
            line = f"{now:6.0f} s  {samples[-1][1]:7.1f} MiB  {descriptors():4} descriptors"
            print(f"{line}  {pictures:8} pictures  {reconnects:6} reconnects", flush=True)
    return samples


def judge(
    fleet: list[Camera],
    samples: list[tuple[float, float]],
    left: tuple[int, int, int],
    closing_seconds: float,
) -> bool:
    slope = slope_mib(samples[len(samples) // 2 :])
    now = time.monotonic()
    lost = [camera for camera in fleet if max(camera.longest_seconds, now - camera.heard) > LOST_SECONDS]
    print(f"resident size in the second half: {slope:+.2f} MiB a minute")
    print(f"longest time without a picture: {max(camera.longest_seconds for camera in fleet):.1f} s")
    print(f"cameras lost: {len(lost)} of {len(fleet)}; closing took {closing_seconds:.2f} s")
    print(f"left: {left[0]} descriptors, {left[1]} tasks, {left[2]} threads")
    return not lost and max(left) <= 0 and slope <= MAX_SLOPE_MIB and closing_seconds < 1.0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cameras", type=int, default=16)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--backend", choices=("native", "ffmpeg"), default="native")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    passed = asyncio.run(run(given.cameras, 60 * given.minutes, given.backend, given.seed))
    print("passed" if passed else "FAILED")
    sys.exit(not passed)
