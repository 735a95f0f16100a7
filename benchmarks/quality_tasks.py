"""The tasks of `benchmarks.quality`: features in, scores with errors out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from benchmarks.quality_data import Labelled, Pictures, encode, fight_files
from benchmarks.quality_features import Cache, Seen
from benchmarks.quality_made import ENDS, STARTS, Made, with_object
from ovstream.encode import Encoder
from ovstream.training.measures import (
    Names,
    Score,
    centred,
    joined,
    linear_probe,
    moments,
    nearest_neighbours,
    over_time,
    retrieval,
    scored,
    separated,
    separation,
)
from ovstream.types import FloatArray

Scores = dict[str, Score]
Look = Callable[[Pictures], FloatArray]
"""(n, 224, 224, 3) uint8 to (n, F) features."""
Judge = Callable[[Look], Scores]
"""One task, on its data."""

FIGHT_NEIGHBOURS, FIGHT_PROBE = "fights, 5-NN", "fights, probe"
TINY, SAME_CLIP, SAME_MOMENT = "Tiny-ImageNet, 5-NN", "same clip", "same moment"
OBJECT_DISTANCE, OBJECT_PROBE = "object or light, AUC", "object or light, probe"
NOVELTY = "novel object, AUC"
COLUMNS = (
    FIGHT_NEIGHBOURS,
    FIGHT_PROBE,
    TINY,
    SAME_CLIP,
    SAME_MOMENT,
    OBJECT_DISTANCE,
    OBJECT_PROBE,
    NOVELTY,
)


def judge_fights(features: FloatArray, labels: Names, cameras: Names) -> Scores:
    """Clips of one camera never help each other."""
    return {
        FIGHT_NEIGHBOURS: scored(nearest_neighbours(features, labels, cameras), cameras),
        FIGHT_PROBE: scored(linear_probe(features, labels, cameras), cameras),
    }


def fights(look: Look, data: Labelled) -> Scores:
    """Each clip: mean and deviation of its pictures."""
    _, first = np.unique(data.clips, return_index=True)
    return judge_fights(of_clips(look, data), data.labels[first], data.groups[first])


def of_clips(look: Look, data: Labelled) -> FloatArray:
    """(clips, 2 F) in the order of the names."""
    found = look(data.pictures)
    return np.stack([over_time(found[data.clips == name]) for name in np.unique(data.clips)])


def tiny(look: Look, data: Labelled) -> Scores:
    """Classes of single pictures."""
    return {TINY: scored(nearest_neighbours(look(data.pictures), data.labels, data.groups), data.groups)}


def scenes(look: Look, data: Labelled, *, seed: int = 0) -> Scores:
    """Finds clip and moment again, and what is new: an object in a picture of a camera that is known.

    Known are the even pictures of a clip. Novelty is the distance to the nearest of them, over the odd pictures as they
    are, and with an object.
    """
    found = look(data.pictures)
    rng = np.random.default_rng(seed)
    odd = np.flatnonzero(data.order % 2)
    changed = np.stack(
        [with_object(data.pictures[row], data.pictures[data.clips != data.clips[row]], rng) for row in odd]
    )
    strange = look(changed)
    names = list(dict.fromkeys(data.clips.tolist()))
    areas = []
    for name in names:
        known = found[(data.clips == name) & (data.order % 2 == 0)]
        usual, unusual = found[odd[data.clips[odd] == name]], strange[data.clips[odd] == name]
        unit = centred_by(known, found.mean(axis=0))
        far = 1 - (centred_by(np.concatenate([usual, unusual]), found.mean(axis=0)) @ unit.T).max(axis=1)
        areas.append(separation(far, np.arange(len(far)) >= len(usual)))
    return {
        SAME_CLIP: scored(retrieval(found, data.clips), data.clips),
        SAME_MOMENT: scored(moments(found, data.clips, data.order), data.clips),
        NOVELTY: scored(np.array(areas), np.array(names)),
    }


def centred_by(features: FloatArray, mean: FloatArray) -> FloatArray:
    """Unit rows around a mean."""
    moved = features - mean
    result: FloatArray = moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-12)
    return result


def made_facts(clips: Sequence[Made]) -> tuple[npt.NDArray[np.bool_], Names]:
    """(n,) whether something came in, and the grounds."""
    return np.array([one.is_object for one in clips]), np.array([one.ground for one in clips])


def events(look: Look, clips: Sequence[Made]) -> Scores:
    """Does an object change the features more than light does, and can a probe tell which it was?"""
    objects, grounds = made_facts(clips)
    before = look(np.stack([one.shown[STARTS - 1] for one in clips]))
    after = look(np.stack([one.shown[ENDS + 2] for one in clips]))
    unit = centred(np.concatenate([before, after]))
    far = 1 - (unit[: len(clips)] * unit[len(clips) :]).sum(axis=1)
    return {
        OBJECT_DISTANCE: separated(far, objects, grounds),
        OBJECT_PROBE: scored(linear_probe(after - before, objects, grounds), grounds),
    }


def stream_fights(
    cache: Cache, encoder: Encoder, beside: Mapping[str, FloatArray] = MappingProxyType({})
) -> dict[str, Scores]:
    """Fights from what a stream gives by itself: embeddings of few patches, and metadata.

    Args:
        cache: Keeps what streams gave.
        encoder: Of the streams.
        beside: Features of clips, see `of_clips`, to judge with the metadata as well.
    """
    files = sorted(fight_files(), key=lambda file: file[0].stem)
    labels, cameras = np.array([one[1] for one in files]), np.array([one[2] for one in files])
    seen = [cache.stream(encoder, path) for path, _, _ in files]
    codec = np.stack([over_time(one.profiles) for one in seen])
    scene = np.stack([over_time(one.watched.scenes) for one in seen])
    event = np.stack([_events_over_time(one) for one in seen])
    blocks = {
        "stream": [scene],
        "stream, events": [event],
        "codec": [codec],
        "stream + codec": [scene, codec],
    }
    blocks |= {name: [features, codec] for name, features in beside.items()}
    return {name: judge_fights(joined(block), labels, cameras) for name, block in blocks.items()}


def _events_over_time(seen: Seen) -> FloatArray:
    found = seen.watched.events
    return over_time(found) if len(found) else np.zeros(2 * found.shape[1], np.float32)


def stream_events(cache: Cache, encoder: Encoder, clips: Sequence[Made], folder: Path) -> dict[str, Scores]:
    """Objects or light from event embeddings and from metadata, of the pictures in which it happens."""
    objects, grounds = made_facts(clips)
    events, far, codec = [], [], []
    for number, one in enumerate(clips):
        path = folder / f"made-{number:03d}.mp4"
        if not path.is_file():
            encode(path, one.shown)
        seen = cache.stream(encoder, path)
        event = seen.watched.events
        events.append(event.mean(axis=0) if len(event) else np.zeros(encoder.info.dim, np.float32))
        far.append(seen.watched.scenes[[STARTS - 1, -1]])
        codec.append(seen.profiles[STARTS : ENDS + 1].mean(axis=0))
    unit = centred(np.concatenate(far))
    distance = 1 - (unit[::2] * unit[1::2]).sum(axis=1)
    probes = {"stream, events": np.stack(events), "codec": np.stack(codec)}
    found: dict[str, Scores] = {
        name: {OBJECT_PROBE: scored(linear_probe(block, objects, grounds), grounds)}
        for name, block in probes.items()
    }
    found["stream"] = {OBJECT_DISTANCE: separated(distance, objects, grounds)}
    return found
