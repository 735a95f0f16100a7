"""Geometry between the codec's 16x16 cells and the patches of the encoder."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ovstream.types import FloatArray

T = TypeVar("T", bound=np.generic)

CELL_PX = 16
MIN_SHARED_SIDE = 0.25  # of the shorter of cell and patch: a thinner overlap does not carry a cell's maximum


@dataclass(frozen=True, slots=True, eq=False)
class PatchGrid:
    """A grid of patches over the visible picture, and how cells of 16x16 samples map to it.

    Both axes are separable: a map is `rows @ cells @ cols.T` with two small matrices. Build it with `fit`.

    Attributes:
        width: Visible luma samples.
        height: Visible luma samples.
        max_tokens: Most patches the grid may have.
        row_edges_px: (rows + 1,) int32: patch row r covers samples row_edges_px[r] .. row_edges_px[r + 1].
        col_edges_px: (cols + 1,) int32: the same for columns.
    """

    width: int
    height: int
    max_tokens: int
    row_edges_px: npt.NDArray[np.int32] = field(repr=False)
    col_edges_px: npt.NDArray[np.int32] = field(repr=False)
    _row_axis: _Axis = field(repr=False)
    _col_axis: _Axis = field(repr=False)
    _patch_of_cell: npt.NDArray[np.intp] = field(repr=False)

    @classmethod
    def fit(cls, width: int, height: int, *, max_tokens: int = 256) -> PatchGrid:
        """Chooses the grid that samples the picture best.

        Among all (rows, cols) with rows * cols <= `max_tokens` it takes the one whose longest patch side, in
        video samples, is shortest; that keeps patches close to square. 1920x1080 and 256 give 12x21.

        Args:
            width: Visible luma samples.
            height: Visible luma samples.
            max_tokens: Most patches that the model's state holds.

        Raises:
            ValueError: A size or `max_tokens` is not positive.
        """
        if min(width, height, max_tokens) < 1:
            raise ValueError(
                f"no grid for {width}x{height} samples and {max_tokens} tokens: all must be positive"
            )
        rows, cols = _best_shape(width, height, max_tokens)
        row_edges, col_edges = _edges(height, rows), _edges(width, cols)
        row_axis, col_axis = _Axis.between(row_edges, height), _Axis.between(col_edges, width)
        return cls(
            width=width,
            height=height,
            max_tokens=max_tokens,
            row_edges_px=row_edges,
            col_edges_px=col_edges,
            _row_axis=row_axis,
            _col_axis=col_axis,
            _patch_of_cell=row_axis.owner[:, None] * cols + col_axis.owner,
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, cols) of patches."""
        return self.row_edges_px.size - 1, self.col_edges_px.size - 1

    @property
    def patches(self) -> int:
        """Number of patches."""
        rows, cols = self.shape
        return rows * cols

    @property
    def cells_shape(self) -> tuple[int, int]:
        """(rows, cols) of 16x16 cells that the visible picture touches."""
        return self._row_axis.mean.shape[1], self._col_axis.mean.shape[1]

    def rect(self, index: int) -> tuple[int, int, int, int]:
        """Gives the samples of patch `index`, row-major: (y0, y1, x0, x1), ends exclusive."""
        row, col = divmod(index, self.shape[1])
        y0, y1 = self.row_edges_px[row : row + 2]
        x0, x1 = self.col_edges_px[col : col + 2]
        return int(y0), int(y1), int(x0), int(x1)

    def to_patches_sum(self, cells: npt.NDArray[np.generic]) -> FloatArray:
        """Spreads each cell's value over the patches by the share of its visible area; the total is kept.

        Args:
            cells: (mb_rows, mb_cols), any number type; cells outside the visible picture are ignored.

        Returns:
            (rows, cols) float32.
        """
        return self._map(cells, self._row_axis.share, self._col_axis.share)

    def to_patches_mean(self, cells: npt.NDArray[np.generic]) -> FloatArray:
        """Averages the cells under each patch, weighted by area; arguments as in `to_patches_sum`."""
        return self._map(cells, self._row_axis.mean, self._col_axis.mean)

    def to_patches_max(self, cells: npt.NDArray[np.generic]) -> FloatArray:
        """Takes the largest of the cells that share more than a sliver with each patch.

        Arguments as in `to_patches_sum`; a sliver is less than a quarter of the cell or patch side.
        """
        lines = cells.astype(np.float32, copy=False)[self._row_axis.members].max(axis=1)
        largest: FloatArray = lines.T[self._col_axis.members].max(axis=1).T
        return largest

    def to_cells(self, patches: npt.NDArray[T]) -> npt.NDArray[T]:
        """Gives each cell the value, any type, of the patch that holds its centre: (mb_rows, mb_cols)."""
        return patches.ravel().take(self._patch_of_cell)

    def _map(self, cells: npt.NDArray[np.generic], by_row: FloatArray, by_col: FloatArray) -> FloatArray:
        rows, cols = self.cells_shape
        mapped: FloatArray = by_row @ cells[:rows, :cols].astype(np.float32, copy=False) @ by_col.T
        return mapped


@dataclass(frozen=True, slots=True, eq=False)
class _Axis:
    """One axis of the map.

    Attributes:
        share: (patches, cells) float32: part of each cell's visible length inside each patch.
        mean: (patches, cells) float32: part of each patch's length that each cell covers.
        owner: (cells,) patch that holds the centre of each cell.
        members: (patches, n) cells that share more than a sliver with each patch; the last one repeats.
    """

    share: FloatArray
    mean: FloatArray
    owner: npt.NDArray[np.intp]
    members: npt.NDArray[np.intp]

    @classmethod
    def between(cls, edges_px: npt.NDArray[np.int32], length_px: int) -> _Axis:
        starts = np.arange(0, length_px, CELL_PX)
        ends = np.minimum(starts + CELL_PX, length_px)  # the last cell may be cropped
        patch_starts, patch_ends = edges_px[:-1, None], edges_px[1:, None]
        overlap = np.clip(np.minimum(patch_ends, ends) - np.maximum(patch_starts, starts), 0, None)
        cell_px, patch_px = (ends - starts)[None, :], patch_ends - patch_starts
        wide = overlap >= MIN_SHARED_SIDE * np.minimum(cell_px, patch_px)
        first = wide.argmax(axis=1)
        count = wide.sum(axis=1)
        members = first[:, None] + np.minimum(np.arange(count.max()), count[:, None] - 1)
        return cls(
            share=(overlap / cell_px).astype(np.float32),
            mean=(overlap / patch_px).astype(np.float32),
            owner=np.searchsorted(edges_px[1:], (starts + ends) / 2, side="right"),
            members=members,
        )


def _edges(length_px: int, parts: int) -> npt.NDArray[np.int32]:
    return np.rint(np.linspace(0, length_px, parts + 1)).astype(np.int32)


def _best_shape(width: int, height: int, max_tokens: int) -> tuple[int, int]:
    """(rows, cols) with the shortest longest patch side; ties go to fewer patches."""
    best = (float("inf"), 0, 1, 1)
    for rows in range(1, min(max_tokens, height) + 1):
        cols = min(max_tokens // rows, width)
        side = max(height / rows, width / cols)
        cols = max(1, int(np.ceil(width / side - 1e-9)))  # no more columns than that side needs
        best = min(best, (side, rows * cols, rows, cols))
    return best[2], best[3]
