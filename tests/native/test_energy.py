"""Residual energy against pixels: without deblocking, a block with motion (0, 0) is the one before plus its residual.

So `residual_energy` must be the sum of squared differences of the decoded samples, up to the rounding of the inverse
transform, whatever the quantiser, the scaling lists and the transform size.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
import pytest
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane

from ovstream.types import FLAG_TRANSFORM_8X8, BlockClass
from tests.native.oracle import parse
from tests.native.streams import Tool, encode

STILL = "bframes=0:ref=1:no-deblock=1:weightp=0:scenecut=0:keyint=infinite:me=dia:subme=1"
TOOLS = [
    Tool("cabac-4x4", f"{STILL}:8x8dct=0:qp=20", still=True, noise=12),
    Tool("cavlc-4x4", f"{STILL}:8x8dct=0:cabac=0:qp=20", still=True, noise=12),
    Tool("cabac-8x8", f"{STILL}:8x8dct=1:qp=20", still=True, noise=12),
    Tool("cavlc-8x8", f"{STILL}:8x8dct=1:cabac=0:qp=20", still=True, noise=12),
    Tool("lists", f"{STILL}:cqm=jvt:qp=18", still=True, noise=12),
    Tool("own-lists", f"{STILL}:cqm4=" + ",".join(str(8 + 2 * i) for i in range(16)), still=True, noise=12),
    Tool("chroma-offset", f"{STILL}:chroma-qp-offset=-6:qp=26", still=True, noise=16),
    Tool("coarse", f"{STILL}:qp=34", still=True, noise=30),
    Tool("fine", f"{STILL}:qp=6", still=True, noise=6),
    Tool("gray", f"{STILL}:qp=20", still=True, noise=12, pix_fmt="gray"),
    Tool("422", f"{STILL}:qp=20", "medium", "high422", still=True, noise=12, pix_fmt="yuv422p"),
    Tool("444", f"{STILL}:qp=20:cqm=jvt", "medium", "high444", still=True, noise=12, pix_fmt="yuv444p"),
    Tool("10-bit", f"{STILL}:qp=20", "medium", "high10", still=True, noise=12, pix_fmt="yuv420p10le"),
    Tool("422-10-bit", f"{STILL}:qp=20", "medium", "high422", still=True, noise=12, pix_fmt="yuv422p10le"),
    Tool("lossless", f"{STILL}:qp=0:8x8dct=0", "medium", "high444", still=True, noise=6, pix_fmt="yuv444p"),
]


def _pixels(units: list[bytes]) -> Iterator[list[npt.NDArray[np.float64]]]:
    """Planes Y, U, V of every picture; the clips are whole macroblocks wide and high."""
    context = av.CodecContext.create("h264", "r")
    context.thread_count = 1
    for unit in [*units, None]:
        packet = None if unit is None else av.Packet(unit)
        if packet is not None:
            packet.time_base = Fraction(1, 25)
        for frame in context.decode(packet):
            assert isinstance(frame, VideoFrame)
            # Steps of 8 bit, whatever the depth.
            steps = 2 ** (frame.format.components[0].bits - 8)
            yield [_samples(plane) / steps for plane in frame.planes]


def _samples(plane: VideoPlane) -> npt.NDArray[np.float64]:
    sample = np.dtype(np.uint8 if plane.line_size < 2 * plane.width else np.uint16)
    rows = np.frombuffer(bytes(plane), sample).reshape(plane.height, plane.line_size // sample.itemsize)
    return rows[:, : plane.width].astype(np.float64)


def _per_macroblock(plane: npt.NDArray[np.float64], shape: tuple[int, int]) -> npt.NDArray[np.float64]:
    sums: npt.NDArray[np.float64] = plane.reshape(shape[0], plane.shape[0] // shape[0], shape[1], -1).sum(
        axis=(1, 3)
    )
    return sums


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_energy_is_the_squared_difference_of_samples(tool: Tool) -> None:
    units = encode(tool, frames=6)
    pictures = list(_pixels(units))
    ratios = []
    flags = 0
    for before, after, frame in zip(pictures, pictures[1:], list(parse(units))[1:], strict=False):
        squared = [(b - a) ** 2 for a, b in zip(before, after, strict=True)]
        difference = np.sum([_per_macroblock(plane, frame.mb_shape) for plane in squared], axis=0)
        still = np.all(
            frame.mv[0].reshape(frame.mb_shape[0], 4, frame.mb_shape[1], 4, 2) == 0, axis=(1, 3, 4)
        )
        # Clipped samples lost part of their residual; a small one drowns in rounding.
        unclipped = _per_macroblock(((after[0] <= 2) | (after[0] >= 253)).astype(float), frame.mb_shape) == 0
        chosen = still & unclipped & (frame.block_class == BlockClass.INTER) & (difference > 2000)
        ratios.append(frame.residual_energy[chosen] / difference[chosen])
        flags |= int(np.bitwise_or.reduce(frame.blocks["flags"][chosen], initial=0))
    ratio = np.concatenate(ratios)
    assert ratio.size > 30
    assert bool(flags & FLAG_TRANSFORM_8X8) == ("8x8dct=0" not in tool.x264)
    # Rounding to whole samples adds 1/12 per sample to the difference: up to 32 of at least 2000.
    assert 0.98 < float(np.median(ratio)) < 1.01
    assert np.all(np.abs(ratio - 1) < 0.1)


def test_skipped_and_empty_blocks_have_none() -> None:
    for frame in parse(encode(TOOLS[2], frames=4)):
        silent = (frame.block_class == BlockClass.SKIP) | (frame.blocks["coefficients"] == 0)
        assert np.all(frame.residual_energy[silent & (frame.block_class != BlockClass.PCM)] == 0)
        assert np.all(frame.residual_energy[~silent] > 0)
