"""How much less does a picture cost when only n of its patches are encoded?

A token costs the same whichever way it runs, so n of N patches cannot cost less than n / N of a dense pass (the
"ideal"); weights must be read however few the tokens are, so small n costs more than that. The table shows how close
the runtime comes. All rows of a table are measured in turns, round by round, so that a disturbance hits all of them;
times are CPU time on one pinned core, medians.

```
python benchmarks/encode.py                              the embedded model: 256 cached patches
python benchmarks/encode.py --size small --size base     random weights; needs the extra 'torch'
python benchmarks/encode.py --grid 32x32                 1024 cached patches
```
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from ovstream.encode import Encoder, EncoderState, Mode, load_encoder
from ovstream.types import Patches

COUNTS = (1, 4, 8, 16, 32, 64)
EMBEDDED = "tiny"
SEED = 0


@contextmanager
def model_folder(size: str) -> Iterator[str]:
    """Yields the embedded model, or one with random weights in a temporary folder."""
    if size == EMBEDDED:
        yield "ovstream-tiny"
        return
    from ovstream.model import PRESETS, export_model
    from ovstream.model.export import random_model

    with tempfile.TemporaryDirectory() as folder:
        model = random_model(PRESETS[size], seed=SEED)
        export_model(model, folder, model_id=f"random-{size}", trained=False, weights="int8")
        yield folder


def update(encoder: Encoder, state: EncoderState, patches: Patches) -> float:
    """CPU milliseconds of one call."""
    start = time.process_time()
    encoder.encode_patches(state, patches)
    return 1e3 * (time.process_time() - start)


def choose(everything: Patches, n: int, rng: np.random.Generator) -> Patches:
    """Some of the patches."""
    keep = np.zeros(len(everything), np.bool_)
    keep[rng.choice(len(everything), n, replace=False)] = True
    return everything.subset(keep)


def measure(encoder: Encoder, grid: tuple[int, int], seconds: float) -> dict[int, float]:
    """Median CPU milliseconds by number of patches; the key N is the dense pass."""
    rng = np.random.default_rng(SEED)
    total = grid[0] * grid[1]
    side = encoder.info.patch_px
    pixels = rng.standard_normal((total, 3, side, side), np.float32)
    everything = Patches(np.arange(total, dtype=np.int32), pixels, grid)
    state = encoder.new_state(grid)
    counts = [n for n in COUNTS if n < total] + [total]
    times: dict[int, list[float]] = {n: [] for n in counts}
    update(encoder, state, everything)
    end = time.process_time() + seconds
    while time.process_time() < end or len(times[total]) < 5:
        for n in counts:
            for _ in range(1 if n == total else 3):
                times[n].append(update(encoder, state, choose(everything, n, rng)))
    return {n: float(np.median(values)) for n, values in times.items()}


def report(title: str, times: dict[int, float]) -> None:
    """Prints one table."""
    total = max(times)
    print(f"\n{title}, {total} cached patches: dense {times[total]:.2f} ms")
    print(f"{'n':>6}{'ms':>10}{'of dense':>11}{'ideal n/N':>11}")
    for n in sorted(times)[:-1]:
        print(f"{n:>6}{times[n]:>10.2f}{times[n] / times[total]:>11.3f}{n / total:>11.3f}")


def main() -> None:
    """Reads the options and prints a table for every size and precision."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sizes = ["tiny", "small", "base", "large", "huge"]
    parser.add_argument("--size", action="append", choices=sizes, help="default: tiny; may be repeated")
    parser.add_argument("--grid", default="16x16", help="patches, rows x columns")
    parser.add_argument("--seconds", type=float, default=6.0, help="CPU time for each table")
    options = parser.parse_args()
    rows, cols = (int(part) for part in options.grid.split("x"))
    if sys.platform == "linux":
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    modes: tuple[tuple[Mode, str], ...] = (("exact", "float32"), ("fast", "int8"))
    for size in options.size or [EMBEDDED]:
        with model_folder(size) as folder:
            for mode, precision in modes:
                encoder = load_encoder(folder, mode=mode)
                report(f"{size} {precision}", measure(encoder, (rows, cols), options.seconds))


if __name__ == "__main__":
    main()
