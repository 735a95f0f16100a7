"""Draws values over time, a lane per stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from PIL import Image, ImageDraw, ImageFont

_PAPER, _PANEL = (18, 20, 26), (26, 29, 37)
_INK, _FAINT, _LINE, _ACCENT = (232, 234, 240), (142, 148, 160), (72, 160, 220), (255, 176, 32)
_WIDTH, _LANE, _HEADER, _FOOTER, _LEFT, _RIGHT = 1100, 120, 64, 44, 170, 24
_TICKS = 6
_GAP = 12  # between lanes
_INSET = 14  # between a lane's edge and its highest value: room for a mark
_MARK_PX = 9


@dataclass(frozen=True, slots=True)
class Lane:
    """One stream.

    Attributes:
        name: Of the stream.
        points: (Unix seconds, value), by time.
        marks: (Unix seconds, value, label) of the points to point out.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    marks: tuple[tuple[float, float, str], ...] = ()


def draw_timeline(lanes: Sequence[Lane], *, title: str) -> Image.Image:
    """Draws every lane on the same scales of time and value, marks on top."""
    height = _HEADER + max(1, len(lanes)) * _LANE + _FOOTER
    image = Image.new("RGB", (_WIDTH, height), _PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((_LEFT, 14), title, _INK, font=_font(20))
    points = [point for lane in lanes for point in lane.points]
    if not points:
        draw.text((_LEFT, _HEADER), "nothing is kept of these streams and times", _FAINT, font=_font(14))
        return image
    scale = _Scale.over(points)
    for number, lane in enumerate(lanes):
        _draw_lane(draw, lane, scale, _HEADER + number * _LANE)
    for number in range(_TICKS):
        seconds = scale.start + scale.span * number / (_TICKS - 1)
        text = datetime.fromtimestamp(seconds).strftime("%H:%M:%S" if scale.span < 86400 else "%m-%d %H:%M")
        anchor = "la" if number == 0 else "ra" if number == _TICKS - 1 else "ma"
        draw.text((scale.x(seconds), height - _FOOTER + 8), text, _FAINT, font=_font(13), anchor=anchor)
    return image


@dataclass(frozen=True, slots=True)
class _Scale:
    start: float
    span: float
    low: float
    high: float

    @classmethod
    def over(cls, points: Sequence[tuple[float, float]]) -> _Scale:
        times, values = zip(*points, strict=True)
        return cls(min(times), max(max(times) - min(times), 1e-3), min(values), max(values))

    def x(self, seconds: float) -> float:
        return _LEFT + (seconds - self.start) / self.span * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float, top: int) -> float:
        share = (value - self.low) / max(self.high - self.low, 1e-6)
        return top + _INSET + (_LANE - _GAP - 2 * _INSET) * (1 - share)


def _draw_lane(draw: ImageDraw.ImageDraw, lane: Lane, scale: _Scale, top: int) -> None:
    draw.rectangle((_LEFT, top, _WIDTH - _RIGHT, top + _LANE - _GAP), fill=_PANEL)
    draw.text((12, top + 8), lane.name if len(lane.name) < 20 else f"{lane.name[:18]}…", _INK, font=_font(15))
    for value in (scale.high, scale.low):
        draw.text((_LEFT - 8, scale.y(value, top)), f"{value:.2f}", _FAINT, font=_font(12), anchor="rm")
    line = [(scale.x(at), scale.y(value, top)) for at, value in lane.points]
    if len(line) > 1:
        draw.line(line, fill=_LINE, width=2)
    for x, y in line if len(line) < 200 else ():
        draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=_LINE)
    for at, value, label in lane.marks:
        x, y = scale.x(at), scale.y(value, top)
        box = (x - _MARK_PX, y - _MARK_PX, x + _MARK_PX, y + _MARK_PX)
        draw.ellipse(box, fill=_ACCENT, outline=_PAPER, width=2)
        draw.text((x, y), label, _PAPER, font=_font(12), anchor="mm")


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
