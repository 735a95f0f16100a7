"""Does a stream that lives long stay right, and stay small?

Two streams run in turns through one encoder, picture by picture, and are never encoded whole after their first
picture: harder than any camera, whose schedule ends every drift. Then the first runs again alone. Told are

* how wrong the scenes are against whole passes on the same picture, stretch by stretch: mean squared error in units of
  the variance of the whole passes. What accumulates grows from stretch to stretch;
* whether it ends alone with the same memory, bit for bit, as beside the other;
* how much memory process and states have grown.

```
python -m benchmarks.endurance                       5000 pictures, canvas
python -m benchmarks.endurance --window 512          the same with a window of 512 patches
python -m benchmarks.endurance --mode exact          without probes: drift is not corrected
```
"""

from __future__ import annotations

import argparse
import gc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from ovstream.encode import Encoder, EncoderState, load_encoder
from ovstream.encode.images import image_patches
from ovstream.sources.scene import Scene
from ovstream.types import FloatArray, Patches

SIDE_PX = 112  # 8x8 patches
MIN_CHANGE = 0.08
STRETCHES = 5
CHECK_EVERY = 10  # pictures between comparisons with a whole pass
SCENES = tuple(Scene(SIDE_PX, SIDE_PX, seed=seed, noise=1.0, objects=2, speed_px=1.0) for seed in (5, 6))


@dataclass(frozen=True, slots=True)
class Endured:
    """What became of the streams.

    Attributes:
        missed: Share of the variance of whole passes that is missed, of each stretch in order.
        alike: Whether the first stream ended as it does alone.
        state_bytes: Of one state, at the start and at the end.
        process_bytes: Resident memory after the first and after the last stretch; 0 where the system does not tell.
    """

    missed: list[float]
    alike: bool
    state_bytes: tuple[int, int]
    process_bytes: tuple[int, int]


class Life:
    """One stream: what changed is encoded, nothing else, for ever."""

    def __init__(self, encoder: Encoder, scene: Scene, window_tokens: int | None) -> None:
        self._encoder, self._scene = encoder, scene
        self._window_tokens = window_tokens
        self.state: EncoderState = self._new_state(self.picture(0))
        self.bytes_at_start = self.state.memory_bytes
        encoder.encode_patches(self.state, self.picture(0))

    def picture(self, number: int) -> Patches:
        """All patches of a picture."""
        return image_patches(self._scene.render(number), self._encoder.info, max_tokens=64)

    def step(self, picture: Patches) -> FloatArray:
        """Encodes what changed."""
        some = picture.subset(self.state.changed(picture, MIN_CHANGE))
        probes = None
        if self.state.window is None:
            probes = picture.subset(
                np.isin(picture.indices, self._encoder.choose_probes(self.state, some.indices))
            )
        return self._encoder.encode_patches(self.state, some, probes=probes if len(some) else None).scene

    def whole(self, picture: Patches) -> FloatArray:
        """What a whole pass makes of a picture; in a window, of all that it remembers."""
        other = self._new_state(picture)
        if self.state.window is None:
            return self._encoder.encode_patches(other, picture).scene
        other.restore(self.state.snapshot())
        return self._encoder.refresh(other).scene

    def _new_state(self, picture: Patches) -> EncoderState:
        return self._encoder.new_state(picture.grid, window_tokens=self._window_tokens)


def endure(
    encoder: Encoder,
    *,
    pictures: int,
    window_tokens: int | None = None,
    progress: Callable[[range], object] = iter,
) -> Endured:
    """Runs both streams in turns, then the first alone."""
    lives = [Life(encoder, scene, window_tokens) for scene in SCENES]
    stretch = pictures // STRETCHES
    found: list[list[tuple[FloatArray, FloatArray]]] = [[] for _ in range(STRETCHES)]
    resident = [0, 0]
    for number in progress(range(1, stretch * STRETCHES + 1)):
        for life in lives:
            picture = life.picture(number)
            scene = life.step(picture)
            if number % CHECK_EVERY == 0:
                found[(number - 1) // stretch].append((scene, life.whole(picture)))
        if number in (stretch, stretch * STRETCHES):
            resident[number > stretch] = resident_bytes()
    alone = Life(encoder, SCENES[0], window_tokens)
    for number in range(1, stretch * STRETCHES + 1):
        alone.step(alone.picture(number))
    return Endured(
        missed=missed(found),
        alike=lives[0].state.snapshot() == alone.state.snapshot(),
        state_bytes=(lives[0].bytes_at_start, lives[0].state.memory_bytes),
        process_bytes=(resident[0], resident[1]),
    )


def missed(found: list[list[tuple[FloatArray, FloatArray]]]) -> list[float]:
    """Squared errors of each stretch over the variance of all whole passes, stream by stream."""
    shares = []
    for stream in range(len(SCENES)):
        mine = [stretch[stream :: len(SCENES)] for stretch in found]
        whole = np.stack([true for stretch in mine for _, true in stretch])
        variance = ((whole - whole.mean(axis=0)) ** 2).sum(axis=1).mean()
        shares.append(
            [np.mean([((one - true) ** 2).sum() for one, true in part]) / variance for part in mine]
        )
    return [float(value) for value in np.mean(shares, axis=0)]


def resident_bytes() -> int:
    """Memory of this process as the system counts it."""
    gc.collect()
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * 4096


def main() -> None:
    """Runs and prints one line per stretch."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=5000)
    parser.add_argument("--model", default="ov-nano")
    parser.add_argument("--mode", choices=["fast", "exact"], default="fast")
    parser.add_argument("--window", type=int, help="patches of a window; default: a canvas")
    args = parser.parse_args()
    encoder = load_encoder(args.model, mode=args.mode)
    console = Console()
    done = endure(
        encoder,
        pictures=args.pictures,
        window_tokens=args.window,
        progress=lambda numbers: track(numbers, "pictures, both streams", console=console),
    )
    for number, share in enumerate(done.missed):
        console.print(
            f"pictures {number * args.pictures // STRETCHES:>6} and on: {share:.3f} of the variance missed"
        )
    console.print(f"alone as beside the other: {'the same to the bit' if done.alike else 'NOT THE SAME'}")
    console.print(f"bytes of a state: {done.state_bytes[0]} at the start, {done.state_bytes[1]} at the end")
    grown = (done.process_bytes[1] - done.process_bytes[0]) / 2**20
    console.print(f"memory of the process after the first stretch: {grown:+.1f} MiB")


if __name__ == "__main__":
    main()
