"""Second proof of H.264 motion: prediction from decoded pictures equals the decoded picture itself.

FFmpeg exports no reference indices, and of blocks below 8x8 one vector in four. Prediction (8.4.2.2) tells all of
them: see `tests/native/proof.py`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ovstream.types import FLAG_FIELD, NO_POC, FrameMetadata
from tests.native.proof import Plane, Proof, pictures

TAPS = np.array([1, -5, 20, 20, -5, 1], np.int32)
# Which two of the samples of `_parts` are averaged, by quarter sample y, x (Table 8-12).
G, RIGHT, BELOW, B, S, H, M, J = range(8)
AVERAGED = np.array(
    [
        [(G, G), (G, B), (B, B), (RIGHT, B)],
        [(G, H), (B, H), (B, J), (B, M)],
        [(H, H), (H, J), (J, J), (J, M)],
        [(BELOW, H), (H, S), (J, S), (M, S)],
    ]
)


def prove(units: list[bytes]) -> Proof:
    """Predicts every 8x8 block without luma residual of every picture that PyAV decodes."""
    proof = Proof()
    for frame, by_poc in pictures("h264", units):
        proof.frames += 1
        if frame.slice_type != "I":
            _prove_picture(frame, by_poc, proof)
    return proof


def _prove_picture(frame: FrameMetadata, by_poc: dict[int, Plane], proof: Proof) -> None:
    ref_idx, ref_poc, mv = frame.ref_idx, frame.ref_poc, frame.mv.astype(np.int32)
    used = ref_idx >= 0
    bit = np.kron(np.arange(4).reshape(2, 2), np.ones((2, 2), np.int64))
    plain = frame.coded_block_pattern.repeat(4, 0).repeat(4, 1) >> np.tile(bit, frame.mb_shape) & 1 == 0
    assert np.isin(ref_poc[used], list(by_poc)).all()
    rows, cols = np.nonzero(used.any(axis=0) & plain)
    field = (frame.blocks["flags"][rows // 4, cols // 4] & FLAG_FIELD) != 0
    # The field macroblocks of a pair lie in every second line of both.
    parity = np.where(field, rows // 4 % 2, 0)
    y = np.where(field, rows // 8 * 16 + rows % 4 * 4, rows * 4)
    mv[..., 1] = np.where(field_plane(frame), mv[..., 1] >> 1, mv[..., 1])
    total = np.zeros((rows.size, 4, 4), np.int32)
    for which in range(2):
        index, poc, vectors = ref_idx[which, rows, cols], ref_poc[which, rows, cols], mv[which, rows, cols]
        line = np.where(field, parity ^ (index & 1), 0)
        for key in np.unique(poc[poc != NO_POC]):
            for of_field, first in ((False, 0), (True, 0), (True, 1)):
                chosen = (poc == key) & (field == of_field) & (line == first)
                plane = by_poc[int(key)][first::2] if of_field else by_poc[int(key)]
                if chosen.any():
                    total[chosen] += interpolate(plane, cols[chosen] * 4, y[chosen], vectors[chosen])
    both = used[:, rows, cols].all(axis=0)
    predicted = np.where(both[:, None, None], (total + 1) >> 1, total)
    step = np.where(field, 2, 1)[:, None]
    lines = (y[:, None] + np.arange(4)) * step + parity[:, None]
    current = by_poc[frame.poc][lines[:, :, None], (cols * 4)[:, None, None] + np.arange(4)]
    equal = np.all(predicted == current, axis=(1, 2))
    proof.blocks += equal.size
    proof.equal += int(equal.sum())
    proof.moving += int(mv[:, rows, cols].any(axis=(0, 2)).sum())
    proof.bidirectional += int(both.sum())
    proof.far += int((ref_idx[:, rows, cols] > 0).any(axis=0).sum())
    proof.fields += int(field.sum())
    corner = mv[:, rows // 2 * 2, cols // 2 * 2]
    proof.small += int((mv[:, rows, cols] != corner).any(axis=(0, 2)).sum())
    wrong = np.flatnonzero(~equal)
    if wrong.size and not proof.first_difference:
        at = wrong[0]
        proof.first_difference = (
            f"access unit {frame.pts} ({frame.slice_type}, poc {frame.poc}), {wrong.size} blocks, first in row {rows[at]} "
            f"column {cols[at]}, field {field[at]}: mv {mv[:, rows[at], cols[at]].tolist()} ref "
            f"{ref_idx[:, rows[at], cols[at]].tolist()} poc {ref_poc[:, rows[at], cols[at]].tolist()}"
        )


def field_plane(frame: FrameMetadata) -> npt.NDArray[np.bool_]:
    """(4*mb_rows, 4*mb_cols) bool: field macroblocks."""
    cells: npt.NDArray[np.bool_] = (frame.blocks["flags"] & FLAG_FIELD) != 0
    return cells.repeat(4, 0).repeat(4, 1)


def interpolate(
    plane: Plane, x: npt.NDArray[np.intp], y: npt.NDArray[np.intp], mv: npt.NDArray[np.int32]
) -> npt.NDArray[np.int32]:
    """4x4 blocks (n, 4, 4) at luma positions `x`, `y` moved by `mv` (n, 2) quarter samples (8.4.2.2.1)."""
    offsets = np.arange(-2, 7)
    rows = (y[:, None] + (mv[:, 1:] >> 2) + offsets).clip(0, plane.shape[0] - 1)
    cols = (x[:, None] + (mv[:, :1] >> 2) + offsets).clip(0, plane.shape[1] - 1)
    parts = _parts(plane[rows[:, :, None], cols[:, None, :]])
    first, second = AVERAGED[mv[:, 1] & 3, mv[:, 0] & 3].T
    everyone = np.arange(len(x))
    moved: npt.NDArray[np.int32] = (parts[first, everyone] + parts[second, everyone] + 1) >> 1
    return moved


def _parts(patches: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Whole and half samples (8, n, 4, 4) of patches of 9x9 samples: G, right, below, b, s, h, m, j of the standard."""
    windows = np.lib.stride_tricks.sliding_window_view
    across = windows(patches, 6, axis=2) @ TAPS  # (n, 9, 4)
    down = windows(patches, 6, axis=1) @ TAPS  # (n, 4, 9)
    middle = windows(across, 6, axis=1) @ TAPS  # (n, 4, 4)
    b, s = (((across[:, first : first + 4] + 16) >> 5).clip(0, 255) for first in (2, 3))
    h, m = (((down[:, :, first : first + 4] + 16) >> 5).clip(0, 255) for first in (2, 3))
    j = ((middle + 512) >> 10).clip(0, 255)
    whole = (patches[:, 2:6, 2:6], patches[:, 2:6, 3:7], patches[:, 3:7, 2:6])
    return np.stack([*whole, b, s, h, m, j])
