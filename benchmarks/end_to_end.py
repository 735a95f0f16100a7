"""What does a whole stream cost, against decoding every picture and encoding it whole?

Runs each clip through the same pipeline twice on one pinned core: as shipped, and with `everything=True`
(every picture decoded, every patch encoded: the usual way; same model, same precision). CPU seconds are of the whole process, demuxing included; the
fidelity columns compare the embeddings of the two runs picture by picture.

    python -m benchmarks.end_to_end CLIP [CLIP ...] [--runs 3] [--seconds 20]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from ovstream.encode import Encoder, load_encoder
from ovstream.pipeline import StreamStats, iterate
from ovstream.sinks import MemorySink

Vectors = dict[float, npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Row:
    """Medians of one clip."""

    clip: str
    pictures: int
    decoded_share: float
    patches_share: float
    cpu_seconds: float
    dense_cpu_seconds: float
    ratio: float
    cosine: float
    fvu: float


def run(
    clip: str, encoder: Encoder, seconds: float, *, everything: bool
) -> tuple[float, StreamStats, Vectors]:
    """One pass over a clip: CPU seconds, counters, vectors by presentation time."""
    sink = MemorySink()
    start = time.process_time()
    for embedding in iterate(clip, encoder=encoder, sinks=[sink], everything=everything):
        if (embedding.pts_seconds or 0.0) > seconds:
            break
    spent = time.process_time() - start
    last = sink.embeddings[-1]
    stats = StreamStats(**last.counters)
    vectors = {round(one.pts_seconds or 0.0, 4): one.vector for one in sink.embeddings}
    return spent, stats, vectors


def fidelity(ours: Vectors, dense: Vectors) -> tuple[float, float]:
    """Mean cosine and fraction of variance unexplained, over the pictures of both runs."""
    shared = sorted(ours.keys() & dense.keys())
    a, b = np.stack([ours[t] for t in shared]), np.stack([dense[t] for t in shared])
    cosine = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    variance = ((b - b.mean(0)) ** 2).sum()
    return float(cosine.mean()), float(((a - b) ** 2).sum() / max(variance, 1e-12))


def measure(clip: str, runs: int, seconds: float, model: str) -> Row:
    """Alternates the two ways `runs` times and takes medians."""
    encoder = load_encoder(model, mode="fast")
    ours, dense = [], []
    for _ in range(runs):
        ours.append(run(clip, encoder, seconds, everything=False))
        dense.append(run(clip, encoder, seconds, everything=True))
    cpu, dense_cpu = statistics.median(x[0] for x in ours), statistics.median(x[0] for x in dense)
    stats = ours[0][1]
    cosine, fvu = fidelity(ours[0][2], dense[0][2])
    return Row(
        clip=Path(clip).name,
        pictures=stats.frames,
        decoded_share=stats.decoded_ratio,
        patches_share=stats.encoded_ratio,
        cpu_seconds=cpu,
        dense_cpu_seconds=dense_cpu,
        ratio=dense_cpu / cpu,
        cosine=cosine,
        fvu=fvu,
    )


def main() -> None:
    """Prints the table, or JSON with --json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", nargs="+")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each clip")
    parser.add_argument("--model", default="ov-nano")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    rows = [measure(clip, args.runs, args.seconds, args.model) for clip in args.clips]
    if args.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        return
    table = Table(box=None, header_style="dim")
    for name in (
        "clip",
        "pictures",
        "decoded",
        "patches encoded",
        "CPU s",
        "CPU s everything",
        "ratio",
        "cosine",
        "FVU",
    ):
        table.add_column(name, justify="left" if name == "clip" else "right")
    for row in rows:
        table.add_row(
            row.clip,
            str(row.pictures),
            f"{row.decoded_share:.1%}",
            f"{row.patches_share:.1%}",
            f"{row.cpu_seconds:.2f}",
            f"{row.dense_cpu_seconds:.2f}",
            f"{row.ratio:.1f}x",
            f"{row.cosine:.4f}",
            f"{row.fvu:.3f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
