"""What is read out of an encoder's output for comparing pictures: the scene, or more of where things are."""

from __future__ import annotations

from typing import Literal

import numpy as np

from ovstream.encode import Output
from ovstream.errors import ConfigError
from ovstream.types import FloatArray

Readout = Literal["scene", "layout"]
CELLS = 4


def read_out(output: Output, grid: tuple[int, int], readout: Readout) -> FloatArray:
    """Returns (F,) float32.

    Args:
        output: Of a call, before the state encodes again.
        grid: (rows, cols) of the state.
        readout: "scene": pooled by the model, (D,). "layout": mean tokens of 4 x 4 parts of the picture, (16 D,), which
            tell where things are, too.

    Raises:
        ConfigError: The output holds no tokens any more.
    """
    if readout == "scene":
        return output.scene
    if readout == "layout":
        return layout(output.tokens, grid)
    raise ConfigError(f"readout is '{readout}': must be 'scene' or 'layout'")


def layout(tokens: FloatArray, grid: tuple[int, int], *, cells: int = CELLS) -> FloatArray:
    """Means of the tokens in cells x cells parts of a grid, (cells^2 D,); parts of a small grid share patches."""
    rows, cols = grid
    table = tokens.reshape(rows, cols, -1)
    parts = [
        block.mean(axis=(0, 1))
        for band in _bands(table, rows, cells)
        for block in _bands(band.swapaxes(0, 1), cols, cells)
    ]
    return np.concatenate(parts).astype(np.float32)


def _bands(table: FloatArray, length: int, cells: int) -> list[FloatArray]:
    starts = [length * number // cells for number in range(cells)]
    ends = [-(-length * (number + 1) // cells) for number in range(cells)]
    return [table[start:end] for start, end in zip(starts, ends, strict=True)]
