"""Runs all drivers until each codec has had so many inputs, and prints what they met as a table.

    python native/fuzz/campaign.py [--runs 10000000] [--jobs 1] [--codecs h264 h265 vp8]

Needs the seeds of `seeds.py`. What it learns stays in the folder of the inputs, so that the next campaign starts there.
The exit status is 1 when anything was found; the input is in data/found, the log of a driver in data/DRIVER.log.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
DATA = Path(os.environ.get("OVBITS_FUZZ_DATA", HERE / "data"))
# Share of the runs of a codec, and the longest input: short ones are quick and reach as many places.
SHARES = {
    "h264": {
        "h264_units": (0.3, 1024),
        "h264_split": (0.15, 1024),
        "h264_slices": (0.4, 256),
        "h264_sets": (0.15, 256),
    },
    "h265": {
        "h265_units": (0.3, 1024),
        "h265_split": (0.15, 1024),
        "h265_slices": (0.4, 256),
        "h265_sets": (0.15, 256),
    },
    "vp8": {"vp8_units": (0.5, 1024), "vp8_partitions": (0.5, 512)},
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one driver met.

    Attributes:
        driver: Its name.
        runs: Inputs tried.
        coverage: Edges of the code that were reached.
        peak_bytes: Most memory that the parser held in one run.
        longest_us: CPU time of the longest run.
        failed: A property was broken, or a limit exceeded.
    """

    driver: str
    runs: int
    coverage: int
    peak_bytes: int
    longest_us: int
    failed: bool


def numbers(pattern: str, text: str) -> list[int]:
    """All numbers that a pattern finds, or a 0."""
    return [int(found) for found in re.findall(pattern, text)] or [0]


def run(driver: str, runs: int, longest: int) -> Outcome:
    """One driver."""
    command = [
        str(HERE / "run"),
        driver,
        f"-runs={runs}",
        f"-max_len={longest}",
        "-print_final_stats=1",
        "-verbosity=1",
    ]
    path = DATA / f"{driver}.log"
    with path.open("w") as file:
        done = subprocess.run(command, check=False, stdout=file, stderr=subprocess.STDOUT)
    log = path.read_text(errors="replace")
    return Outcome(
        driver=driver,
        runs=numbers(r"stat::number_of_executed_units: *(\d+)", log)[-1],
        coverage=max(numbers(r"cov: (\d+)", log)),
        peak_bytes=max(numbers(r"peak allocation: (\d+) bytes", log)),
        longest_us=max(numbers(r"longest run: (\d+) us", log)),
        failed=done.returncode != 0,
    )


def main() -> int:
    """Runs the chosen drivers."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--runs", type=int, default=10_000_000, help="of each codec")
    options.add_argument("--jobs", type=int, default=1, help="drivers at a time")
    options.add_argument("--codecs", nargs="+", choices=SHARES, default=list(SHARES))
    chosen = options.parse_args()
    subprocess.run([HERE / "run", "--build"], check=True)
    jobs = [
        (driver, int(chosen.runs * share), longest)
        for codec in chosen.codecs
        for driver, (share, longest) in SHARES[codec].items()
    ]
    print("| driver | runs | edges reached | most memory of a run | longest run (CPU) | found |")
    print("|---|---:|---:|---:|---:|---|")
    failed = False
    with ThreadPoolExecutor(chosen.jobs) as pool:
        for found in pool.map(lambda job: run(*job), jobs):
            failed |= found.failed
            slowest = f"{found.longest_us / 1000:.0f} ms" if found.longest_us else "below 1 ms"
            memory = f"{found.peak_bytes / 1024:.0f} KiB"
            result = "something" if found.failed else "nothing"
            print(
                f"| {found.driver} | {found.runs:,} | {found.coverage} | {memory} | {slowest} | {result} |",
                flush=True,
            )
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
