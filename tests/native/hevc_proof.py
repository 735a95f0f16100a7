"""Proof of H.265 motion without an oracle: prediction from decoded pictures equals the decoded picture itself.

No library exports H.265 motion vectors. But where a block has no luma residual and the loop filters are off, its
samples are nothing but the prediction: interpolated (8.5.3.3.3) from pictures that PyAV has decoded, at the vectors
and references that the parser says. One wrong vector, reference index or merge candidate shows as a wrong sample.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from ovstream.bitstream import Parser
from ovstream.types import AccessUnit, FrameMetadata
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


@dataclass(slots=True)
class Proof:
    """What was predicted and how much of it came out right."""

    frames: int = 0
    blocks: int = 0
    equal: int = 0
    moving: int = 0
    bidirectional: int = 0
    first_difference: str = ""

    @property
    def perfect(self) -> bool:
        return self.blocks > 0 and self.equal == self.blocks


def encode(tool: Tool, params: str, *, frames: int = 16, pixels: str = "yuv420p") -> list[bytes]:
    """Access units of x265 without loop filters."""
    context = av.CodecContext.create("libx265", "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height, context.pix_fmt = tool.width, tool.height, pixels
    context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
    context.options = {"preset": tool.preset, "x265-params": f"{X265}:{params}"}
    units = []
    for index, picture in enumerate(render(tool, frames)):
        frame = VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixels)
        frame.pts, frame.time_base = index, Fraction(1, 25)
        units += [bytes(packet) for packet in context.encode(frame)]
    return units + [bytes(packet) for packet in context.encode(None)]


def decode(units: list[bytes]) -> dict[int, npt.NDArray[np.int32]]:
    """Luma planes by number of the access unit, with what lies outside the conformance window: motion points there."""
    context = av.CodecContext.create("hevc", "r")
    context.thread_count = 1
    context.options = {"apply_cropping": "0"}
    planes = {}
    for index, unit in enumerate([*units, None]):
        packet = None
        if unit is not None:
            packet = av.Packet(unit)
            packet.pts = packet.dts = index
            packet.time_base = Fraction(1, 25)
        for frame in context.decode(packet):
            assert isinstance(frame, VideoFrame)
            assert frame.pts is not None
            planes[frame.pts] = _luma(frame)
    return planes


def _luma(frame: VideoFrame) -> npt.NDArray[np.int32]:
    plane = frame.planes[0]
    depth = np.uint16 if frame.format.components[0].bits > 8 else np.uint8
    rows = np.frombuffer(bytes(plane), depth).reshape(plane.height, -1)
    return rows[:, : plane.width].astype(np.int32)


def prove(units: list[bytes], *, bit_depth: int = 8) -> Proof:
    """Predicts every block without luma residual of every picture that PyAV decodes."""
    planes = decode(units)
    proof = Proof()
    by_poc: dict[int, npt.NDArray[np.int32]] = {}
    parser = Parser("h265")
    for index, frame in enumerate(parse(units, parser)):
        assert (frame.coverage, frame.errors) == (1, 0)
        lists = [parser.reference_pocs(number) for number in range(int(frame.slice_map.max()) + 1)]
        if frame.keyframe and frame.poc == 0:
            by_poc.clear()
        if index not in planes:
            continue
        proof.frames += 1
        by_poc[frame.poc] = planes[index]
        if frame.slice_type != "I":
            _prove_picture(frame, lists, by_poc, proof, bit_depth)
    return proof


def parse(units: list[bytes], parser: Parser | None = None) -> Iterator[FrameMetadata]:
    """Parses access units in decoding order; their numbers become the pts."""
    parser = parser or Parser("h265")
    for index, unit in enumerate(units):
        yield parser.parse(AccessUnit("h265", unit, pts=index, time_base=Fraction(1, 25), keyframe=False))


def _prove_picture(
    frame: FrameMetadata,
    lists: list[tuple[list[int], list[int]]],
    by_poc: dict[int, npt.NDArray[np.int32]],
    proof: Proof,
    bit_depth: int,
) -> None:
    target = by_poc[frame.poc]
    mv, ref_idx = frame.mv, frame.ref_idx
    rows, cols = target.shape[0] // 4, target.shape[1] // 4
    residual = (frame.blocks["cbp"][:, :, None] >> np.arange(4) & 1).astype(bool)
    residual = residual.reshape(*frame.mb_shape, 2, 2).transpose(0, 2, 1, 3)
    residual = residual.reshape(2 * frame.mb_shape[0], -1).repeat(2, axis=0).repeat(2, axis=1)[:rows, :cols]
    slices = frame.slice_map.repeat(4, axis=0).repeat(4, axis=1)[:rows, :cols]
    pocs = np.full((2, rows, cols), np.iinfo(np.int32).min)
    for number, refs in enumerate(lists):
        for which, entries in enumerate(refs):
            chosen = (slices == number) & (ref_idx[which, :rows, :cols] >= 0)
            table = np.array([*entries, 0])
            pocs[which][chosen] = table[ref_idx[which, :rows, :cols][chosen]]
    used = ref_idx[:, :rows, :cols] >= 0
    todo = used.any(axis=0) & ~residual
    ys, xs = np.nonzero(todo)
    # Samples of 14 bits, 8.5.3.3.4.2
    total = np.zeros((ys.size, 4, 4), np.int32)
    for which in range(2):
        for poc in np.unique(pocs[which, ys, xs][used[which, ys, xs]]):
            chosen = used[which, ys, xs] & (pocs[which, ys, xs] == poc)
            if poc not in by_poc:
                todo[ys[chosen], xs[chosen]] = False
                continue
            vectors = mv[which, ys[chosen], xs[chosen]].astype(np.int32)
            total[chosen] += interpolate(by_poc[poc], xs[chosen] * 4, ys[chosen] * 4, vectors, bit_depth)
    both = used[:, ys, xs].all(axis=0)
    shift = np.where(both, 15 - bit_depth, 14 - bit_depth)
    predicted = (total + (1 << shift >> 1)[:, None, None]) >> shift[:, None, None]
    predicted = predicted.clip(0, (1 << bit_depth) - 1)
    actual = target[: 4 * rows, : 4 * cols].reshape(rows, 4, cols, 4).transpose(0, 2, 1, 3)[ys, xs]
    known = todo[ys, xs]
    equal = np.all(predicted == actual, axis=(1, 2))
    proof.blocks += int(known.sum())
    proof.equal += int((equal & known).sum())
    proof.moving += int((mv[:, ys, xs].any(axis=(0, 2)) & known).sum())
    proof.bidirectional += int((both & known).sum())
    wrong = np.flatnonzero(known & ~equal)
    if wrong.size and not proof.first_difference:
        at = wrong[0]
        proof.first_difference = (
            f"access unit {frame.pts} ({frame.slice_type}, poc {frame.poc}), {wrong.size} blocks, first at "
            f"({4 * xs[at]}, {4 * ys[at]}): mv {mv[:, ys[at], xs[at]].tolist()} "
            f"ref {ref_idx[:, ys[at], xs[at]].tolist()} poc {pocs[:, ys[at], xs[at]].tolist()}"
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
