"""Draws what `ovstream bench` found: cameras against cores, with Pillow alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

_SIZE = (1100, 560)
_BACK, _TEXT, _DIM, _GRID = "#ffffff", "#17211f", "#5b6a65", "#dfe6e3"
_COLOURS = {
    "parse": "#2b6cb0",
    "plan": "#3aa6a0",
    "decode": "#e08a1e",
    "crop": "#b7791f",
    "encode": "#7d4bd1",
    "health": "#d1669a",
    "watch": "#94a3a0",
    "rest": "#c9d2cf",
}


def draw(path: Path, costs: Mapping[str, Mapping[str, float]], *, cores: float, fill: float) -> None:
    """Draws one bar per scene: the cores of one camera by stage, and how many cameras fit.

    Args:
        path: PNG to write.
        costs: Scene -> stage -> cores of one camera.
        cores: Of the machine.
        fill: Share of them that may be used.
    """
    image = Image.new("RGB", _SIZE, _BACK)
    pen = ImageDraw.Draw(image)
    large, plain = ImageFont.load_default(24), ImageFont.load_default(17)
    pen.text((40, 24), f"How many cameras will {cores:g} cores carry?", _TEXT, font=large)
    pen.text(
        (40, 58),
        f"bars: share of one core that one camera takes, by stage; cameras at {fill:.0%} of all cores",
        _DIM,
        font=plain,
    )
    left, right, top_px, tall, gap = 150, 860, 120, 70, 50
    most = max(sum(stages.values()) for stages in costs.values())
    step = _round_step(most)
    for tick in range(int(most / step * 1.0001) + 1):
        x = left + (right - left) * tick * step / most
        pen.line((x, top_px - 14, x, top_px + len(costs) * (tall + gap) - gap + 10), _GRID)
        pen.text((x, top_px - 34), f"{100 * tick * step:g}%", _DIM, font=plain, anchor="ma")
    for number, (scene, stages) in enumerate(costs.items()):
        y, x = top_px + number * (tall + gap), float(left)
        pen.text((left - 16, y + tall / 2), scene, _TEXT, font=plain, anchor="rm")
        for stage, colour in _COLOURS.items():
            wide = (right - left) * stages.get(stage, 0.0) / most
            pen.rectangle((x, y, x + wide, y + tall), fill=colour)
            x += wide
        fits = int(fill * cores / sum(stages.values()))
        pen.text((x + 18, y + tall / 2), f"{fits} cameras", _TEXT, font=large, anchor="lm")
    x = float(left)
    for stage, colour in _COLOURS.items():
        pen.rectangle((x, 500, x + 16, 516), fill=colour)
        pen.text((x + 22, 508), stage, _TEXT, font=plain, anchor="lm")
        x += 40 + pen.textlength(stage, font=plain)
    image.save(path)


def _round_step(most: float) -> float:
    """Distance of the marks of an axis up to `most`: four to eight of them, at round numbers."""
    step = 10.0 ** math.floor(math.log10(most / 4))
    return next(step * factor for factor in (1, 2, 2.5, 5, 10) if most / (step * factor) <= 8)
