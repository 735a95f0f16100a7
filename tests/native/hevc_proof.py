"""Proof of H.265 motion without an oracle: prediction from decoded pictures equals the decoded picture itself.

No library exports H.265 motion vectors. Prediction (8.5.3.3.3) tells a wrong vector, reference index or merge candidate:
see `tests/native/proof.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from ovstream.types import FrameMetadata
from tests.native.proof import Plane, Proof, pictures
from tests.native.streams import Tool, render

# Luma filter by quarter sample (table 8-11).
FILTERS = np.array(
    [
        [0, 0, 0, 64, 0, 0, 0, 0],
        [-1, 4, -10, 58, 17, -5, 1, 0],
        [-1, 4, -11, 40, 40, -11, 4, -1],
        [0, 1, -5, 17, 58, -10, 4, -1],
    ],
    np.int32,
)
X265 = "log-level=none:pools=none:frame-threads=1:no-deblock=1:no-sao=1:no-weightp=1:no-weightb=1:psy-rd=0"


def encode(tool: Tool, params: str, *, frames: int = 16, pixels: str = "yuv420p") -> list[bytes]:
    """Access units of x265 without loop filters."""
    return encode_pictures(list(render(tool, frames)), params, preset=tool.preset, pixels=pixels)


def encode_pictures(
    rendered: Sequence[npt.NDArray[np.uint8]], params: str, *, preset: str = "medium", pixels: str = "yuv420p"
) -> list[bytes]:
    """Access units of x265 without loop filters, of RGB pictures (rows, cols, 3)."""
    context = av.CodecContext.create("libx265", "w")
    assert isinstance(context, VideoCodecContext)
    context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
    context.options = {"preset": preset, "x265-params": f"{X265}:{params}"}
    context.height, context.width = rendered[0].shape[:2]
    context.pix_fmt = pixels
    units = []
    for index, picture in enumerate(rendered):
        frame = VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixels)
        frame.pts, frame.time_base = index, Fraction(1, 25)
        units += [bytes(packet) for packet in context.encode(frame)]
    return units + [bytes(packet) for packet in context.encode(None)]


def prove(units: list[bytes], *, bit_depth: int = 8) -> Proof:
    """Predicts every block without luma residual of every picture that PyAV decodes."""
    proof = Proof()
    for frame, by_poc in pictures("h265", units):
        proof.frames += 1
        if frame.slice_type != "I":
            _prove_picture(frame, by_poc, proof, bit_depth)
    return proof


@dataclass(frozen=True, slots=True)
class Prediction:
    """Predicted 4x4 blocks of one picture, where every reference is known."""

    rows: npt.NDArray[np.intp]
    cols: npt.NDArray[np.intp]
    samples: npt.NDArray[np.int32]
    pocs: npt.NDArray[np.int32]


def predict(frame: FrameMetadata, by_poc: dict[int, Plane], bit_depth: int) -> Prediction:
    """Predicts all inter blocks of a picture (8.5.3.3)."""
    rows, cols = (side // 4 for side in by_poc[frame.poc].shape)
    mv, ref_idx = frame.mv[:, :rows, :cols], frame.ref_idx[:, :rows, :cols]
    pocs = frame.ref_poc[:, :rows, :cols]
    used = ref_idx >= 0
    known = used.any(axis=0) & (~used | np.isin(pocs, list(by_poc))).all(axis=0)
    ys, xs = np.nonzero(known)
    total = np.zeros((ys.size, 4, 4), np.int32)
    for which in range(2):
        for poc in np.unique(pocs[which, ys, xs][used[which, ys, xs]]):
            chosen = used[which, ys, xs] & (pocs[which, ys, xs] == poc)
            vectors = mv[which, ys[chosen], xs[chosen]].astype(np.int32)
            total[chosen] += interpolate(by_poc[poc], xs[chosen] * 4, ys[chosen] * 4, vectors, bit_depth)
    # 8.5.3.3.4.2: samples of 14 bits, averaged where both lists are used.
    shift = np.where(used[:, ys, xs].all(axis=0), 15 - bit_depth, 14 - bit_depth)[:, None, None]
    samples = ((total + (1 << shift >> 1)) >> shift).clip(0, (1 << bit_depth) - 1)
    return Prediction(ys, xs, samples.astype(np.int32), pocs[:, ys, xs])


def blocks_of(plane: npt.NDArray[np.int32], at: Prediction) -> npt.NDArray[np.int32]:
    """The 4x4 blocks of a plane that were predicted: (n, 4, 4)."""
    rows, cols = (side // 4 for side in plane.shape)
    tiles = plane[: 4 * rows, : 4 * cols].reshape(rows, 4, cols, 4).transpose(0, 2, 1, 3)
    chosen: npt.NDArray[np.int32] = tiles[at.rows, at.cols]
    return chosen


def _prove_picture(frame: FrameMetadata, by_poc: dict[int, Plane], proof: Proof, bit_depth: int) -> None:
    at = predict(frame, by_poc, bit_depth)
    ys, xs = at.rows, at.cols
    quadrant = (ys // 2 % 2) * 2 + xs // 2 % 2
    plain = (frame.blocks["cbp"][ys // 4, xs // 4] >> quadrant & 1) == 0
    equal = np.all(at.samples == blocks_of(by_poc[frame.poc], at), axis=(1, 2))
    mv, ref_idx = frame.mv[:, ys, xs], frame.ref_idx[:, ys, xs]
    proof.blocks += int(plain.sum())
    proof.equal += int((equal & plain).sum())
    proof.moving += int((mv.any(axis=(0, 2)) & plain).sum())
    proof.bidirectional += int(((ref_idx >= 0).all(axis=0) & plain).sum())
    wrong = np.flatnonzero(plain & ~equal)
    if wrong.size and not proof.first_difference:
        first = wrong[0]
        proof.first_difference = (
            f"access unit {frame.pts} ({frame.slice_type}, poc {frame.poc}), {wrong.size} blocks, first at "
            f"({4 * xs[first]}, {4 * ys[first]}): mv {mv[:, first].tolist()} "
            f"ref {ref_idx[:, first].tolist()} poc {at.pocs[:, first].tolist()}"
        )


def interpolate(
    plane: npt.NDArray[np.int32],
    x: npt.NDArray[np.intp],
    y: npt.NDArray[np.intp],
    mv: npt.NDArray[np.int32],
    bit_depth: int,
) -> npt.NDArray[np.int32]:
    """4x4 blocks (n, 4, 4) at luma positions `x`, `y` moved by `mv` (n, 2), in 14 bits (8.5.3.3.3.1)."""
    offsets = np.arange(-3, 8)
    rows = (y[:, None] + (mv[:, 1:] >> 2) + offsets).clip(0, plane.shape[0] - 1)
    cols = (x[:, None] + (mv[:, :1] >> 2) + offsets).clip(0, plane.shape[1] - 1)
    patches = plane[rows[:, :, None], cols[:, None, :]]
    windows = np.lib.stride_tricks.sliding_window_view
    fx, fy = mv[:, 0] & 3, mv[:, 1] & 3
    horizontal = np.einsum("nrct,nt->nrc", windows(patches, 8, axis=2), FILTERS[fx])
    # Without a fraction in x the samples themselves go on, without the gain of 64.
    first = np.where((fx == 0)[:, None, None], patches[:, :, 3:7], horizontal >> (bit_depth - 8))
    vertical = np.einsum("nrct,nt->nrc", windows(first, 8, axis=1), FILTERS[fy])
    middle = first[:, 3:7]
    whole = np.where((fx == 0)[:, None, None], middle << (14 - bit_depth), middle)
    shift = np.where(fx == 0, bit_depth - 8, 6)[:, None, None]
    moved: npt.NDArray[np.int32] = np.where((fy == 0)[:, None, None], whole, vertical >> shift)
    return moved
