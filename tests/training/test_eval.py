"""`ovstream eval`: from labelled files to a table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from ovstream.cli.app import app
from ovstream.encode import load_encoder
from ovstream.encode.images import image_patches
from ovstream.errors import ConfigError, TrainingError
from ovstream.sources.scene import Scene
from ovstream.training.extractors import Eye, ModelFeatures, OnnxFeatures, untrained_like
from ovstream.training.labelled import read_labelled, read_picture
from ovstream.training.measures import cosines
from ovstream.training.readout import layout
from ovstream.training.watched import sample_clip, watch_clip, whole_passes

from ..clips import make_clip
from .test_train import teacher_file


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Warm and cold noise, six of each, and a file that is none."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for label, tint in (("warm", [60, 0, -60]), ("cold", [-60, 0, 60])):
        (folder / label).mkdir()
        for number in range(6):
            noise = rng.integers(-60, 60, (40, 50, 3)) + rng.integers(90, 160) + np.array(tint)
            Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(folder / label / f"{number}.png")
    (folder / "warm" / "torn.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of four clips by two cameras."""
    folder = tmp_path_factory.mktemp("clips")
    lines = ["# path, label, group"]
    for seed in (1, 2):
        for label, objects in (("busy", 5), ("calm", 0)):
            name = f"{label}-{seed}.mp4"
            scene = Scene(224, 224, seed=seed, objects=objects, noise=1.0)
            make_clip(folder / name, frames=12, scene=scene)
            lines.append(f"{name}\t{label}\tcamera {seed}")
    (folder / "labels.tsv").write_text("\n".join(lines) + "\n")
    return folder / "labels.tsv"


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, ["eval", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_pictures_of_two_colours(pictures: Path, tmp_path: Path) -> None:
    teacher = teacher_file(tmp_path / "cells.onnx")
    found = json.loads(run(pictures, "--against", f"raw,{teacher}", "--json"))
    assert (found["classes"], found["items"], found["groups"], found["fidelity"]) == (2, 12, 12, None)
    assert [Path(path).name for path, _ in found["unread"]] == ["torn.png"]
    assert list(found["scores"]) == ["ov-nano", "raw pixels", "cells"]
    for scores in found["scores"].values():
        assert scores["kNN"]["value"] == 1
        assert scores["probe"]["value"] > 0.9
        assert set(scores) == {"kNN", "probe"}


def test_clips_of_two_cameras(clips: Path) -> None:
    found = json.loads(run(clips, "--samples", "4", "--readout", "both", "--against", "raw", "--json"))
    assert (found["items"], found["groups"], found["unread"]) == (4, 2, [])
    pictured = ["ov-nano", "ov-nano, layout", "raw pixels"]
    assert list(found["scores"]) == [*pictured, "ov-nano + codec", "codec"]
    for name in pictured:
        assert set(found["scores"][name]) == {"kNN", "probe", "same clip", "same moment"}
        assert found["scores"][name]["same clip"]["items"] == 16
    # five moving objects or none: the codec knows, whatever the camera
    assert found["scores"]["codec"]["kNN"]["value"] == 1
    near = found["fidelity"]
    assert 0.98 < near["cosine"] <= 1
    assert 0 < near["flops"] < 1


def test_the_table_says_what_is_missing_and_why(pictures: Path) -> None:
    shown = run(pictures, "--against", "hog")
    for part in ("12 files, 2 classes", "5-NN", "probe", "ov-nano", "HOG", "torn.png", "±"):
        assert part in shown


def test_wrong_choices_name_the_right_ones(pictures: Path) -> None:
    for option, value in (("--against", "magic"), ("--readout", "all")):
        with pytest.raises(ConfigError, match="must be"):
            run(pictures, option, value)
    with pytest.raises(TrainingError, match=r"there is no file .*absent\.onnx"):
        run(pictures, "--against", "absent.onnx")


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("a.png\twarm\nb.png\tcold\n", "too few files, at least 2: 'cold' \\(1\\), 'warm' \\(1\\)"),
        ("a.png\twarm\nb.png\twarm\n", "1 classes"),
        ("a.png\twarm\tx\ty\n", "line 1: must be path TAB label"),
        ("# none\n", "names no files"),
        ("a.png\twarm\nc.png\tcold\n", "line 2: there is no file .*c.png"),
        ("t.tsv\twarm\n", "line 1: t.tsv is no clip or picture"),
    ],
)
def test_what_a_table_must_be(tmp_path: Path, lines: str, problem: str) -> None:
    for name in "ab":
        Image.new("RGB", (30, 30)).save(tmp_path / f"{name}.png")
    (tmp_path / "t.tsv").write_text(lines)
    with pytest.raises(TrainingError, match=problem):
        read_labelled(tmp_path / "t.tsv")


def test_a_clip_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"\xff\x00\xfe")
    with pytest.raises(TrainingError, match=r"clip\.mp4: is no text; give a folder of classes, or a table"):
        read_labelled(tmp_path / "clip.mp4")


def test_files_beside_the_classes_are_named(tmp_path: Path) -> None:
    Image.new("RGB", (30, 30)).save(tmp_path / "stray.png")
    with pytest.raises(TrainingError, match=r"stray\.png lies in no sub-folder"):
        read_labelled(tmp_path)


def test_samples_are_whole_pictures_in_order(clips: Path) -> None:
    encoder = load_encoder(probes=0)
    path = clips.parent / "busy-1.mp4"
    taken = sample_clip(path, encoder, samples=4)
    numbers = [round(one.seconds * 25) for one in taken]
    assert np.abs(np.array(numbers) - np.linspace(0, 11, 4)).max() <= 1
    scene = Scene(224, 224, seed=1, objects=5, noise=1.0)
    for one, number in zip(taken, numbers, strict=True):
        drawn = scene.render(number).astype(float)
        assert np.abs(one.picture - drawn).mean() < 12
        assert one.patches.indices.tolist() == list(range(256))
        cut = image_patches(one.picture, encoder.info, max_tokens=256).pixels
        assert np.abs(one.patches.pixels - cut).mean() < 0.1


def test_incremental_scenes_are_compared_with_whole_passes_on_the_same_pictures(clips: Path) -> None:
    encoder = load_encoder(probes=0)
    path = clips.parent / "busy-1.mp4"
    watched = watch_clip(path, encoder)
    assert 1 < len(watched.scenes) < 12  # B pictures come late
    assert np.all(np.diff(watched.seconds) > 0)
    assert watched.events.shape[1:] == (192,)
    taken = sample_clip(path, encoder, among=watched.seconds.tolist(), samples=3)
    times = [one.seconds for one in taken]
    assert set(times) <= set(watched.seconds.tolist())
    true, seen = whole_passes(taken, encoder), watched.at(times)
    assert np.abs(seen[0] - true[0]).max() < 1e-3  # the first picture is a whole pass
    assert 0.98 < cosines(seen, true)[-1] < 1 - 1e-6


def test_a_layout_tells_where_things_are() -> None:
    tokens = np.zeros((6, 8, 2), np.float32)
    tokens[0, 0], tokens[5, 7] = [1, 2], [3, 4]
    found = layout(tokens.reshape(48, 2), (6, 8)).reshape(4, 4, 2)
    # rows 0..1 and 1..2 ...: bands of a grid that four does not divide share a row
    assert found[0, 0].tolist() == [0.25, 0.5]
    assert found[3, 3].tolist() == [0.75, 1.0]
    assert np.count_nonzero(found) == 4


def test_an_untrained_model_has_the_shape_but_not_the_sense(pictures: Path) -> None:
    features = [
        ModelFeatures(Eye(encoder)) for encoder in (load_encoder(probes=0), untrained_like("ov-nano"))
    ]
    picture = read_picture(pictures / "warm" / "0.png")
    trained, untrained = (one(picture) for one in features)
    assert trained.shape == untrained.shape
    assert features[0].digest != features[1].digest
    assert not features[1]._eye.encoder.info.trained
    assert np.corrcoef(trained, untrained)[0, 1] < 0.5


def test_features_per_place_are_averaged(pictures: Path, tmp_path: Path) -> None:
    picture = read_picture(pictures / "cold" / "0.png")
    features = OnnxFeatures(teacher_file(tmp_path / "cells.onnx", size=64))
    assert features(picture).shape == (24,)
    with pytest.raises(TrainingError, match="no ONNX model"):
        OnnxFeatures(pictures / "warm" / "torn.png")
