"""The picture of `benchmarks.fidelity`: one panel per clip, error against operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, ImageDraw

PANEL, MARGIN, TOP, COLUMNS = 290, 50, 74, 4
FVU_RANGE = (1e-2, 10.0)
FLOPS_RANGE = (0.02, 1.0)
FAMILIES = {
    "key": ((110, 110, 110), "every k-th picture whole"),
    "naive": ((203, 66, 66), "changed patches only"),
    "gates": ((224, 150, 40), "token gates (Eventful)"),
    "ours": ((28, 96, 176), "ovstream"),
}
GRID, FRAME, TARGET = (232, 232, 232), (170, 170, 170), (196, 222, 196)
TARGET_FLOPS = 0.14


class Point(Protocol):
    """What is drawn of a method on a clip."""

    @property
    def method(self) -> str:
        """Begins with the name of its family."""

    @property
    def flops(self) -> float:
        """Operations / those of encoding everything."""

    @property
    def fvu(self) -> float:
        """Share of the variance that is missed."""


def draw(results: Mapping[str, Sequence[Point]], path: Path, *, title: str) -> None:
    """Draws operations to the right, error upwards, both logarithmic; lower left is better."""
    columns = min(COLUMNS, max(len(results), 3))  # the legend needs room
    rows = -(-len(results) // columns)
    image = Image.new("RGB", (columns * PANEL + 20, TOP + rows * PANEL), "white")
    pen = ImageDraw.Draw(image)
    pen.text((16, 10), title, fill="black", font_size=17)
    methods = {point.method.split()[0] for points in results.values() for point in points}
    shown = [pair for family, pair in FAMILIES.items() if family in methods]
    for number, (colour, name) in enumerate(shown):
        x = 16 + 190 * number
        pen.line((x, 50, x + 22, 50), fill=colour, width=3)
        pen.ellipse((x + 7, 46, x + 15, 54), fill=colour)
        pen.text((x + 28, 42), name, fill=(40, 40, 40), font_size=14)
    for number, (name, points) in enumerate(results.items()):
        row, column = divmod(number, columns)
        _panel(pen, name, points, column * PANEL + MARGIN, TOP + row * PANEL + 26)
    image.save(path)


def _panel(pen: ImageDraw.ImageDraw, name: str, points: Sequence[Point], left: int, top: int) -> None:
    side = PANEL - MARGIN - 14
    bottom = top + side - 14

    def place(flops: float, error: float) -> tuple[float, float]:
        x = _share(flops, FLOPS_RANGE) * side
        return left + x, bottom - _share(error, FVU_RANGE) * (bottom - top)

    pen.text((left, top - 22), name, fill="black", font_size=14)
    pen.rectangle((left, top, place(TARGET_FLOPS, 1)[0], bottom), fill=(246, 250, 246))
    for percent in (2, 5, 14, 25, 50, 100):
        x, _ = place(percent / 100, 1)
        pen.line((x, top, x, bottom), fill=TARGET if percent == 14 else GRID)
        pen.text((x, bottom + 3), f"{percent}%", fill=(70, 70, 70), font_size=11, anchor="ma")
    for error in (0.01, 0.1, 1.0, 10.0):
        _, y = place(1, error)
        pen.line((left, y, left + side, y), fill=GRID)
        pen.text((left - 5, y), f"{error:g}", fill=(70, 70, 70), font_size=11, anchor="rm")
    pen.rectangle((left, top, left + side, bottom), outline=FRAME)
    for family, (colour, _) in FAMILIES.items():
        line = sorted(place(p.flops, p.fvu) for p in points if p.method.startswith(family))
        if len(line) > 1:
            pen.line(line, fill=colour, width=2)
        for x, y in line:
            pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill=colour)


def _share(value: float, limits: tuple[float, float]) -> float:
    """Where a value lies between the limits, 0..1, on a logarithmic axis."""
    low, high = limits
    return float(np.log(np.clip(value, low, high) / low) / np.log(high / low))
