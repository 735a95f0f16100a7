"""Runs a planner over a real stream and compares its plans with the decoded pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from ovstream.bitstream import Parser
from ovstream.config import PlanConfig
from ovstream.plan import PatchGrid, Planner
from ovstream.types import AccessUnit, BoolArray, FloatArray, FrameMetadata, PatchPlan

PATCH_PX = 14
CHANGED_RMS = 5.5  # grey levels at the model's resolution: the encoder's own threshold (0.08 of its units)
PATIENCE_FRAMES = 2


@dataclass
class Score:
    """What a planner did, against what the pixels say.

    Attributes:
        frames: Pictures in order of presentation that were planned.
        planned: Patches of sparse plans.
        encoded: Of these, patches whose pixels had changed.
        dense: Dense plans.
        decoded: Pictures that a plan wanted pixels of.
        changed: Times that a patch came to differ from what was last encoded.
        covered: Of these, planned within `PATIENCE_FRAMES` pictures, or as before again by then.
        stale: Patches that differed after the plan, over all pictures.
        reasons: How often each reason was given for a dense plan.
    """

    patches: int
    frames: int = 0
    planned: int = 0
    encoded: int = 0
    dense: int = 0
    decoded: int = 0
    changed: int = 0
    covered: int = 0
    stale: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def recall(self) -> float:
        return self.covered / max(self.changed, 1)

    @property
    def planned_share(self) -> float:
        return self.planned / (max(self.frames, 1) * self.patches)

    @property
    def stale_share(self) -> float:
        return self.stale / (max(self.frames, 1) * self.patches)

    def __str__(self) -> str:
        return (
            f"{self.frames} frames: planned {self.planned_share:.2%}, precision {self.encoded / max(self.planned, 1):.0%}, "
            f"decoded {self.decoded / max(self.frames, 1):.0%}, dense {self.dense} {self.reasons}, "
            f"changes {self.changed}, recall {self.recall:.1%}, stale {self.stale_share:.2%}"
        )


def metadata(path: Path) -> Iterator[FrameMetadata]:
    """Parses an H.264 file."""
    parser = Parser("h264")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        annexb = av.BitStreamFilterContext("h264_mp4toannexb", stream)
        for packet in container.demux(stream):
            for unit in annexb.filter(packet if packet.size else None):
                yield parser.parse(
                    AccessUnit("h264", bytes(unit), unit.pts, stream.time_base, bool(unit.is_keyframe))
                )


def pictures(path: Path, grid: PatchGrid) -> dict[int, npt.NDArray[np.uint8]]:
    """Decodes a file to grey pictures of `PATCH_PX` samples per patch side, by pts."""
    rows, cols = grid.shape
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        return {
            frame.pts: frame.reformat(
                cols * PATCH_PX, rows * PATCH_PX, format="gray", interpolation="AREA"
            ).to_ndarray()
            for frame in container.decode(stream)
        }


class Encoded:
    """What an encoder would hold: the pixels of every patch when it was last encoded."""

    def __init__(self, grid: PatchGrid) -> None:
        self._rows, self._cols = grid.shape
        self._held = np.full((grid.patches, PATCH_PX**2), 1e3, np.float32)

    def differs(self, picture: npt.NDArray[np.uint8]) -> BoolArray:
        rms = np.sqrt(np.mean((self._patches(picture) - self._held) ** 2, axis=1))
        changed: BoolArray = rms > CHANGED_RMS
        return changed

    def encode(self, picture: npt.NDArray[np.uint8], indices: npt.NDArray[np.integer]) -> None:
        self._held[indices] = self._patches(picture)[indices]

    def _patches(self, picture: npt.NDArray[np.uint8]) -> FloatArray:
        tiles = picture.reshape(self._rows, PATCH_PX, self._cols, PATCH_PX).transpose(0, 2, 1, 3)
        return tiles.reshape(-1, PATCH_PX**2).astype(np.float32)


def judge(
    path: Path, *, config: PlanConfig | None = None, max_frames: int = 10_000, feedback: bool = True
) -> Score:
    """Plans a whole file as the pipeline would, with the pixel check of the encoder."""
    frames = iter(metadata(path))
    first = next(frames)
    grid = PatchGrid.fit(first.width, first.height)
    planner, held, score = Planner(grid, config or PlanConfig()), Encoded(grid), Score(grid.patches)
    shown = pictures(path, grid)
    waiting = np.full(grid.patches, -1)
    for number, frame in enumerate([first, *frames]):
        if number == max_frames:
            break
        plan = planner.plan(frame)
        if frame.pts is None or frame.pts not in shown or (frame.slice_type == "B" and not frame.reference):
            continue
        picture = shown[frame.pts]
        truth = held.differs(picture)
        _tally(score, plan, truth)
        if plan.action == "sparse" and feedback:
            planner.settle(plan.indices[~truth[plan.indices]])
        held.encode(picture, plan.indices)
        _follow(score, plan, truth, waiting)
    return score


def _tally(score: Score, plan: PatchPlan, truth: BoolArray) -> None:
    score.frames += 1
    score.decoded += plan.needs_pixels
    if plan.action == "dense":
        score.dense += 1
        score.reasons[plan.reason] = score.reasons.get(plan.reason, 0) + 1
    else:
        score.planned += plan.indices.size
        score.encoded += int(truth[plan.indices].sum())


def _follow(score: Score, plan: PatchPlan, truth: BoolArray, waiting: npt.NDArray[np.int64]) -> None:
    """Counts each change once: covered when planned, or undone, in time."""
    done = np.zeros(truth.size, np.bool_)
    done[plan.indices] = True
    score.stale += int((truth & ~done).sum())
    waiting[truth & (waiting < 0)] = 0
    open_ = waiting >= 0
    covered = open_ & (done | ~truth) & (waiting <= PATIENCE_FRAMES)
    score.changed += int((open_ & (waiting == 0)).sum())
    score.covered += int(covered.sum())
    waiting[open_] += 1
    waiting[done | ~truth] = -1
