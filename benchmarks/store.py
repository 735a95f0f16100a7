"""How fast do stores take and find moments, how well does an approximate index find, and how much memory does it take?

Vectors walk around some hundred places, as those of cameras do. Each store runs in a process of its own, on one core, and
is asked for the 10 nearest of vectors that it does not hold: among all, and of one camera within a tenth of the time. Times
are CPU time of all threads, which other work on the machine hardly changes.
"recall" is the share of the truly nearest among the answers. "exact" compares with every vector in question, which is
what the default store does without an index; peers answer as they do when nothing is configured.

    python -m benchmarks.store [--sizes 10000,100000] [--dim 512] [--stores sqlite,usearch,lancedb,qdrant]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ovstream.store import Match, Moment, Query, SqliteStore, VectorStore
from ovstream.types import FloatArray

LEAST_ROWS = 2500  # of a file; smaller ones get no index
STREAMS = 20
PLACES = 400
START_NS = 1_790_000_000 * 10**9
STEP_NS = 10**8
BATCH = 256
ASKED = 20
K = 10
DIGEST = "d" * 16


def vectors(count: int, dim: int) -> FloatArray:
    """(count + ASKED, dim) float16 values; those asked for are at the end."""
    random = np.random.default_rng(0)
    places = random.standard_normal((PLACES, dim), np.float32)
    where = np.repeat(random.integers(0, PLACES, count // 50 + 2), 50)[:count]
    where = np.concatenate([where, random.integers(0, PLACES, ASKED)])
    made = np.empty((count + ASKED, dim), np.float32)
    for first in range(0, len(made), 10_000):
        part = where[first : first + 10_000]
        made[first : first + len(part)] = (
            places[part] + random.standard_normal((len(part), dim), np.float32) / 2
        )
    return made.astype(np.float16).astype(np.float32)


def moment(number: int, vector: FloatArray) -> Moment:
    """Streams take turns, ten moments a second."""
    return Moment(
        stream_id=f"cam{number % STREAMS}", epoch=1, seq=number, kind="scene", time_ns=START_NS + number * STEP_NS,
        pts_seconds=number / 10, reason="change", keep_ratio=0.1, model_id="ov-nano", model_digest=DIGEST, vector=vector,
    )  # fmt: skip


def open_one(name: str, folder: Path, count: int) -> VectorStore:
    """The store to measure; files of the default one hold a tenth of the moments each, but enough to be indexed."""
    if name == "lancedb":
        from ovstream.store.lance import LanceStore

        return LanceStore(folder)
    if name == "qdrant":
        from ovstream.store.qdrant import QdrantStore

        return QdrantStore(path=str(folder))
    return SqliteStore(
        folder,
        partition_seconds=max(1, max(count // 10, LEAST_ROWS) * STEP_NS // 10**9),
        now_ns=lambda: START_NS + 10 * count * STEP_NS + 10**16,
    )


def run(name: str, count: int, dim: int) -> dict[str, float]:
    """Measures one store in this process."""
    data = vectors(count, dim)
    data, asked = data[:-ASKED], data[-ASKED:]
    units = data / np.linalg.norm(data, axis=1, keepdims=True)
    nearest = [set(np.argpartition(-(units @ one), K)[:K].tolist()) for one in asked]
    del units
    began_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as folder:
        store = open_one(name, Path(folder), count)
        started = time.process_time()
        for first in range(0, count, BATCH):
            store.add([moment(first + at, one) for at, one in enumerate(data[first : first + BATCH])])
        told = {"insert_hz": count / (time.process_time() - started)}
        if name == "usearch":
            assert isinstance(store, SqliteStore)
            started = time.process_time()
            store.index()
            told["index_hz"] = count / (time.process_time() - started)
        everything = Query(model_digest=DIGEST)
        told["all_ms"], found = ask(lambda one: store.search(one, k=K, query=everything), asked)
        right = sum(
            len({one.moment.seq for one in got} & want) for got, want in zip(found, nearest, strict=True)
        )
        told["recall"] = right / (K * ASKED)
        middle = START_NS + count // 2 * STEP_NS
        few = Query(("cam3",), middle, middle + count // 10 * STEP_NS, model_digest=DIGEST)
        told["few_ms"], _ = ask(lambda one: store.search(one, k=K, query=few), asked)
        told["disk_mb"] = sum(one.stat().st_size for one in Path(folder).rglob("*") if one.is_file()) / 1e6
        told["memory_mb"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - began_kib) / 1e3
        store.close()
    return told


def ask(search: Callable[[FloatArray], list[Match]], asked: FloatArray) -> tuple[float, list[list[Match]]]:
    """Median milliseconds of CPU of a search, and what was found."""
    search(asked[0])
    times, found = [], []
    for one in asked:
        started = time.process_time()
        found.append(search(one))
        times.append(time.process_time() - started)
    return float(np.median(times)) * 1e3, found


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="10000,100000")
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--stores", default="sqlite,usearch,lancedb,qdrant")
    parser.add_argument("--core", type=int, default=min(os.sched_getaffinity(0)))
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(run(arguments.one[0], int(arguments.one[1]), arguments.dim)))
        return
    os.sched_setaffinity(0, {arguments.core})
    print(
        "| moments | store | inserted/s | indexed/s | all: ms CPU | recall | one camera, a tenth of the time: ms CPU | disk MB | memory MB |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for size in map(int, arguments.sizes.split(",")):
        for name in arguments.stores.split(","):
            command = [sys.executable, "-W", "ignore", "-m", "benchmarks.store", "--dim", str(arguments.dim)]
            done = subprocess.run(
                [*command, "--one", name, str(size)], capture_output=True, text=True, check=False
            )
            if done.returncode:
                print(
                    f"| {size:,} | {name} | {(done.stderr.strip().splitlines() or ['?'])[-1]} |", flush=True
                )
                continue
            told = json.loads(done.stdout)
            index = f"{told['index_hz']:,.0f}" if "index_hz" in told else ""
            print(
                f"| {size:,} | {name} | {told['insert_hz']:,.0f} | {index} | {told['all_ms']:.1f} | {told['recall']:.3f} "
                f"| {told['few_ms']:.1f} | {told['disk_mb']:.0f} | {told['memory_mb']:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
