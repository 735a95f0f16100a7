"""Pictures for people: heat maps of the codec's planes, and contact sheets of what was encoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from ovstream.types import BlockClass, BoolArray, FrameMetadata, IntraMode

Rgb = npt.NDArray[np.uint8]

_PAPER = (18, 20, 26)
_INK = (232, 234, 240)
_FAINT = (142, 148, 160)
_ACCENT = (255, 176, 32)
_ARROW = (64, 224, 208)
_DIM = 0.38  # brightness of what was not encoded
_MARGIN = 14
_CAPTION = 40
# Anchor colours of a perceptually rising map, dark blue to yellow.
_MAP = np.array(
    [(13, 8, 60), (72, 20, 120), (140, 38, 120), (205, 70, 80), (245, 130, 45), (252, 225, 110)], np.float32
)
_CLASS_COLOURS = {
    BlockClass.UNKNOWN: (60, 0, 0),
    BlockClass.SKIP: (34, 38, 48),
    BlockClass.INTER: (52, 130, 190),
    BlockClass.INTRA: (240, 140, 40),
    BlockClass.PCM: (230, 60, 160),
}
_INTRA_COLOURS = {
    IntraMode.NONE: ((34, 38, 48), ""),
    IntraMode.DC: ((70, 96, 150), "mean slate"),
    IntraMode.VERTICAL: ((240, 140, 40), "above orange"),
    IntraMode.HORIZONTAL: ((80, 190, 110), "left green"),
    IntraMode.PLANE: ((52, 130, 190), "plane blue"),
    IntraMode.OTHER: ((235, 225, 190), "several pale"),
    IntraMode.ANGULAR: ((205, 70, 120), "angle red"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """One cell of a contact sheet.

    Attributes:
        rgb: (H, W, 3) uint8.
        title: First caption line.
        detail: Second caption line.
    """

    rgb: Rgb
    title: str
    detail: str


def highlight(rgb: Rgb, encoded: BoolArray) -> Rgb:
    """Darkens everything but the encoded patches and outlines those.

    Args:
        rgb: (H, W, 3) uint8.
        encoded: (rows, cols) bool.

    Returns:
        (H, W, 3) uint8.
    """
    height, width = rgb.shape[:2]
    rows, cols = encoded.shape
    y_edges = np.linspace(0, height, rows + 1).round().astype(int)
    x_edges = np.linspace(0, width, cols + 1).round().astype(int)
    mask = encoded.repeat(np.diff(y_edges), axis=0).repeat(np.diff(x_edges), axis=1)
    image = Image.fromarray(np.where(mask[..., None], rgb, (rgb * _DIM).astype(np.uint8)))
    if not encoded.all():
        draw = ImageDraw.Draw(image)
        for row, col in zip(*np.nonzero(encoded), strict=True):
            box = (x_edges[col], y_edges[row], x_edges[col + 1] - 1, y_edges[row + 1] - 1)
            draw.rectangle(box, outline=_ACCENT)
    return np.asarray(image)


def draw_motion(rgb: Rgb, frame: FrameMetadata, *, scale: float = 1.0, gain: float = 2.0) -> Rgb:
    """Draws a short line from each moving macroblock to where its content came from.

    Args:
        rgb: (H, W, 3) uint8, the picture at `scale` of its coded size.
        frame: Metadata of the picture.
        scale: Pixels of `rgb` per luma sample.
        gain: Lengthens the lines so that small motion can be seen.
    """
    image = Image.fromarray(rgb)
    draw = ImageDraw.Draw(image)
    blocks = frame.blocks
    listed = np.where(blocks["ref_idx"][..., 0] >= 0, 0, 1)
    mv = np.take_along_axis(blocks["mv"], listed[..., None, None], axis=2)[..., 0, :].astype(np.float32) / 4
    moving = (np.abs(mv).max(axis=-1) >= 0.5) & (blocks["ref_idx"].max(axis=-1) >= 0)
    for row, col in zip(*np.nonzero(moving), strict=True):
        x, y = (col * 16 + 8) * scale, (row * 16 + 8) * scale
        dx, dy = mv[row, col] * scale * gain
        draw.line((x, y, x - dx, y - dy), fill=_ARROW, width=1)
        draw.ellipse((x - 1, y - 1, x + 1, y + 1), fill=_ARROW)
    return np.asarray(image)


def heat(plane: npt.NDArray[np.generic], *, top: float | None = None) -> Rgb:
    """Colours a plane from 0 (dark) to `top` (bright; by default its 99th percentile).

    Args:
        plane: (rows, cols), any number type.
        top: Value of the brightest colour.

    Returns:
        (rows, cols, 3) uint8.
    """
    values = plane.astype(np.float32)
    top = top or float(np.percentile(values, 99)) or float(values.max()) or 1.0
    place = np.clip(values / top, 0, 1) * (len(_MAP) - 1)
    low = np.minimum(place.astype(int), len(_MAP) - 2)
    part = (place - low)[..., None]
    return np.asarray((_MAP[low] * (1 - part) + _MAP[low + 1] * part).round(), np.uint8)


def _intra_legend(frame: FrameMetadata) -> str:
    """Names the colours of the commonest modes; more do not fit under a panel."""
    counts = np.bincount(frame.intra_mode.ravel(), minlength=len(IntraMode))
    counts[IntraMode.NONE] = 0
    common = [IntraMode(mode) for mode in np.argsort(-counts, kind="stable")[:4] if counts[mode]]
    return ", ".join(_INTRA_COLOURS[mode][1] for mode in common) or "none"


def heat_maps(frame: FrameMetadata, *, cell_px: int | None = None) -> Image.Image:
    """Draws the planes of one picture side by side: class, motion, QP, residual, bits, intra modes.

    Args:
        frame: Metadata to draw.
        cell_px: Side of a macroblock in the drawing; by default so that a panel is about 400 pixels wide.
    """
    cell = cell_px or max(4, 400 // frame.mb_shape[1] // 4 * 4)  # motion is drawn in quarters of a cell
    classes = np.array([_CLASS_COLOURS[kind] for kind in BlockClass], np.uint8)[frame.block_class]
    modes = np.array([_INTRA_COLOURS[mode][0] for mode in IntraMode], np.uint8)[frame.intra_mode]
    mv = frame.mv.astype(np.float32) / 4
    speed = np.hypot(mv[..., 0], mv[..., 1]).max(axis=0)
    tiles = [
        Tile(_enlarge(classes, cell), "block class", "skip grey, inter blue, intra orange"),
        Tile(_enlarge(heat(speed), cell // 4), "motion", f"0 to {np.percentile(speed, 99):.1f} px"),
        Tile(
            _enlarge(heat(frame.qp, top=max(51, int(frame.qp.max()))), cell),
            "QP",
            f"{frame.qp.min()} to {frame.qp.max()}",
        ),
        Tile(
            _enlarge(heat(np.sqrt(frame.residual_energy)), cell),
            "residual",
            f"root of energy, 0 to {np.sqrt(frame.residual_energy.max()):.0f}",
        ),
        Tile(_enlarge(heat(frame.bit_cost), cell), "bit cost", f"0 to {frame.bit_cost.max()} bits"),
        Tile(_enlarge(modes, cell), "intra mode", _intra_legend(frame)),
    ]
    when = "" if frame.pts_seconds is None else f" at {frame.pts_seconds:.2f} s"
    return contact_sheet(
        tiles,
        title=f"{frame.codec} {frame.width}x{frame.height}, {frame.slice_type} picture{when}",
        subtitle=f"{frame.bits / 8 / 1024:.1f} KiB, {frame.coverage:.0%} of the cells known, read from: {frame.origin}",
        columns=3,
    )


def contact_sheet(tiles: Sequence[Tile], *, title: str, subtitle: str, columns: int = 3) -> Image.Image:
    """Lays tiles out in a grid under a title.

    Args:
        tiles: At least one.
        title: Large first line.
        subtitle: Second line.
        columns: Tiles per row.
    """
    width = max(tile.rgb.shape[1] for tile in tiles)
    height = max(tile.rgb.shape[0] for tile in tiles) + _CAPTION
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    header = 66
    sheet = Image.new(
        "RGB",
        (columns * (width + _MARGIN) + _MARGIN, header + rows * (height + _MARGIN) + _MARGIN),
        _PAPER,
    )
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, 12), title, _INK, font=_font(20))
    draw.text((_MARGIN, 40), subtitle, _FAINT, font=_font(13))
    for number, tile in enumerate(tiles):
        row, col = divmod(number, columns)
        x, y = _MARGIN + col * (width + _MARGIN), header + row * (height + _MARGIN)
        sheet.paste(Image.fromarray(tile.rgb), (x, y))
        below = y + tile.rgb.shape[0] + 4
        draw.text((x, below), tile.title, _INK, font=_font(14))
        draw.text((x, below + 18), tile.detail, _FAINT, font=_font(12))
    return sheet


def shrink(rgb: Rgb, width: int) -> Rgb:
    """Scales a picture to `width` pixels, keeping its aspect."""
    height = max(1, round(rgb.shape[0] * width / rgb.shape[1]))
    return np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.BOX))


def _enlarge(cells: Rgb, factor: int) -> Rgb:
    return cells.repeat(factor, axis=0).repeat(factor, axis=1)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
