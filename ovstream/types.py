"""What flows between the stages: one frozen, slotted dataclass per arrow.

```
source ─AccessUnit─▶ bitstream ─FrameMetadata─▶ plan ─PatchPlan─▶ decode ─Patches─▶ encode ─Embedding─▶ publish
```
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

ClockQuality = Literal["none", "arrival", "sender"]
SliceType = Literal["I", "P", "B"]
Origin = Literal["bitstream", "decoder", "difference"]
Structure = Literal["frame", "fields", "top", "bottom", "second field"]
Action = Literal["skip", "sparse", "dense"]
Kind = Literal["scene", "event", "tokens"]
Unread = Literal["", "intra", "inter", "costly"]
EventKind = Literal[
    "waiting",
    "connected",
    "reconnecting",
    "ended",
    "params",
    "fallback",
    "lost",
    "dropped",
    "quality",
    "error",
    "rule",
    "load",
    "journal",
    "frozen",
    "dark",
    "starved",
    "shaking",
    "infrared",
    "moved",
    "cut",
    "recovered",
]


class BlockClass(IntEnum):
    """How a 16x16 cell was coded."""

    UNKNOWN = 0
    SKIP = 1
    INTER = 2
    INTRA = 3
    PCM = 4


class IntraMode(IntEnum):
    """How a 16x16 cell that is predicted in one way continues its neighbours."""

    NONE = 0
    """Not intra."""
    DC = 1
    """The mean of both."""
    VERTICAL = 2
    """The row above."""
    HORIZONTAL = 3
    """The column to the left."""
    PLANE = 4
    """Gradients of both (VP8: TrueMotion; H.265: planar)."""
    OTHER = 5
    """Smaller blocks with modes of their own, or not read."""
    ANGULAR = 6
    """Along one of the other 31 angles (H.265)."""


# One record per 16x16 cell and one per cell with divided motion; the layout of native/src/picture.rs.
BLOCK_DTYPE = np.dtype(
    [
        ("mv", "<i2", (2, 2)),
        ("ref_idx", "i1", (2,)),
        ("block_class", "u1"),
        ("flags", "u1"),
        ("split", "<u4"),
        ("residual_energy", "<f4"),
        ("bit_cost", "<u4"),
        ("cbp", "<u2"),
        ("coefficients", "<u2"),
        ("qp", "i1"),
        ("mb_type", "u1"),
        ("slice", "<u2"),
    ]
)
SPLIT_DTYPE = np.dtype([("mv", "<i2", (2, 16, 2)), ("ref_idx", "i1", (2, 4))])
FLAG_SPLIT = 1
FLAG_TRANSFORM_8X8 = 2
FLAG_DIRECT = 4
FLAG_FINE_REFERENCES = 8
FLAG_FIELD = 16
FLAG_INTRA_16X16 = 32
NO_POC = -(1 << 31)
"""In `FrameMetadata.ref_poc`: list not used, or a reference without order count (missing, or VP8)."""
_PART_NXN = 3  # H.265 PartMode
_B_PRED = 4  # VP8, native/src/vp8/modes.rs
_H264_INTRA_16X16 = np.array([IntraMode.VERTICAL, IntraMode.HORIZONTAL, IntraMode.DC, IntraMode.PLANE])
_VP8_INTRA = np.array([IntraMode.DC, IntraMode.VERTICAL, IntraMode.HORIZONTAL, IntraMode.PLANE])
# IntraPredModeY + 1 as in `blocks["split"]`; 0 not known, 255 by 4x4 blocks.
_H265_INTRA = np.full(256, IntraMode.OTHER)
_H265_INTRA[1:36] = IntraMode.ANGULAR
_H265_INTRA[[1, 2, 11, 27]] = IntraMode.PLANE, IntraMode.DC, IntraMode.HORIZONTAL, IntraMode.VERTICAL
_QUADRANTS = np.array([0, 0, 1, 1, 0, 0, 1, 1, 2, 2, 3, 3, 2, 2, 3, 3])


@dataclass(frozen=True, slots=True)
class AccessUnit:
    """Everything that one coded picture consists of, still compressed.

    Attributes:
        codec: "h264", "h265", "vp8", or FFmpeg's name of another codec.
        data: Annex B NAL units (H.264, H.265; parameter sets in band) or one frame of the codec.
        pts: Presentation time in `time_base` units, unwrapped; None when the source does not know.
        time_base: Seconds per pts unit.
        keyframe: A decoder can start here.
        discontinuity: Data was lost or skipped between the previous unit and this one.
        params_changed: Codec or parameter sets differ from those before.
        arrival_ns: Monotonic clock when the last byte arrived.
        capture_time_ns: Wall clock of the camera (UTC, Unix), or None.
        clock_quality: Where `capture_time_ns` comes from.
        extradata: Out-of-band setup for codecs that need it (not H.264/H.265); empty else.
        epoch: Counts (re)connections of the source, from 0.
    """

    codec: str
    data: bytes = field(repr=False)
    pts: int | None
    time_base: Fraction
    keyframe: bool
    discontinuity: bool = False
    params_changed: bool = False
    arrival_ns: int = 0
    capture_time_ns: int | None = None
    clock_quality: ClockQuality = "none"
    extradata: bytes = field(default=b"", repr=False)
    epoch: int = 0

    @property
    def pts_seconds(self) -> float | None:
        """Presentation time in seconds."""
        return None if self.pts is None else float(self.pts * self.time_base)


@dataclass(frozen=True, slots=True, eq=False)
class FrameMetadata:
    """What the codec says about one picture, in 16x16 cells (`mb_rows`, `mb_cols`).

    Only `blocks` and `splits` are stored; every plane is a view on them, except `mv` and `ref_idx`, which
    are expanded to 4x4 cells at each access (1.3 MB at 1080p): keep them in a variable.

    Attributes:
        codec: As in `AccessUnit`.
        width: Visible luma samples.
        height: Visible luma samples.
        pts: As in `AccessUnit`.
        time_base: Seconds per pts unit.
        keyframe: A decoder can start here.
        reference: Other pictures may refer to this one.
        slice_type: "I", "P" or "B": the richest kind among the slices.
        poc: Picture order count; 0 when the codec has none.
        coverage: Share of cells that the parser knows, 0..1; less than 1 after a damaged or lost slice.
        origin: "bitstream" (parsed), "decoder" (motion exported by a decoder), "difference" (of decoded pixels).
        bits: Size of the access unit in bits.
        blocks: (mb_rows, mb_cols) of `BLOCK_DTYPE`.
        splits: (n,) of `SPLIT_DTYPE`, indexed by `blocks["split"]` where `FLAG_SPLIT` is set.
        errors: Damaged slices (VP8: partitions) in this picture.
        shown: False where other pictures may refer to this one, but nobody sees it (VP8 "altref").
        unread: Why blocks were left unread: "" (they were read), "intra" (I slices, on request: their cells are INTRA,
            without bits and energy), "inter" (P and B slices, on request or by sampling: UNKNOWN), "costly" (all
            slices: more bits than `max_bits_per_pixel`).
        motion_exact: False when vectors were inferred from a picture that is missing, damaged or unread (H.264 B
            pictures, H.265 with temporal motion vectors): some may be wrong.
        structure: "frame"; "fields" (both in this access unit; row 2 r of cells is row r of the top field, row 2 r + 1 of
            the bottom field); "top" or "bottom" (this field alone, every second row of cells known); "second field" (the
            first one came in the access unit before, and is here again).
        list_ends: (2 * slices,) uint32, where in `list_pocs` list 0 and list 1 of each slice end.
        list_pocs: (n,) int32, picture order counts of the entries of all reference lists; see `ref_poc`.
    """

    codec: str
    width: int
    height: int
    pts: int | None
    time_base: Fraction
    keyframe: bool
    reference: bool
    slice_type: SliceType
    poc: int
    coverage: float
    origin: Origin
    bits: int
    blocks: npt.NDArray[Any] = field(repr=False)
    splits: npt.NDArray[Any] = field(repr=False)
    errors: int = 0
    shown: bool = True
    unread: Unread = ""
    motion_exact: bool = True
    structure: Structure = "frame"
    list_ends: npt.NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32), repr=False)
    list_pocs: npt.NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32), repr=False)

    @property
    def pts_seconds(self) -> float | None:
        """Presentation time in seconds."""
        return None if self.pts is None else float(self.pts * self.time_base)

    @property
    def mb_shape(self) -> tuple[int, int]:
        """(mb_rows, mb_cols)."""
        rows, cols = self.blocks.shape
        return rows, cols

    @property
    def block_class(self) -> npt.NDArray[np.uint8]:
        """(mb_rows, mb_cols) uint8: see `BlockClass`."""
        return self.blocks["block_class"]

    @property
    def skip(self) -> BoolArray:
        """(mb_rows, mb_cols) bool: copied from a reference without residual."""
        skipped: BoolArray = self.blocks["block_class"] == BlockClass.SKIP
        return skipped

    @property
    def qp(self) -> npt.NDArray[np.int8]:
        """(mb_rows, mb_cols) int8: luma quantiser (VP8: quantiser index 0..127)."""
        return self.blocks["qp"]

    @property
    def residual_energy(self) -> FloatArray:
        """(mb_rows, mb_cols) float32: squared dequantised coefficients, in squared sample units."""
        return self.blocks["residual_energy"]

    @property
    def bit_cost(self) -> npt.NDArray[np.uint32]:
        """(mb_rows, mb_cols) uint32: bits in the stream."""
        return self.blocks["bit_cost"]

    @property
    def slice_map(self) -> npt.NDArray[np.uint16]:
        """(mb_rows, mb_cols) uint16: number of the slice inside the picture."""
        return self.blocks["slice"]

    @property
    def mv(self) -> npt.NDArray[np.int16]:
        """(2 lists, 4*mb_rows, 4*mb_cols, 2) int16: quarter luma samples, (x, y) into the reference."""
        rows, cols = self.mb_shape
        # (mb_rows, mb_cols, list, 16, xy) -> (list, mb_rows, 4, mb_cols, 4, xy)
        cells = np.repeat(self.blocks["mv"][:, :, :, None, :], 16, axis=3)
        where = self._split_cells()
        cells[where] = self.splits["mv"][self.blocks["split"][where]]
        planes = cells.reshape(rows, cols, 2, 4, 4, 2).transpose(2, 0, 3, 1, 4, 5)
        return np.ascontiguousarray(planes).reshape(2, 4 * rows, 4 * cols, 2)

    @property
    def ref_idx(self) -> npt.NDArray[np.int8]:
        """(2 lists, 4*mb_rows, 4*mb_cols) int8: reference index, -1 = list not used."""
        rows, cols = self.mb_shape
        cells = np.repeat(self.blocks["ref_idx"][:, :, :, None], 16, axis=3)
        where = self._split_cells()
        cells[where] = self.splits["ref_idx"][self.blocks["split"][where]][:, :, _QUADRANTS]
        fine = (self.blocks["flags"] & FLAG_FINE_REFERENCES) != 0
        cells[fine] = self.splits["mv"][self.blocks["split"][fine] + 1][:, :, :, 0]
        planes = cells.reshape(rows, cols, 2, 4, 4).transpose(2, 0, 3, 1, 4)
        return np.ascontiguousarray(planes).reshape(2, 4 * rows, 4 * cols)

    @property
    def ref_poc(self) -> npt.NDArray[np.int32]:
        """(2 lists, 4*mb_rows, 4*mb_cols) int32: order count of the picture that `mv` points into, or `NO_POC`.

        Field macroblocks of a frame (H.264 MBAFF) point into a field of it: this is the count of the frame.
        """
        ref_idx = self.ref_idx.astype(np.int64)
        if not self.list_ends.size:
            return np.full(ref_idx.shape, NO_POC, np.int32)
        ends = self.list_ends.astype(np.int64)
        starts = np.concatenate([[0], ends[:-1]])
        if self.structure == "frame":
            ref_idx >>= self._expanded((self.blocks["flags"] & FLAG_FIELD) != 0)
        lists = 2 * self._expanded(self.slice_map).astype(np.int64) + np.arange(2)[:, None, None]
        known = (ref_idx >= 0) & (lists < ends.size)
        lists[~known] = 0
        index = starts[lists] + ref_idx
        known &= index < ends[lists]
        pocs = np.append(self.list_pocs, np.int32(NO_POC))
        return pocs[np.where(known, index, self.list_pocs.size)]

    @property
    def transform_8x8(self) -> BoolArray:
        """(mb_rows, mb_cols) bool: the residual uses the 8x8 transform (H.264)."""
        flagged: BoolArray = (self.blocks["flags"] & FLAG_TRANSFORM_8X8) != 0
        return flagged

    @property
    def coded_block_pattern(self) -> npt.NDArray[np.uint16]:
        """(mb_rows, mb_cols) uint16: bit 0 to 3: luma residual in each 8x8 quadrant; from bit 4: chroma (1 DC, 2 AC)."""
        return self.blocks["cbp"]

    @property
    def intra_size(self) -> npt.NDArray[np.uint8]:
        """(mb_rows, mb_cols) uint8: side of the blocks of intra prediction: 4, 8, 16 (H.265: up to 64); 0: not intra."""
        mb_type, flags = self.blocks["mb_type"].astype(np.int64), self.blocks["flags"]
        if self.codec == "h265":
            side = (1 << (mb_type >> 4)) >> ((mb_type & 15) == _PART_NXN)
        elif self.codec == "vp8":
            side = np.where(mb_type == _B_PRED, 4, 16)
        else:
            side = np.where(self.transform_8x8, 8, 4)
            side[(flags & FLAG_INTRA_16X16) != 0] = 16
        return np.where(self.block_class == BlockClass.INTRA, side, 0).astype(np.uint8)

    @property
    def intra_mode(self) -> npt.NDArray[np.uint8]:
        """(mb_rows, mb_cols) uint8 `IntraMode`: direction of intra prediction where the whole cell has one."""
        whole, mb_type = self.intra_size == 16, self.blocks["mb_type"].astype(np.int64)
        modes = np.where(self.block_class == BlockClass.INTRA, IntraMode.OTHER, IntraMode.NONE)
        if self.codec == "vp8":
            modes[whole] = _VP8_INTRA[mb_type[whole] & 3]
        elif self.codec == "h264":
            # mb_type counts on behind the Inter types of its slice, which its reference lists tell (7.4.5).
            lists = np.diff(self.list_ends.astype(np.int64), prepend=0).reshape(-1, 2)
            inter_types = np.append(np.where(lists[:, 1] > 0, 23, np.where(lists[:, 0] > 0, 5, 0)), 0)
            first = inter_types[np.minimum(self.slice_map, len(lists))]
            modes[whole] = _H264_INTRA_16X16[(mb_type - 1 - first)[whole] & 3]
        elif self.codec == "h265":
            quadrants = np.ascontiguousarray(self.blocks["split"]).view(np.uint8).reshape(*self.mb_shape, 4)
            first = quadrants[..., 0]
            same = (
                (modes == IntraMode.OTHER)
                & ~self._split_cells()
                & (quadrants == first[..., None]).all(axis=2)
            )
            modes[same] = _H265_INTRA[first[same]]
        if self.unread:
            modes[whole] = IntraMode.OTHER
        return modes.astype(np.uint8)

    def _expanded(self, plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A plane of cells as one of 4x4 blocks."""
        return plane.repeat(4, axis=0).repeat(4, axis=1)

    def _split_cells(self) -> BoolArray:
        divided: BoolArray = (self.blocks["flags"] & FLAG_SPLIT) != 0
        return divided


@dataclass(frozen=True, slots=True, eq=False)
class PatchPlan:
    """Which patches of a picture to encode, and why.

    Attributes:
        pts: Of the picture planned for.
        action: "skip" (nothing: no pixels needed), "sparse" (some patches) or "dense" (all of them).
        reason: One word for people and counters: "quiet", "change", "keyframe", "cut", "camera", "refresh", "lost",
            "drift", "budget" and "load" (left for later).
        indices: (n,) int32, sorted flat patch numbers (row * cols + col) to encode.
        saliency: (rows, cols) float32, change above the noise floor, 1.0 = at the floor's threshold.
        changed: (rows, cols) bool, patches that changed in this picture, planned or not.
        debt: Patches that changed, did not fit the budget and wait.
        camera_motion_px: (x, y) global motion of the picture in luma samples.
    """

    pts: int | None
    action: Action
    reason: str
    indices: npt.NDArray[np.int32] = field(repr=False)
    saliency: FloatArray = field(repr=False)
    changed: BoolArray = field(repr=False)
    debt: int = 0
    camera_motion_px: tuple[float, float] = (0.0, 0.0)

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, cols) of patches."""
        rows, cols = self.saliency.shape
        return rows, cols

    @property
    def needs_pixels(self) -> bool:
        """Whether the picture must be decoded."""
        return self.indices.size > 0

    @property
    def keep_ratio(self) -> float:
        """Planned patches / all patches."""
        return self.indices.size / self.saliency.size


@dataclass(frozen=True, slots=True, eq=False)
class Patches:
    """Pixels of some patches of one picture, ready for the encoder.

    Attributes:
        indices: (n,) int32, flat patch numbers.
        pixels: (n, 3, patch, patch) float32, RGB, normalised by the model's mean and std.
        grid: (rows, cols) of patches in the whole picture.
    """

    indices: npt.NDArray[np.int32] = field(repr=False)
    pixels: FloatArray = field(repr=False)
    grid: tuple[int, int]

    def __len__(self) -> int:
        return int(self.indices.size)

    def positions(self, t: int = 0) -> npt.NDArray[np.int64]:
        """(n, 3) int64: (t, h, w) of every patch."""
        h, w = np.divmod(self.indices.astype(np.int64), self.grid[1])
        return np.stack([np.full_like(h, t), h, w], axis=1)

    def subset(self, keep: BoolArray) -> Patches:
        """Keeps the patches where `keep`, (n,) bool, is true."""
        return Patches(self.indices[keep], self.pixels[keep], self.grid)


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a subscriber must know about the model behind a vector.

    Attributes:
        model_id: Name, for example "ov-nano".
        digest: First 16 hex digits of the SHA-256 over the weights.
        trained: False while the weights are random: vectors then tell change, not meaning.
        dim: Length D of an embedding.
        patch_px: Side of a patch in model pixels.
        max_tokens: Most patches that one state holds.
        mean: RGB mean of the normalisation, in 0..1.
        std: RGB standard deviation, in 0..1.
    """

    model_id: str
    digest: str
    trained: bool
    dim: int
    patch_px: int
    max_tokens: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """One result of a stream.

    Attributes:
        stream_id: Name of the stream.
        epoch: Grows with every (re)connection and stream change. A stream starts at the Unix time in seconds, or
            after its checkpoint, so that it also grows when a process is replaced: a fencing token.
        seq: Number inside the stream, from 0, without holes at the sender.
        pts_seconds: Presentation time of the picture; None when the source has none.
        capture_time_ns: Wall clock of the camera (UTC, Unix), or None.
        publish_time_ns: Wall clock when it left the pipeline.
        kind: "scene" (pooled over everything known), "event" (mean of just-updated tokens), "tokens".
        vector: (D,) float32, or (rows * cols, D) for "tokens".
        changed: (rows, cols) bool, patches encoded for this result.
        action: What the plan said.
        reason: Why, in one word; "lost": pixels that were wanted are missing or made up.
        keep_ratio: Encoded patches / all patches.
        decoded: The picture was decoded for it.
        drift: Estimated error against a dense pass (0 right after one); None where it is not estimated.
        staleness_frames: Pictures since the last dense pass.
        model_id: See `ModelInfo`.
        model_digest: See `ModelInfo`.
        trained: See `ModelInfo`.
        counters: Cumulative counts of the stream: frames_parsed, frames_decoded, frames_encoded, patches_encoded,
            patches_total, source_lost, parse_errors, dropped.
        n_updated: Patches that ran through the model for this picture: changed ones, probes, those of an audit.
        flops: Floating-point operations of its matrix products.
    """

    stream_id: str
    epoch: int
    seq: int
    pts_seconds: float | None
    capture_time_ns: int | None
    publish_time_ns: int
    kind: Kind
    vector: FloatArray = field(repr=False)
    changed: BoolArray = field(repr=False)
    action: Action
    reason: str
    keep_ratio: float
    decoded: bool
    drift: float | None
    staleness_frames: int
    model_id: str
    model_digest: str
    trained: bool
    counters: dict[str, int] = field(default_factory=dict, repr=False)
    n_updated: int = 0
    flops: int = 0

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, cols) of patches."""
        rows, cols = self.changed.shape
        return rows, cols


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """Something that happened to a stream, beside its frames.

    Attributes:
        kind: What.
        stream_id: Where.
        time_ns: Monotonic clock.
        detail: One sentence for people; never contains credentials.
    """

    kind: EventKind
    stream_id: str
    time_ns: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """All that a stream worker must remember to go on elsewhere; caches are rebuilt at the next keyframe.

    Attributes:
        stream_id: Name of the stream.
        epoch: Of the worker that wrote it; a successor takes epoch + 1.
        next_seq: First sequence number that was not used.
        cursor_pts: pts of the last access unit that was finished, or None.
        time_base: Of `cursor_pts`.
        model_digest: Weights that made the embeddings so far.
    """

    stream_id: str
    epoch: int
    next_seq: int
    cursor_pts: int | None
    time_base: Fraction
    model_digest: str


@dataclass(frozen=True, slots=True)
class SinkCounts:
    """What became of the embeddings that a sink took; `waiting` and `waiting_bytes` also fall.

    Attributes:
        sent: The target has them.
        failed: The target does not want them.
        dropped: They found no room while the target was away.
        waiting: They are on their way.
        waiting_bytes: Size of these, on disk.
    """

    sent: int = 0
    failed: int = 0
    dropped: int = 0
    waiting: int = 0
    waiting_bytes: int = 0
