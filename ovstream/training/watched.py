"""A clip as a stream sees it, and whole passes on some of its pictures, which are the truth."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ovstream.config import PRIVATE
from ovstream.encode import Encoder, EncoderState
from ovstream.encode.backend import Job
from ovstream.errors import TrainingError
from ovstream.pipeline import FrameTrace, inspect
from ovstream.pipeline import open as open_stream
from ovstream.plan.profile import codec_profile
from ovstream.training.extractors import SIDE_PX, Picture
from ovstream.types import Embedding, FloatArray, Patches

MOST_PICTURES = 150
SAMPLES = 8


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One picture of a clip.

    Attributes:
        seconds: Presentation time.
        picture: (224, 224, 3) uint8 RGB.
        patches: As the pipeline cuts it for the model.
    """

    seconds: float
    picture: Picture
    patches: Patches


def sample_clip(
    path: Path,
    encoder: Encoder,
    *,
    among: Iterable[float] | None = None,
    samples: int = SAMPLES,
    most: int = MOST_PICTURES,
) -> list[Sample]:
    """Takes pictures evenly from the start of a clip, in the order of time; nothing is encoded.

    Args:
        path: A video file.
        encoder: Says how patches are cut.
        among: Times of the pictures to choose from, say those of `Watched.seconds`: a stream gives nothing for pictures
            that arrive late (B pictures). None: all.
        samples: Pictures to take; a shorter clip gives fewer.
        most: Pictures to choose from.

    Raises:
        SourceError: It cannot be opened.
        TrainingError: It gave no picture.
    """
    keeper = _Keeper(encoder.backend.lanes)
    wanted = None if among is None else frozenset(among)
    kept: list[Sample] = []
    seen = 0
    stride = 1

    def look(trace: FrameTrace) -> None:
        nonlocal seen, stride
        when = trace.frame.pts_seconds
        if trace.picture is None or keeper.last is None or when is None or seen >= most:
            return
        if wanted is not None and when not in wanted:
            return
        if seen % stride == 0:
            kept.append(_sample(trace, keeper.last, encoder))
            if len(kept) > 4 * samples:
                kept[:] = kept[::2]
                stride *= 2
        seen += 1

    _run(path, encoder.through(keeper), most, kinds=("scene",), plan={"everything": True}, observe=look)
    if not kept:
        raise TrainingError("it gave no picture")
    kept.sort(key=lambda one: one.seconds)
    chosen = np.unique(np.linspace(0, len(kept) - 1, samples).round().astype(int))
    return [kept[number] for number in chosen]


@dataclass(frozen=True, slots=True, eq=False)
class Watched:
    """What a model made of a clip.

    Attributes:
        scenes: (f, D) float32, of the incremental run.
        seconds: (f,) presentation times.
        events: (e, D) float32, means of the tokens that changed; sparse updates only.
        flops: Operations of the incremental run / those of whole passes, the first picture apart.
        activity: (f,) float32, share of patches that were encoded.
    """

    scenes: FloatArray
    seconds: npt.NDArray[np.float64]
    events: FloatArray
    flops: float
    activity: FloatArray

    def at(self, seconds: Sequence[float]) -> FloatArray:
        """(n, D) the scenes at these times, which must be among `seconds`."""
        return self.scenes[np.searchsorted(self.seconds, np.array(seconds))]


def watch_clip(path: Path, encoder: Encoder, *, most: int = MOST_PICTURES, **options: Any) -> Watched:
    """Runs the start of a clip through the pipeline as a camera would run.

    Args:
        path: A video file.
        encoder: Of the run.
        most: Pictures to look at.
        **options: Of `ovstream.open`.

    Raises:
        SourceError: It cannot be opened.
        TrainingError: It gave no picture.
    """
    found = _run(path, encoder, most, kinds=("scene", "event"), **options)
    scenes = [one for one in found if one.kind == "scene" and one.pts_seconds is not None]
    events = [one.vector for one in found if one.kind == "event" and one.action == "sparse"]
    if not scenes:
        raise TrainingError("it gave no picture")
    scenes.sort(key=lambda one: float(one.pts_seconds or 0))
    dense = encoder.dense_flops(scenes[0].grid)
    costs = [float(one.flops) for one in scenes[1:]]
    return Watched(
        scenes=np.stack([one.vector for one in scenes]),
        seconds=np.array([one.pts_seconds for one in scenes], np.float64),
        events=np.stack(events) if events else np.zeros((0, encoder.info.dim), np.float32),
        flops=float(np.mean(costs or [0.0])) / dense,
        activity=np.array([one.keep_ratio for one in scenes], np.float32),
    )


def whole_passes(samples: Sequence[Sample], encoder: Encoder) -> FloatArray:
    """(n, D) scenes, each picture by itself: the truth of incremental ones."""
    return np.stack(
        [encoder.encode_patches(encoder.new_state(one.patches.grid), one.patches).scene for one in samples]
    )


def profile_clip(path: Path, *, most: int = MOST_PICTURES) -> FloatArray:
    """(f, LENGTH) codec profiles of the P and B pictures at the start of a clip: see `codec_profile`.

    Raises:
        SourceError: It cannot be opened.
        TrainingError: It holds I pictures alone.
    """
    frames = itertools.islice(inspect(path), most)
    found = [codec_profile(frame) for frame in frames if frame.slice_type != "I"]
    if not found:
        raise TrainingError("it holds no pictures that were predicted from others")
    return np.stack(found)


class _Keeper:
    """A backend that computes nothing and keeps the pixels of its last call."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        self.last: Job | None = None

    def bind(self, state: EncoderState) -> Any:
        """Nothing to connect."""
        return state.grid

    def run(self, jobs: Sequence[Job]) -> None:
        """Keeps the last."""
        self.last = jobs[-1]


def _sample(trace: FrameTrace, job: Job, encoder: Encoder) -> Sample:
    assert trace.picture is not None
    assert trace.frame.pts_seconds is not None
    factor = max(1, min(trace.picture.height, trace.picture.width) // SIDE_PX)
    shown = Image.fromarray(trace.picture.shrunk(factor).to_rgb())
    side = encoder.info.patch_px
    return Sample(
        seconds=trace.frame.pts_seconds,
        picture=np.asarray(shown.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)),
        patches=Patches(
            job.slots.astype(np.int32), job.patches.reshape(-1, 3, side, side).copy(), trace.plan.grid
        ),
    )


def _run(path: Path, encoder: Encoder, most: int, **options: Any) -> list[Embedding]:
    """Embeddings of the first pictures."""

    async def listen() -> list[Embedding]:
        found: list[Embedding] = []
        scenes = 0
        async with open_stream(path, encoder=encoder, **{**PRIVATE, **options}) as stream:
            async for embedding in stream:
                scenes += embedding.kind == "scene"
                if scenes > most:
                    break
                found.append(embedding)
        return found

    return asyncio.run(listen())
