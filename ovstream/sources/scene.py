"""A synthetic camera picture: textured ground, smooth objects on known paths, sensor noise, slow light."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ovstream.types import FloatArray

LIGHTING_PERIOD_FRAMES = 500
ACTIVITY_PERIOD_FRAMES = 100  # a stretch of motion and a stretch of rest
TEXTURE_OCTAVES = ((64, 26.0), (16, 14.0), (4, 7.0))  # (cell in pixels, amplitude in grey levels)


@dataclass(frozen=True, slots=True)
class _Body:
    """One object: an ellipse that bounces between the borders of the picture."""

    radius_px: FloatArray  # (2,) x, y
    start_px: FloatArray  # (2,)
    speed_px: FloatArray  # (2,) per frame
    colour: FloatArray  # (3,) RGB, 0..255
    stripe_px: float

    def centre(self, index: int, size: FloatArray) -> FloatArray:
        """(2,) position in frame `index`: a triangle wave that keeps the ellipse inside `size`."""
        room = np.maximum(size - 2 * self.radius_px, 1.0)
        phase = np.mod(self.start_px + self.speed_px * index, 2 * room)
        folded: FloatArray = self.radius_px + np.where(phase < room, phase, 2 * room - phase)
        return folded


@dataclass(frozen=True)
class Scene:
    """Renders frame `i` of an endless scene; the same arguments always give the same pictures.

    Attributes:
        width: Pixels.
        height: Pixels.
        seed: Chooses texture, objects and noise.
        objects: Moving ellipses; later ones hide earlier ones.
        noise: Standard deviation of the sensor noise in grey levels; 0 = none.
        lighting: Depth of the slow change of brightness, 0..1; a cycle takes 500 frames.
        pan_px: Camera motion to the right in pixels per frame; parts of a pixel are interpolated.
        speed_px: Typical object speed in pixels per frame.
        rest: Share of each 100 frames, at their end, in which the objects stand still.
    """

    width: int
    height: int
    seed: int = field(default=0, kw_only=True)
    objects: int = field(default=3, kw_only=True)
    noise: float = field(default=2.0, kw_only=True)
    lighting: float = field(default=0.1, kw_only=True)
    pan_px: float = field(default=0.0, kw_only=True)
    speed_px: float = field(default=2.0, kw_only=True)
    rest: float = field(default=0.0, kw_only=True)

    def render(self, index: int) -> npt.NDArray[np.uint8]:
        """Draws one picture.

        Args:
            index: Frame number, from 0.

        Returns:
            (height, width, 3) uint8, RGB.
        """
        canvas = self._background(index)
        for body in self._bodies:
            self._draw(canvas, body, index)
        canvas *= 1.0 + self.lighting * np.sin(2 * np.pi * index / LIGHTING_PERIOD_FRAMES)
        if self.noise > 0:
            rng = np.random.default_rng((self.seed, 1, index))
            luma_noise = rng.standard_normal((self.height, self.width, 1), dtype=np.float32)
            canvas += luma_noise * np.float32(self.noise)
        rounded: npt.NDArray[np.uint8] = np.clip(canvas + 0.5, 0, 255).astype(np.uint8)
        return rounded

    def moving_boxes(self, index: int) -> npt.NDArray[np.int32]:
        """Tells where the objects are.

        Returns:
            (objects, 4) int32: x0, y0, x1, y1 in pixels, ends exclusive, in drawing order.
        """
        boxes = [self._box(body, index) for body in self._bodies]
        return np.array(boxes, dtype=np.int32).reshape(-1, 4)

    @property
    def _size(self) -> FloatArray:
        return np.array((self.width, self.height), dtype=np.float32)

    @cached_property
    def _bodies(self) -> tuple[_Body, ...]:
        rng = np.random.default_rng((self.seed, 2))
        return tuple(self._make_body(rng) for _ in range(self.objects))

    def _make_body(self, rng: np.random.Generator) -> _Body:
        shortest = min(self.width, self.height)
        angle = rng.uniform(0, 2 * np.pi)
        speed = self.speed_px * rng.uniform(0.5, 1.5)
        return _Body(
            radius_px=(shortest * rng.uniform(0.06, 0.16, 2)).astype(np.float32),
            start_px=(rng.uniform(0, 1, 2) * self._size).astype(np.float32),
            speed_px=(speed * np.array((np.cos(angle), np.sin(angle)))).astype(np.float32),
            colour=rng.uniform(30, 225, 3).astype(np.float32),
            stripe_px=float(rng.uniform(6, 14)),
        )

    @cached_property
    def _texture(self) -> FloatArray:
        """(height, width, 3) float32, seamless from its right edge to its left one."""
        rng = np.random.default_rng((self.seed, 0))
        grey = np.full((self.height, self.width), 110.0, dtype=np.float32)
        for cell_px, amplitude in TEXTURE_OCTAVES:
            grey += np.float32(amplitude) * self._smooth_noise(rng, cell_px)
        tint = rng.uniform(0.85, 1.15, 3).astype(np.float32)
        return grey[:, :, None] * tint

    def _smooth_noise(self, rng: np.random.Generator, cell_px: int) -> FloatArray:
        """(height, width) float32 in -1..1: random values on a grid, blended by cosine, periodic in x."""
        rows, cols = -(-self.height // cell_px) + 1, max(-(-self.width // cell_px), 1)
        grid = rng.uniform(-1, 1, (rows, cols)).astype(np.float32)
        y, y_part = _cell_positions(self.height, self.height / (rows - 1))
        x, x_part = _cell_positions(self.width, self.width / cols)
        top, bottom = grid[y], grid[np.minimum(y + 1, rows - 1)]
        lines = top + (bottom - top) * y_part[:, None]
        left, right = lines[:, x], lines[:, (x + 1) % cols]
        blended: FloatArray = left + (right - left) * x_part[None, :]
        return blended

    def _background(self, index: int) -> FloatArray:
        whole, part = divmod(self.pan_px * index, 1.0)
        shifted = np.roll(self._texture, -int(whole), axis=1)
        if part > 0:
            shifted += (np.roll(shifted, -1, axis=1) - shifted) * np.float32(part)
        return shifted

    def _centre(self, body: _Body, index: int) -> FloatArray:
        """(2,) position of an object, which moves only in the busy part of each period."""
        busy = round(ACTIVITY_PERIOD_FRAMES * (1 - self.rest))
        period, place = divmod(index, ACTIVITY_PERIOD_FRAMES)
        return body.centre(period * busy + min(place, busy), self._size)

    def _box(self, body: _Body, index: int) -> tuple[int, int, int, int]:
        centre = self._centre(body, index)
        x0, y0 = np.maximum(np.floor(centre - body.radius_px), 0).astype(int)
        x1, y1 = np.minimum(np.ceil(centre + body.radius_px), self._size).astype(int)
        return int(x0), int(y0), int(x1), int(y1)

    def _draw(self, canvas: FloatArray, body: _Body, index: int) -> None:
        x0, y0, x1, y1 = self._box(body, index)
        x_centre, y_centre = self._centre(body, index)
        x = np.arange(x0, x1, dtype=np.float32)[None, :] + 0.5 - x_centre
        y = np.arange(y0, y1, dtype=np.float32)[:, None] + 0.5 - y_centre
        distance = np.sqrt((x / body.radius_px[0]) ** 2 + (y / body.radius_px[1]) ** 2)
        edge = body.radius_px.min() / 2  # the border fades over two pixels
        alpha = np.clip((1.0 - distance) * edge, 0.0, 1.0)[:, :, None]
        shade = (1.0 - 0.35 * distance + 0.15 * np.sin((x + y) * (2 * np.pi / body.stripe_px)))[:, :, None]
        area = canvas[y0:y1, x0:x1]
        area += alpha * (shade * body.colour - area)


def _cell_positions(length: int, cell_px: float) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """Cell number and smoothed position inside it, of every sample along one axis."""
    position = np.arange(length) / cell_px
    cell = np.floor(position).astype(np.int64)
    part = (0.5 - 0.5 * np.cos(np.pi * (position - cell))).astype(np.float32)
    return cell, part
