"""Judges extractors on labelled pictures and clips."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ovstream.encode import Encoder
from ovstream.errors import OvstreamError, TrainingError
from ovstream.training.extractors import Extractor
from ovstream.training.labelled import FEWEST, Item, read_picture
from ovstream.training.measures import (
    Names,
    Score,
    cosines,
    joined,
    linear_probe,
    moments,
    nearest_neighbours,
    over_time,
    retrieval,
    scored,
    unexplained,
)
from ovstream.training.watched import (
    MOST_PICTURES,
    SAMPLES,
    profile_clip,
    sample_clip,
    watch_clip,
    whole_passes,
)
from ovstream.types import FloatArray


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How near incremental embeddings came to whole passes.

    Attributes:
        clips: That moved at all.
        cosine: Mean over the clips.
        unexplained: FVU, median over the clips.
        flops: Share of the operations of whole passes, mean over the clips.
    """

    clips: int
    cosine: float
    unexplained: float
    flops: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was found.

    Attributes:
        classes: Number of labels.
        items: Files judged.
        groups: Of files that must not help each other.
        chance: Share of the largest class: what naming it always would score.
        scores: By extractor, then by measure; measures that the data does not allow are missing.
        left_out: Measures that are missing, with the reason.
        fidelity: Of the model on the clips; None without clips.
        unread: Files that gave nothing, with the reason.
    """

    classes: int
    items: int
    groups: int
    chance: float
    scores: Mapping[str, Mapping[str, Score]]
    left_out: Mapping[str, str]
    fidelity: Fidelity | None
    unread: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Gathered:
    """Features by extractor: of each file, and of each picture of the clips."""

    items: list[Item] = field(default_factory=list)
    files: dict[str, list[FloatArray]] = field(default_factory=dict)
    pictures: dict[str, list[FloatArray]] = field(default_factory=dict)
    clips: list[str] = field(default_factory=list)
    order: list[int] = field(default_factory=list)
    profiles: list[FloatArray] = field(default_factory=list)
    runs: list[tuple[float, float, float]] = field(default_factory=list)
    unread: list[tuple[str, str]] = field(default_factory=list)


def evaluate(
    items: Sequence[Item],
    extractors: Sequence[Extractor],
    encoder: Encoder,
    *,
    k: int = 5,
    samples: int = SAMPLES,
    most: int = MOST_PICTURES,
    progress: Callable[[int], None] = lambda done: None,
) -> Evaluation:
    """Runs everything.

    A picture is its features; a clip is mean and standard deviation of the features of some of its pictures (the mean
    alone where there are pictures among the files, too). Where all are clips, what the codec tells of them without a
    pixel is judged as well, alone and beside the first extractor.

    Args:
        items: See `read_labelled`.
        extractors: To compare, with names of their own.
        encoder: Whose incremental runs are compared with whole passes, on the clips.
        k: Neighbours that vote.
        samples: Pictures of a clip.
        most: Pictures of a clip that are looked at.
        progress: Called with the number of files read.

    Raises:
        TrainingError: Too few files could be read.
    """
    found = _Gathered()
    spread = all(item.is_clip for item in items)
    for number, item in enumerate(items, 1):
        try:
            _read(item, extractors, encoder, found, samples=samples, most=most, spread=spread)
        except OvstreamError as error:
            found.unread.append((str(item.path), str(error)))
        progress(number)
    labels = np.array([item.label for item in found.items])
    groups = np.array([item.group for item in found.items])
    names, counts = np.unique(labels, return_counts=True)
    if len(names) < FEWEST or counts.min() < FEWEST:
        first = f"; the first: {': '.join(found.unread[0])}" if found.unread else ""
        raise TrainingError(
            f"of {len(items)} files {len(found.items)} could be read, too few of some class{first}"
        )
    left_out: dict[str, str] = {}
    features = {name: np.stack(rows) for name, rows in found.files.items()}
    if found.profiles:
        codec = np.stack(found.profiles)
        features |= {f"{extractors[0].name} + codec": joined([features[extractors[0].name], codec])}
        features |= {"codec": joined([codec])}
    scores = {
        name: _judge(values, found.pictures.get(name), found, labels, groups, k, left_out)
        for name, values in features.items()
    }
    return Evaluation(
        classes=len(names),
        items=len(labels),
        groups=len(np.unique(groups)),
        chance=float(counts.max() / counts.sum()),
        scores=scores,
        left_out=left_out,
        fidelity=_fidelity(found.runs),
        unread=tuple(found.unread),
    )


def _read(
    item: Item,
    extractors: Sequence[Extractor],
    encoder: Encoder,
    found: _Gathered,
    *,
    samples: int,
    most: int,
    spread: bool,
) -> None:
    if not item.is_clip:
        picture = read_picture(item.path)
        for one in extractors:
            found.files.setdefault(one.name, []).append(one(picture))
        found.items.append(item)
        return
    watched = watch_clip(item.path, encoder, most=most)
    profile = over_time(profile_clip(item.path, most=most)) if spread else None
    taken = sample_clip(item.path, encoder, among=watched.seconds.tolist(), samples=samples, most=most)
    for one in extractors:
        features = np.stack([one(sample.picture) for sample in taken])
        found.files.setdefault(one.name, []).append(over_time(features) if spread else features.mean(axis=0))
        found.pictures.setdefault(one.name, []).extend(features)
    found.clips += [str(item.path)] * len(taken)
    found.order += range(len(taken))
    found.items.append(item)
    if profile is not None:
        found.profiles.append(profile)
    if len(taken) > 1:
        true, seen = whole_passes(taken[1:], encoder), watched.at([one.seconds for one in taken[1:]])
        found.runs.append((float(cosines(seen, true).mean()), unexplained(seen, true), watched.flops))


def _judge(
    features: FloatArray,
    of_pictures: list[FloatArray] | None,
    found: _Gathered,
    labels: Names,
    groups: Names,
    k: int,
    left_out: dict[str, str],
) -> dict[str, Score]:
    clips = np.array(found.clips)
    scores: dict[str, Score] = {}

    def attempt(measure: str, judge: Callable[[], Score]) -> None:
        try:
            scores[measure] = judge()
        except TrainingError as error:
            left_out[measure] = str(error)

    attempt("kNN", lambda: scored(nearest_neighbours(features, labels, groups, k=k), groups))
    attempt("probe", lambda: scored(linear_probe(features, labels, groups), groups))
    if of_pictures is not None:
        pictures = np.stack(of_pictures)
        attempt("same clip", lambda: scored(retrieval(pictures, clips), clips))
        attempt("same moment", lambda: scored(moments(pictures, clips, np.array(found.order)), clips))
    return scores


def _fidelity(runs: list[tuple[float, float, float]]) -> Fidelity | None:
    moved = np.array([run for run in runs if np.isfinite(run[1])])
    if not len(moved):
        return None
    return Fidelity(
        clips=len(moved),
        cosine=float(moved[:, 0].mean()),
        unexplained=float(np.median(moved[:, 1])),
        flops=float(moved[:, 2].mean()),
    )
