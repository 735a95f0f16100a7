"""From a folder of clips and pictures to a model that streams run with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import yaml
from onnx import TensorProto, helper
from PIL import Image
from typer.testing import CliRunner

import ovstream
from ovstream.cli.app import app
from ovstream.errors import ConfigError, TrainingError
from ovstream.training.bank import load_bank
from ovstream.training.collect import collect, list_data
from ovstream.training.packs import read_histories, read_sources
from ovstream.training.teachers import OnnxTeacher, pictures

from ..clips import make_clip
from .tiny import recipe


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_clip(folder / "camera.mp4", frames=30)
    (folder / "deeper").mkdir()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (120, 160, 3), np.uint8)).save(folder / "deeper" / "photo.png")
    thing = rng.integers(0, 256, (60, 60, 4), np.uint8)
    thing[..., 3] = 0
    thing[10:50, 15:45, 3] = 255
    Image.fromarray(thing).save(folder / "thing.png")
    (folder / "broken.mp4").write_bytes(b"no video")
    return folder


def teacher_file(path: Path, *, size: int | str = "side") -> Path:
    """A convolution of 16 x 16 px cells to 24 features."""
    rng = np.random.default_rng(5)
    weight = rng.standard_normal((24, 3, 16, 16)).astype(np.float32) / 16
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], strides=[16, 16])],
        "teacher",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", 3, size, size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [helper.make_tensor("w", TensorProto.FLOAT, weight.shape, weight.tobytes(), raw=True)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    return path


def test_clips_become_histories_and_pictures(data: Path, tmp_path: Path) -> None:
    found = collect(data, tmp_path)
    assert (found.clips, [name for name, _ in found.skipped]) == (1, ["broken.mp4"])
    (history,) = read_histories(tmp_path)
    tokens = history.grid[0] * history.grid[1]
    assert sorted(history.update(0)[0]) == list(range(tokens))
    assert len(history) > 5
    assert max(len(history.update(index)[0]) for index in range(1, len(history))) < tokens
    bank = load_bank(tmp_path)
    assert len(bank.sprites) == 1
    assert len(bank.photos) > 2
    assert [item.name for item in read_sources(tmp_path)] == ["camera.mp4", "deeper/photo.png", "thing.png"]
    # the first still is the first picture of the clip
    rows, cols = history.grid
    slots, pixels = history.update(0)
    canvas = pixels[np.argsort(slots)].reshape(rows, cols, 3, 14, 14).transpose(0, 3, 1, 4, 2)
    clip = next(iter(ovstream_frames(data / "camera.mp4")))
    shown = np.asarray(clip.resize((cols * 14, rows * 14), Image.Resampling.BILINEAR), np.float32)
    assert np.abs(shown - canvas.reshape(rows * 14, cols * 14, 3)).mean() < 12


def ovstream_frames(path: Path) -> list[Image.Image]:
    import av

    with av.open(str(path)) as container:
        return [frame.to_image() for frame in container.decode(video=0)]


def test_an_empty_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no clips or pictures"):
        collect(tmp_path, tmp_path / "out")


def test_a_manifest_names_files_and_folders(data: Path, tmp_path: Path) -> None:
    table = data / "some.tsv"
    table.write_text("# path, and what else there is\nthing.png\tthings\n\ndeeper\n")
    assert collect(table, tmp_path).pictures == 2
    sources = read_sources(tmp_path)
    assert [(item.origin, item.name) for item in sources] == [
        ("some.tsv", "thing.png"),
        ("some.tsv", "deeper/photo.png"),
    ]
    for text, why in (
        ("none.png\n", "line 1: there is no"),
        ("#\nsome.tsv", "line 2: some.tsv is no clip"),
        ("", "names no"),
    ):
        table.write_text(text)
        with pytest.raises(TrainingError, match=why):
            list_data(table)
    table.unlink()


@pytest.mark.parametrize("size", ["side", 64])
def test_a_teacher_sees_normalised_pictures_of_its_size(tmp_path: Path, size: int | str) -> None:
    teacher = OnnxTeacher(teacher_file(tmp_path / "t.onnx", size=size))
    side = size if isinstance(size, int) else 224
    patches = torch.randn(2, 16 * 16, 588, generator=torch.Generator().manual_seed(0))
    pooled, places = teacher(patches, (16, 16))
    weight = onnx.numpy_helper.to_array(onnx.load(str(tmp_path / "t.onnx")).graph.initializer[0])
    images = pictures(patches, (16, 16))
    if side != 224:
        images = torch.nn.functional.interpolate(images, size=(side, side), mode="bicubic", antialias=True)
    truth = torch.nn.functional.conv2d(images, torch.tensor(weight), stride=16)
    assert places is not None
    assert places.shape == (2, side // 16, side // 16, 24)
    assert torch.allclose(pooled, truth.mean((2, 3)), atol=1e-4)


def test_what_is_no_teacher_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="there is no teacher"):
        OnnxTeacher(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    with pytest.raises(TrainingError, match="no ONNX model"):
        OnnxTeacher(tmp_path / "bad.onnx")


@pytest.mark.parametrize("taught", [True, False])
def test_train_ends_with_a_model_that_runs(data: Path, tmp_path: Path, taught: bool) -> None:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(recipe().to_mapping()))
    (tmp_path / "data.txt").write_text(f"{data}\n")
    out = tmp_path / "mine"
    words = ["train", "--data", str(tmp_path / "data.txt" if taught else data), "--out", str(out)]
    words += ["--config", str(tmp_path / "tiny.yaml")]
    if taught:
        words += ["--teacher", str(teacher_file(tmp_path / "t.onnx"))]
    done = CliRunner().invoke(app, [*words, "--steps", "10"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    last = json.loads((out / "run" / "log.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 10
    assert ("token" in last) is taught
    assert ("purity" in last) is taught
    assert last["fvu"] > 0
    page = (out / "run" / "report.md").read_text()
    assert f"10 steps of {recipe().batch} pictures" in page
    assert f"| 10 | {last['loss']:.4g} |" in page
    with Image.open(out / "run" / "report.png") as curves:
        assert curves.width > 600
    again = CliRunner().invoke(app, words)
    assert isinstance(again.exception, ConfigError)
    assert "--resume" in str(again.exception)
    longer = CliRunner().invoke(app, [*words, "--steps", "12", "--resume"], catch_exceptions=False)
    assert longer.exit_code == 0, longer.output
    assert json.loads((out / "run" / "log.jsonl").read_text().splitlines()[-1])["step"] == 12
    found = list(ovstream.iterate(data / "camera.mp4", model=str(out / "model")))
    assert found[0].vector.shape == (32,)
    assert np.isfinite(found[-1].vector).all()
    shown = CliRunner().invoke(app, ["run", str(data / "camera.mp4"), "--model", str(out / "model")])
    assert shown.exit_code == 0, shown.output


def test_a_model_is_trained_further_on_packs(data: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text(json.dumps(recipe(steps=2, rounds=1).to_mapping()))
    collect(data, tmp_path / "packs")
    words = ["train", "--data", str(tmp_path / "packs"), "--recipe", str(tmp_path / "recipe.json")]
    runner = CliRunner()
    first = runner.invoke(app, [*words, "--out", str(tmp_path / "one")], catch_exceptions=False)
    assert first.exit_code == 0, first.output
    assert not (tmp_path / "one" / "data").exists()
    made = str(tmp_path / "one" / "model")
    more = runner.invoke(
        app, [*words, "--out", str(tmp_path / "two"), "--from", made], catch_exceptions=False
    )
    assert more.exit_code == 0, more.output
    began = json.loads((tmp_path / "two" / "run" / "recipe.json").read_text())["start"]
    assert began == json.loads((tmp_path / "one" / "model" / "config.json").read_text())["digest"]
    again = [*words, "--out", str(tmp_path / "two"), "--steps", "4", "--resume"]
    longer = runner.invoke(app, [*again, "--minutes", "0"], catch_exceptions=False)
    assert longer.exit_code == 0, longer.output
    assert "stopped after step 3 of 4: --resume goes on" in longer.output
    (tmp_path / "two" / "model").rename(tmp_path / "two" / "old")
    longer = runner.invoke(app, again, catch_exceptions=False)
    assert longer.exit_code == 0, longer.output
    assert (tmp_path / "two" / "model" / "config.json").is_file()
    with pytest.raises(TrainingError, match="shape"):
        runner.invoke(
            app, [*words, "--out", str(tmp_path / "three"), "--from", "ov-nano"], catch_exceptions=False
        )
