"""Questions: what does Python add to each picture, what memory does a stream take, do streams share the cores?

Method: CPU time of the smallest possible picture, which costs the core next to nothing; growth of the process while many
1080p streams are read side by side and their results dropped; wall time of two streams one after the other against
two threads, median of the rounds (the parser releases the GIL; this part wants two idle cores).

    python benchmarks/parse_limits.py [--rounds 5]
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

from parse import Clip, camera, encode, parse
from rich.console import Console

from ovstream.bitstream import Parser
from ovstream.types import AccessUnit

CALLS = 5000
STREAMS = 16
FRAMES = 30


def overhead_us(rounds: int) -> float:
    """CPU microseconds per picture of one skipped macroblock."""
    # SPS (16x16, Baseline), PPS, and a P slice of one skipped macroblock.
    unit = bytes.fromhex("000000016742 0028da79 0000000168ce3880 0000000141e02a")
    parser = Parser("h264")
    one = AccessUnit("h264", unit, pts=0, time_base=Fraction(1, 25), keyframe=False)
    found = []
    for _ in range(rounds):
        begin = time.process_time()
        for _ in range(CALLS):
            parser.parse(one)
        found.append((time.process_time() - begin) / CALLS * 1e6)
    return statistics.median(found)


def resident_bytes() -> int:
    """Memory of this process that is in use; what was freed before goes back to the system first."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def memory_bytes(clip: Clip) -> float:
    """Per stream, after `FRAMES` pictures."""
    before = resident_bytes()
    parsers = [Parser(clip.codec) for _ in range(STREAMS)]
    for pts, data in enumerate(clip.units):
        unit = AccessUnit(clip.codec, data, pts=pts, time_base=Fraction(1, 25), keyframe=False)
        for parser in parsers:
            parser.parse(unit)
    return (resident_bytes() - before) / len(parsers)


def scaling(clip: Clip, rounds: int) -> float:
    """Wall time of two streams in a row / in two threads."""
    ratios = []
    with ThreadPoolExecutor(2) as pool:
        for _ in range(rounds):
            begin = time.perf_counter()
            parse(clip, "full")
            parse(clip, "full")
            between = time.perf_counter()
            list(pool.map(lambda _: parse(clip, "full"), range(2)))
            ratios.append((between - begin) / (time.perf_counter() - between))
    return statistics.median(ratios)


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--rounds", type=int, default=5)
    rounds = options.parse_args().rounds
    console = Console(highlight=False)
    pictures = camera(FRAMES)
    console.print(f"Python per picture: {overhead_us(rounds):.1f} us of CPU")
    for name in ("CABAC", "HEVC", "VP8"):
        clip = encode(pictures, 4000, name)
        memory = memory_bytes(clip) / (1 << 20)
        console.print(
            f"{name}: {memory:.2f} MiB per 1080p stream; two streams in two threads: {scaling(clip, rounds):.2f} times as fast"
        )


if __name__ == "__main__":
    main()
