"""What a run says of itself at its end: a page of figures, and curves drawn with Pillow alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

REPORT_NAME, PLOT_NAME = "report.md", "report.png"
CURVES = {
    "loss": "loss",
    "purity": "purity of clusters against the teacher's groups",
    "knn": "5 nearest neighbours of the teacher's group",
    "fvu": "FVU of incremental against dense",
}
MEASURED = ("purity", "knn", "fvu")
_PANEL, _GAP = (620, 300), 40
_BACK, _TEXT, _DIM, _GRID, _LINE = "#ffffff", "#17211f", "#5b6a65", "#dfe6e3", "#2b6cb0"
Row = dict[str, float]


def write_report(folder: Path, *, log: Path, recipe: Path, pictures: int, histories: int) -> Path:
    """Writes `report.md` and `report.png`.

    Args:
        folder: Of the run.
        log: Lines of JSON, as a run writes them.
        recipe: The run's, in JSON.
        pictures: That it learnt from.
        histories: Of real streams.

    Returns:
        The page.
    """
    rows: list[Row] = [json.loads(line) for line in log.read_text().splitlines()]
    options: dict[str, Any] = json.loads(recipe.read_text())
    draw_curves(folder / PLOT_NAME, rows)
    looks = [row for row in rows if "fvu" in row]
    known = ["loss", *(key for key in ("scene", "cluster", "token", *MEASURED) if key in rows[-1])]
    last = rows[-1]
    lines = [
        "# Training run",
        "",
        f"{last['step']:,.0f} steps of {options['batch']} pictures in {last['seconds']:,.0f} s; {pictures:,} pictures and "
        f"{histories:,} recorded streams; seed {options['seed']}"
        + (
            f"; began with the weights {options['start']}." if options["start"] else "; random first weights."
        ),
        "",
        f"![curves]({PLOT_NAME})",
        "",
        "| step | " + " | ".join(known) + " |",
        "|---|" + "---|" * len(known),
        *(
            f"| {row['step']:.0f} | "
            + " | ".join(f"{row[key]:.4g}" if key in row else "" for key in known)
            + " |"
            for row in looks
        ),
        "",
        "Purity, neighbours and FVU are measured on views of the training's own pictures, drawn once: they tell how the run",
        "went. How good the model is, `ovstream eval` tells on data of your own.",
    ]
    path = folder / REPORT_NAME
    path.write_text("\n".join(lines) + "\n")
    return path


def draw_curves(path: Path, rows: Sequence[Row]) -> None:
    """Draws a panel for each of `CURVES` that the rows know."""
    shown = [key for key in CURVES if any(key in row for row in rows)]
    wide = min(2, len(shown))
    tall = -(-len(shown) // wide)
    size = wide * (_PANEL[0] + _GAP) + _GAP, tall * (_PANEL[1] + _GAP) + _GAP
    image = Image.new("RGB", size, _BACK)
    for number, key in enumerate(shown):
        at = (
            _GAP + number % wide * (_PANEL[0] + _GAP),
            _GAP + number // wide * (_PANEL[1] + _GAP),
        )
        points = [(row["step"], row[key]) for row in rows if key in row]
        _panel(ImageDraw.Draw(image), at, CURVES[key], points)
    image.save(path)


def _panel(
    pen: ImageDraw.ImageDraw, at: tuple[int, int], title: str, points: list[tuple[float, float]]
) -> None:
    large, plain = ImageFont.load_default(18), ImageFont.load_default(14)
    left, top, right, bottom = at[0] + 60, at[1] + 34, at[0] + _PANEL[0], at[1] + _PANEL[1] - 26
    low, high = min(0.0, *(y for _, y in points)), max(y for _, y in points)
    high = high if high > low else low + 1.0
    most = max(x for x, _ in points)
    pen.text((left, at[1]), title, _TEXT, font=large)
    for tick in range(5):
        y = bottom - (bottom - top) * tick / 4
        pen.line((left, y, right, y), _GRID)
        pen.text((left - 8, y), f"{low + (high - low) * tick / 4:.3g}", _DIM, font=plain, anchor="rm")
        x = left + (right - left) * tick / 4
        pen.text((x, bottom + 8), f"{most * tick / 4:,.0f}", _DIM, font=plain, anchor="ma")
    line = [
        (left + (right - left) * x / most, bottom - (bottom - top) * (y - low) / (high - low))
        for x, y in points
    ]
    if len(line) > 1:
        pen.line(line, _LINE, width=3, joint="curve")
    for x, y in line if len(line) < 30 else line[-1:]:
        pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill=_LINE)
    pen.text((right, at[1] + 4), f"{points[-1][1]:.3g}", _LINE, font=large, anchor="ra")
