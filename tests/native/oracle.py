"""FFmpeg as the oracle: its exported motion vectors and quantisers against the parser's, block by block.

`export_mvs` gives blocks of 16x16 down to 8x8 (smaller ones are collapsed to the first 4x4 of each 8x8) and
`venc_params` the QP of every macroblock. One thread: with frame threads FFmpeg's vectors of B pictures vary.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import av
import av.logging
import numpy as np
import numpy.typing as npt
from av.bitstream import BitStreamFilterContext
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame

from ovstream.bitstream import Parser
from ovstream.errors import BitstreamError
from ovstream.types import FLAG_FIELD, AccessUnit, BlockClass, FrameMetadata

CONTAINERS = {".mp4", ".mkv", ".avi", ".ts"}
# AVVideoEncParams and AVVideoBlockParams of libavutil/video_enc_params.h on 64-bit machines.
ENC_PARAMS = struct.Struct("@IQQiiiiiiiiii")
BLOCK_PARAMS = np.dtype([("x", "<i4"), ("y", "<i4"), ("w", "<i4"), ("h", "<i4"), ("delta_qp", "<i4")])

_COMPARED = BitstreamError("put out twice")


@dataclass(slots=True)
class Score:
    """What was compared and how much of it was equal.

    Pictures that FFmpeg itself finds damaged are left out and counted in `damaged`.
    """

    frames: int = 0
    damaged: int = 0
    blocks: int = 0
    blocks_equal: int = 0
    macroblocks: int = 0
    qp_equal: int = 0
    inter_equal: int = 0
    first_difference: str = ""

    @property
    def perfect(self) -> bool:
        equal = (self.blocks_equal, self.qp_equal, self.inter_equal)
        return self.frames > 0 and equal == (self.blocks, self.macroblocks, self.macroblocks)

    def note(self, text: str) -> None:
        self.first_difference = self.first_difference or text


@dataclass(frozen=True, slots=True)
class Truth:
    """What FFmpeg says about one picture."""

    vectors: npt.NDArray[np.void] = field(repr=False)
    qp: npt.NDArray[np.int32] = field(repr=False)
    qp_bd_offset: int = 0
    damaged: bool = False


def read_units(path: Path) -> list[bytes]:
    """The access units of a file in decoding order, as Annex B."""
    # A short or odd raw stream is not recognised by its content.
    raw = path.suffix not in CONTAINERS
    with av.open(str(path), format="h264" if raw else None) as container:
        stream = container.streams.video[0]
        packets: Iterable[av.Packet] = container.demux(stream)
        if (stream.codec_context.extradata or b"\0")[0] == 1:
            to_annex_b = BitStreamFilterContext("h264_mp4toannexb", stream)
            packets = [out for packet in packets if packet.size for out in to_annex_b.filter(packet)]
        return [bytes(packet) for packet in packets if packet.size]


def decode(units: Iterable[bytes]) -> Iterator[tuple[int, Truth]]:
    """Decodes `units`; yields (index of the unit, what FFmpeg says) in output order.

    Units that FFmpeg refuses (a stream joined before its parameter sets) yield nothing.
    """
    context = av.CodecContext.create("h264", "r")
    context.thread_count = 1
    # strict: the reorder buffer has the size that the stream says, so that no picture comes too late to be put out.
    context.options = {"flags2": "+export_mvs", "export_side_data": "venc_params", "strict": "strict"}
    damaged = set()
    with _errors_of_ffmpeg() as errors:
        for index, unit in enumerate([*units, None]):
            packet = None
            if unit is not None:
                packet = av.Packet(unit)
                packet.pts = packet.dts = index
                packet.time_base = Fraction(1, 25)
            seen = len(errors)
            try:
                frames = context.decode(packet)
            except av.error.InvalidDataError:
                continue
            if any("error while decoding" in text for _, _, text in errors[seen:]):
                damaged.add(index)
            for frame in frames:
                assert isinstance(frame, VideoFrame)
                assert frame.pts is not None
                yield frame.pts, replace(_truth(frame), damaged=frame.pts in damaged)


@contextmanager
def _errors_of_ffmpeg() -> Iterator[list[tuple[int, str, str]]]:
    level = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture(local=True) as errors:
            yield errors
    finally:
        av.logging.set_level(level)


def _truth(frame: VideoFrame) -> Truth:
    vectors = frame.side_data.get(Type.MOTION_VECTORS)
    params = bytes(frame.side_data[Type.VIDEO_ENC_PARAMS])
    count, offset, size, _, base_qp, *_ = ENC_PARAMS.unpack_from(params)
    assert size == BLOCK_PARAMS.itemsize
    blocks = np.frombuffer(params, BLOCK_PARAMS, count, offset)
    shape = blocks["y"].max() // 16 + 1, blocks["x"].max() // 16 + 1
    qp = np.zeros(shape, np.int32)
    qp[blocks["y"] // 16, blocks["x"] // 16] = base_qp + blocks["delta_qp"]
    offset = 6 * (frame.format.components[0].bits - 8)
    return Truth(np.empty(0, [("source", "i4")]) if vectors is None else vectors.to_ndarray(), qp, offset)


def parse(units: Iterable[bytes], parser: Parser | None = None, *, first: int = 0) -> Iterator[FrameMetadata]:
    """Parses access units in decoding order; their numbers, from `first`, become the pts."""
    parser = parser or Parser("h264")
    for index, unit in enumerate(units, first):
        yield parser.parse(AccessUnit("h264", unit, pts=index, time_base=Fraction(1, 25), keyframe=False))


def compare(units: Iterable[bytes], *, parser: Parser | None = None) -> Score:
    """Compares all pictures that FFmpeg puts out."""
    units = join_fields(list(units))
    parser = parser or Parser("h264")
    ahead: list[FrameMetadata | BitstreamError] = []
    score = Score()
    for index, truth in decode(units):
        while len(ahead) <= index:
            ahead.append(_parse_or_error(parser, len(ahead), units))
        frame, ahead[index] = ahead[index], _COMPARED
        if isinstance(frame, BitstreamError):
            score.frames += 1
            score.macroblocks += truth.qp.size
            score.note(f"access unit {index}: {frame}")
        else:
            _compare_picture(frame, truth, score)
    return score


def join_fields(units: list[bytes]) -> list[bytes]:
    """Access units with both fields of a frame where a demuxer gives each its own: FFmpeg puts out frames."""
    parser = Parser("h264")
    joined: list[bytes] = []
    for unit in units:
        # The first slice tells.
        frame = _parse_or_error(parser, 0, [_up_to_first_slice(unit)])
        if joined and isinstance(frame, FrameMetadata) and frame.structure == "second field":
            joined[-1] += unit
        else:
            joined.append(unit)
    return joined


def _up_to_first_slice(unit: bytes) -> bytes:
    parts = unit.split(b"\0\0\1")
    last = next((i for i, part in enumerate(parts) if part and part[0] & 31 in (1, 5)), len(parts))
    return b"\0\0\1".join(parts[: last + 1])


def _parse_or_error(parser: Parser, index: int, units: list[bytes]) -> FrameMetadata | BitstreamError:
    try:
        return next(parse([units[index]], parser, first=index))
    except BitstreamError as error:
        return error


def _compare_picture(frame: FrameMetadata, truth: Truth, score: Score) -> None:
    name = f"access unit {frame.pts} ({frame.slice_type})"
    if truth.damaged:
        score.damaged += 1
        if not frame.errors:
            score.note(f"{name}: FFmpeg finds it damaged")
        return
    score.frames += 1
    if frame.coverage < 1 or frame.errors:
        score.note(f"{name}: coverage {frame.coverage:.4f}, {frame.errors} damaged")
    _compare_qp(frame, truth, score, name)
    mv, ref_idx = frame.mv, frame.ref_idx
    exported = np.zeros((2, *frame.mb_shape), np.bool_)
    quartered = np.zeros_like(exported)
    vectors = truth.vectors
    fields = (frame.blocks["flags"] & FLAG_FIELD) != 0
    if vectors.size:
        lists = (vectors["source"] > 0).astype(np.intp)
        rows = (vectors["dst_y"] - vectors["h"] // 2) // 4
        cols = (vectors["dst_x"] - vectors["w"] // 2) // 4
        exported[lists, rows // 4, cols // 4] = True
        quartered[lists, rows // 4, cols // 4] = vectors["w"] == vectors["h"]
        quartered[lists, rows // 4, cols // 4] &= vectors["w"] == 8
        # Of fields FFmpeg doubles vertical motion in halves of macroblocks only.
        halved = (vectors["w"] == vectors["h"]) & fields[rows // 4, cols // 4]
        expected = np.stack([vectors["motion_x"], vectors["motion_y"] << halved], axis=-1)
        equal = np.all(mv[lists, rows, cols] == expected, axis=-1)
        # Blocks larger than 8x8 are one vector all over: the last 4x4 must hold it too.
        last_row, last_col = rows + vectors["h"] // 4 - 1, cols + vectors["w"] // 4 - 1
        whole = np.all(mv[lists, last_row, last_col] == expected, axis=-1)
        equal &= whole | ((vectors["w"] == 8) & (vectors["h"] == 8))
        score.blocks += vectors.size
        score.blocks_equal += int(equal.sum())
        for i in np.flatnonzero(~equal)[:1]:
            ours = mv[lists[i], rows[i], cols[i]]
            score.note(
                f"{name}: list {lists[i]} {vectors['w'][i]}x{vectors['h'][i]} in macroblock "
                f"({rows[i] // 4}, {cols[i] // 4}): {ours} for {expected[i]}"
            )
    used = np.any((ref_idx >= 0).reshape(2, frame.mb_shape[0], 4, frame.mb_shape[1], 4), axis=(2, 4))
    # FFmpeg exports both lists of every B_8x8, with a vector of 0 (compared above) where one is not used.
    same = np.all((used == exported) | (exported & quartered), axis=0)
    score.inter_equal += int(same.sum())
    if not same.all():
        score.note(f"{name}: lists of macroblock {np.argwhere(~same)[0]} used or not")


def _compare_qp(frame: FrameMetadata, truth: Truth, score: Score, name: str) -> None:
    # FFmpeg keeps 0 for I_PCM, the quantiser its deblocking uses (8.7.2.2); QP_Y itself goes on (7.4.5).
    # Of deep samples FFmpeg says QP'_Y.
    pcm = frame.block_class == BlockClass.PCM
    qp = np.where(pcm, 0, frame.qp + truth.qp_bd_offset)
    equal = qp == truth.qp
    score.macroblocks += equal.size
    score.qp_equal += int(equal.sum())
    if not equal.all():
        row, col = np.argwhere(~equal)[0]
        score.note(f"{name}: QP of macroblock ({row}, {col}): {qp[row, col]} for {truth.qp[row, col]}")


def add(a: Score, b: Score) -> Score:
    """The sum of two scores."""
    return replace(
        a,
        frames=a.frames + b.frames,
        damaged=a.damaged + b.damaged,
        blocks=a.blocks + b.blocks,
        blocks_equal=a.blocks_equal + b.blocks_equal,
        macroblocks=a.macroblocks + b.macroblocks,
        qp_equal=a.qp_equal + b.qp_equal,
        inter_equal=a.inter_equal + b.inter_equal,
        first_difference=a.first_difference or b.first_difference,
    )
