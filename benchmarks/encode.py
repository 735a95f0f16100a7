"""How much less does a picture cost when only n of its patches are encoded, and when streams share a run?

A token costs the same whichever way it runs, so n of N patches cannot cost less than n / N of a dense pass (the
"ideal"); weights must be read however few the tokens are, so small n costs more than that. The first table shows how
close the runtime comes, the second what sharing the weights between streams gives back. The cells of a row are
measured in turns, round by round, so that a disturbance hits all of them; medians. Times are CPU time on one pinned
core, or the clock on the wall where an accelerator computes.

```
python -m benchmarks.encode                                  the embedded model: 256 cached patches
python -m benchmarks.encode --size small --size base         random weights; needs the extra 'torch'
python -m benchmarks.encode --grid 16x16 --grid 32x32        256 and 1024 cached patches
python -m benchmarks.encode --streams 1,2,4,8,16             runs shared by so many streams
python -m benchmarks.encode --peers --limit 60               torch's dense pass, eager and compiled
python -m benchmarks.encode --backend onnx                   onnxruntime where the native core would compute
python -m benchmarks.encode --backend torch --device cuda --size large     needs torch and numpy alone
```
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from itertools import product

import numpy as np

from ovstream.encode import Encoder, EncoderState, Job, Mode, load_encoder
from ovstream.model.config import PRESETS, VisionConfig
from ovstream.model.folder import CLIP_MEAN, CLIP_STD, ModelFolder
from ovstream.types import Patches

COUNTS = (1, 4, 8, 16, 32, 64)
SHARED_COUNTS = (1, 4, 16)
WIDEST = 8  # of a shared run on onnxruntime: more lanes than that cost more than they save
EMBEDDED = "ov-nano"
SIZES = {
    EMBEDDED: PRESETS["nano"],
    **{name: PRESETS[name] for name in ("tiny", "small", "base", "large", "huge")},
}
SEED = 0
NOISE_BLOCK = 1 << 20
ROUNDS = 3
PEERS = {"eager": "torch eager, dense", "compiled": "torch.compile, dense"}


class Bench:
    """One model on one backend; gives encoders and tells the time.

    Args:
        size: Name of a preset.
        mode: Of the encoders.
        backend: "onnx" or "torch".
        device: Of torch.
        folder: Of the model on onnxruntime.
    """

    def __init__(self, size: str, mode: Mode, backend: str, device: str, folder: str) -> None:
        self.config = SIZES[size]
        self.size, self.mode, self.backend, self.device = size, mode, backend, device
        self._folder = folder

    @property
    def title(self) -> str:
        """For people."""
        if self.backend == "torch":
            return f"{self.size} float32, torch on {device_name(self.device)}"
        runtime = "the native core" if self.native else "onnxruntime"
        return f"{self.size} {'int8' if self.mode == 'fast' else 'float32'}, {runtime}"

    @cached_property
    def native(self) -> bool:
        """Whether the native core computes."""
        from ovstream.encode.native import NativeBackend

        return self.backend != "torch" and isinstance(self.encoder().backend, NativeBackend)

    @property
    def clock(self) -> Callable[[], float]:
        """Seconds: of the processor, unless another one computes."""
        return time.process_time if self.device == "cpu" else time.perf_counter

    def encoder(self, streams: int = 1) -> Encoder:
        """Opens the model; without probes, so that n patches are n patches."""
        if self.backend != "torch":
            return load_encoder(self._folder, mode=self.mode, streams=streams, probes=0, backend=self.backend)
        from ovstream.encode.torch_backend import TorchBackend

        opened = TorchBackend(self.config, random_tensors(self.config), device=self.device, lanes=streams)
        return Encoder(random_manifest(self.config), opened, mode=self.mode, probes=0)


def device_name(device: str) -> str:
    """What a device is called by its maker."""
    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


def random_tensors(config: VisionConfig) -> dict[str, np.ndarray]:
    """Weights that nobody trained: pieces of one block of noise, since drawing all of a large model takes minutes."""
    from ovstream.model import OneVisionEncoder

    block = np.random.default_rng(SEED).standard_normal(NOISE_BLOCK, np.float32)
    tensors = {}
    for key, shape in OneVisionEncoder.shapes(config).items():
        flat = np.empty(int(np.prod(shape)), np.float32)
        for start in range(0, flat.size, block.size):
            flat[start : start + block.size] = block[: flat.size - start]
        flat *= np.float32(np.prod(shape[1:]) ** -0.5)
        tensors[key] = flat.reshape(shape)
    return tensors


def random_manifest(config: VisionConfig) -> ModelFolder:
    """Describes a model that lies in no folder."""
    golden = (0.0,) * config.hidden_size, (1.0,) * config.hidden_size
    return ModelFolder(
        "random", "0" * 16, False, "none", 1024, CLIP_MEAN, CLIP_STD, "float32", config, golden
    )


@contextmanager
def model_folder(size: str, backend: str) -> Iterator[str]:
    """Yields the embedded model, or one with random weights in a temporary folder; torch needs none."""
    if size == EMBEDDED or backend == "torch":
        yield "ov-nano"
        return
    from ovstream.model.export import export_model, random_model

    with tempfile.TemporaryDirectory() as folder:
        model = random_model(SIZES[size], seed=SEED)
        export_model(model, folder, model_id=f"random-{size}", trained=False, weights="int8")
        yield folder


def some(grid: tuple[int, int], n: int, side: int, rng: np.random.Generator) -> Patches:
    """Noise at n places."""
    indices = np.sort(rng.choice(grid[0] * grid[1], n, replace=False)).astype(np.int32)
    return Patches(indices, rng.standard_normal((n, 3, side, side), np.float32), grid)


def medians(
    cells: dict[object, Callable[[], object]],
    clock: Callable[[], float],
    seconds: float,
    *,
    limit_seconds: float,
) -> dict[object, float]:
    """Milliseconds of each cell, measured in turns; a cell that is slower than the limit is measured once."""
    times: dict[object, list[float]] = {name: [] for name in cells}

    def measure(name: object) -> None:
        start = clock()
        cells[name]()
        times[name].append(1e3 * (clock() - start))

    for name in cells:  # warm up, and see what is too slow
        progress(f"{name}")
        measure(name)
        if times[name][0] < 1e3 * limit_seconds:
            times[name].clear()
    end, rounds = clock() + seconds, 0
    while clock() < end or rounds < ROUNDS:
        for name in [name for name in cells if times[name][:1] < [1e3 * limit_seconds]]:
            measure(name)
        rounds += 1
        progress(f"round {rounds}")
    progress("")
    return {name: float(np.median(values)) for name, values in times.items()}


def progress(text: str) -> None:
    """Says on a terminal what is being measured."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def counts_table(
    bench: Bench, grid: tuple[int, int], seconds: float, *, limit_seconds: float, peers: bool
) -> None:
    """Some of all patches against the dense pass, and torch's dense pass beside it."""
    rng, total = np.random.default_rng(SEED), grid[0] * grid[1]
    encoder = bench.encoder()
    state, side = encoder.new_state(grid), encoder.info.patch_px
    encoder.encode_patches(state, some(grid, total, side, rng))
    cells: dict[object, Callable[[], object]] = {}
    for n in [n for n in COUNTS if n < total] + [total]:
        cells[n] = partial(encoder.encode_patches, state, some(grid, n, side, rng))
    times = medians(cells, bench.clock, seconds, limit_seconds=limit_seconds)
    dense = times[total]
    print(f"\n{bench.title}, {total} cached patches: dense {dense:.2f} ms")
    print(f"{'n':>6}{'ms':>10}{'of dense':>11}{'ideal n/N':>11}")
    for n in [n for n in COUNTS if n < total]:
        print(f"{n:>6}{times[n]:>10.2f}{times[n] / dense:>11.3f}{n / total:>11.3f}")
    for peer, title in PEERS.items() if peers else ():
        found = peer_apart(bench, peer, grid, seconds, limit_seconds)
        told = found if isinstance(found, str) else f"{found:.2f} ms, {found / dense:.2f} of ours"
        print(f"  {title}: {told}", flush=True)


def peer_apart(
    bench: Bench, peer: str, grid: tuple[int, int], seconds: float, limit_seconds: float
) -> float | str:
    """Milliseconds of a peer, measured in a process of its own that ends in time; or why there are none."""
    progress(PEERS[peer])
    command = [sys.executable, "-m", "benchmarks.encode", "--peer", peer, "--size", bench.size]
    command += ["--grid", f"{grid[0]}x{grid[1]}", "--seconds", str(seconds), "--device", bench.device]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=limit_seconds + seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return f"skipped: not ready within {limit_seconds + seconds:.0f} s (--limit)"
    finally:
        progress("")
    if done.returncode:
        return f"skipped: {(done.stderr.strip() or 'failed').splitlines()[-1][:90]}"
    return float(done.stdout.split()[-1])


def measure_peer(bench: Bench, peer: str, total: int, seconds: float) -> float:
    """Milliseconds of the same dense pass by the network of `ovstream.model`, as torch runs it in float32."""
    import torch

    from ovstream.model.encoder import OneVisionEncoder, grid_positions

    torch.set_num_threads(1)
    with torch.device(bench.device):
        model = OneVisionEncoder(bench.config).eval()
        patches = torch.randn(1, total, bench.config.patch_values)
    positions = grid_positions(torch.zeros(1, dtype=torch.int64), 1, total)[None].to(bench.device)
    encode = torch.compile(model.encode_tokens, dynamic=False) if peer == "compiled" else model.encode_tokens

    def run() -> None:
        with torch.no_grad():
            encode(patches, positions)
        if bench.device != "cpu":
            torch.cuda.synchronize()

    return medians({peer: run}, bench.clock, seconds, limit_seconds=np.inf)[peer]


def streams_table(
    bench: Bench, grid: tuple[int, int], streams: list[int], seconds: float, *, limit_seconds: float
) -> None:
    """Several streams one by one, against runs that they share."""
    print(f"\n{bench.title}, {grid[0] * grid[1]} cached patches: ms per picture, alone and in shared runs")
    print(f"{'streams':>9}{'n each':>8}{'alone':>9}{'shared':>9}{'gain':>8}")
    for count in streams:
        width = count if bench.backend == "torch" or bench.native else min(count, WIDEST)
        rng, encoder = np.random.default_rng(SEED), bench.encoder(width)
        states = [encoder.new_state(grid) for _ in range(count)]
        for state in states:
            encoder.encode_patches(state, some(grid, grid[0] * grid[1], encoder.info.patch_px, rng))
        cells: dict[object, Callable[[], object]] = {}
        for n in SHARED_COUNTS:
            jobs = [job(encoder, state, some(grid, n, encoder.info.patch_px, rng)) for state in states]
            cells["alone", n] = partial(run_alone, encoder, jobs)
            cells["shared", n] = partial(encoder.backend.run, jobs)
        times = medians(cells, bench.clock, seconds / len(streams), limit_seconds=limit_seconds)
        for n in SHARED_COUNTS:
            alone, shared = times["alone", n] / count, times["shared", n] / count
            print(f"{count:>9}{n:>8}{alone:>9.2f}{shared:>9.2f}{alone / shared:>8.2f}", flush=True)


def run_alone(encoder: Encoder, jobs: list[Job]) -> None:
    """A run for each."""
    for one in jobs:
        encoder.backend.run([one])


def job(encoder: Encoder, state: EncoderState, patches: Patches) -> Job:
    """What a backend is given for one picture."""
    found = state.locate(patches)
    return Job(encoder.bound(state), *found)


def main() -> None:
    """Reads the options and prints the tables of every size and precision."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", action="append", choices=list(SIZES), help="may be repeated")
    parser.add_argument("--grid", action="append", help="patches, rows x columns: 16x16; may be repeated")
    parser.add_argument("--seconds", type=float, default=6.0, help="for each table")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds a cell may take to be measured")
    parser.add_argument("--precision", choices=["float32", "int8", "both"], default="both")
    parser.add_argument("--backend", choices=["auto", "native", "onnx", "torch"], default="auto")
    parser.add_argument("--device", default="cpu", help="of torch")
    parser.add_argument("--streams", help="shared runs instead, for example 1,2,4,8,16")
    parser.add_argument("--peers", action="store_true", help="torch's dense pass as well")
    parser.add_argument("--peer", choices=list(PEERS), help="one of them alone: prints milliseconds")
    options = parser.parse_args()
    pin(options.device)
    sizes = options.size or [EMBEDDED]
    grids = [tuple(int(part) for part in grid.split("x")) for grid in options.grid or ["16x16"]]
    if options.peer:
        bench = Bench(sizes[0], "exact", "torch", options.device, "")
        print(measure_peer(bench, options.peer, grids[0][0] * grids[0][1], options.seconds))
        return
    for size in sizes:
        with model_folder(size, options.backend) as folder:
            for mode, (rows, cols) in product(modes(options.backend, options.precision), grids):
                bench = Bench(size, mode, options.backend, options.device, folder)
                if options.streams:
                    counts = [int(part) for part in options.streams.split(",")]
                    streams_table(bench, (rows, cols), counts, options.seconds, limit_seconds=options.limit)
                else:
                    peers = options.peers and mode == "exact"
                    counts_table(
                        bench, (rows, cols), options.seconds, limit_seconds=options.limit, peers=peers
                    )


def pin(device: str) -> None:
    """Keeps to one core, the last that is allowed."""
    if sys.platform == "linux" and device == "cpu":
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def modes(backend: str, precision: str) -> list[Mode]:
    """What runs a precision."""
    if backend == "torch" or precision == "float32":
        return ["exact"]
    return ["fast"] if precision == "int8" else ["exact", "fast"]


if __name__ == "__main__":
    main()
