"""Adapting to streams: what is seen stays in memory, and the model gets nearer to whole passes or is not written."""

from __future__ import annotations

import asyncio
import dataclasses
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

import ovstream
from ovstream.cli.app import app
from ovstream.config import load_config
from ovstream.encode.backend import Job
from ovstream.errors import ConfigError, SourceError, TrainingError
from ovstream.model.encoder import OneVisionEncoder
from ovstream.model.export import export_model, random_model
from ovstream.model.folder import ModelFolder
from ovstream.sources.scene import Scene
from ovstream.training.adapt import STATE_NAME, Adapter, AdaptOptions
from ovstream.training.gain import Fidelity, Gain, judge
from ovstream.training.stretches import Reservoir, Stretch, Tap
from ovstream.training.watch import watch

from ..clips import make_clip
from ..net.fault_server import load_units
from ..net.rtsp_server import rtsp_server
from ..net.whip_publisher import Publisher, until
from .tiny import MODEL

opened_for_writing: list[str] | None = None


def _listen(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and opened_for_writing is not None and isinstance(arguments[0], (str, bytes)):
        mode, flags = arguments[1] or "", arguments[2] or 0
        if set(mode) & set("wax+") or flags & 0b11:
            opened_for_writing.append(str(arguments[0]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of a tiny model."""
    path = tmp_path_factory.mktemp("model")
    export_model(random_model(MODEL, seed=3), path, model_id="tiny", trained=True, max_tokens=64)
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip") / "camera.mp4", frames=200)


@pytest.fixture(scope="module")
def drawn() -> list[Stretch]:
    """Stretches of four still cameras, drawn: the same ones every time, which those of an encoded clip are not."""
    return [stretch(camera, start) for camera in range(4) for start in range(0, 300, 25)]


def stretch(camera: int, start: int) -> Stretch:
    """A picture, and four updates of what changed most."""
    scene = Scene(84, 70, seed=camera, speed_px=4)
    canvas = patches_of(scene, start)
    pixels, slots, born = [canvas.copy()], [np.arange(30)], [np.zeros(30, np.int64)]
    for step in range(1, 5):
        now = patches_of(scene, start + 5 * step)
        changed = np.argsort(-np.abs(now.astype(np.int16) - canvas).mean((1, 2, 3)), kind="stable")[:4]
        canvas[changed] = now[changed]
        pixels.append(now[changed])
        slots.append(changed)
        born.append(np.full(4, step))
    return Stretch((5, 6), np.concatenate(pixels), np.concatenate(slots), np.concatenate(born))


def patches_of(scene: Scene, index: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(30, 3, 14, 14)."""
    cells = scene.render(index).reshape(5, 14, 6, 14, 3)
    return np.ascontiguousarray(cells.transpose(0, 2, 4, 1, 3)).reshape(30, 3, 14, 14)


def adapter(stretches: Sequence[Stretch], folder: Path, out: Path, **options: Any) -> Adapter:
    model = OneVisionEncoder.from_pretrained(folder, offline=True)
    return Adapter(model, ModelFolder.read(folder), stretches, AdaptOptions(**options), out)


class Sink:
    """A backend that computes nothing."""

    lanes = 1

    def bind(self, state: Any) -> Any:
        return state

    def run(self, jobs: Sequence[Job]) -> None:
        """Nothing."""


def test_a_stretch_holds_what_an_encoder_would_hold(folder: Path) -> None:
    info = ovstream.encode.load_encoder(folder).info
    reservoir = Reservoir(most=100)
    tap = Tap(Sink(), info, reservoir, updates=0.5)
    tap.listening = True
    rng = np.random.default_rng(0)
    mean, std = (np.array(values, np.float32).reshape(1, 3, 1, 1) for values in (info.mean, info.std))

    def show(slots: list[int], pixels: np.ndarray[Any, Any]) -> None:
        patches = ((pixels / np.float32(255) - mean) / std).astype(np.float32).reshape(len(slots), -1)
        tap.run([Job((None, (4, 4)), patches, np.zeros((len(slots), 3), np.int64), np.array(slots))])

    def drawn(count: int) -> np.ndarray[Any, Any]:
        return rng.integers(0, 256, (count, 3, 14, 14)).astype(np.uint8)

    canvas = drawn(16)
    show(list(range(16)), canvas)
    show([3, 5], new := drawn(2))
    canvas[[3, 5]] = new
    whole = canvas.copy()
    whole[[7, 9, 11]] = drawn(3)
    show(list(range(16)), whole)  # two of its three changes are an update
    assert reservoir.offered == 0
    show([1, 2, 4, 6], last := drawn(4))
    (stretch,) = reservoir.training
    assert stretch.born.tolist() == [0] * 16 + [1] * 2 + [2] * 2 + [3] * 4
    changed = stretch.slots[18:20]
    assert set(changed) < {7, 9, 11}
    canvas[changed] = whole[changed]
    canvas[[1, 2, 4, 6]] = last
    assert (stretch.last() == canvas).all()
    whole[[1, 2, 4, 6]] = last
    show([0, 8], new := drawn(2))
    show(list(range(16)), drawn(16))  # another scene: what was begun is let go
    show([0], drawn(1))
    assert reservoir.offered == 1


def test_the_reservoir_is_bounded_fair_and_forgets() -> None:
    reservoir = Reservoir(most=40)
    made = [
        Stretch((2, 2), np.full((6, 3, 2, 2), 7, np.uint8), np.arange(6), np.full(6, number))
        for number in range(1000)
    ]
    for number, stretch in enumerate(made):
        reservoir.offer(stretch, held_out=number % 5 == 2)
    assert (len(reservoir.training), len(reservoir.held_out)) == (40, 10)
    numbers = [int(one.born[0]) for one in reservoir.training]
    assert 300 < np.mean(numbers) < 700
    assert not {int(one.born[0]) for one in reservoir.held_out} & set(numbers)
    kept = {id(one) for one in (*reservoir.training, *reservoir.held_out)}
    assert all((id(one) in kept) == bool(one.pixels.any()) for one in made)
    reservoir.forget()
    assert not any(one.pixels.any() for one in made)
    assert not reservoir.training


def test_adapting_brings_incremental_passes_nearer(
    drawn: list[Stretch], folder: Path, tmp_path: Path
) -> None:
    held_out = drawn[2::5]
    training = [one for number, one in enumerate(drawn) if number % 5 != 2]
    run = adapter(training, folder, tmp_path, steps=30, learning_rate=3e-4)
    logs = list(run.run())
    assert logs[-1]["done"] == 1.0
    original = OneVisionEncoder.from_pretrained(folder, offline=True)
    gain = judge(original, run.average.model, ModelFolder.read(folder), held_out)
    assert gain.stretches == 10
    assert gain.trouble == ""
    assert gain.after.unexplained < 0.85 * gain.before.unexplained
    assert gain.share == pytest.approx(4 / 30)
    same = judge(original, original, ModelFolder.read(folder), held_out)
    assert "did not come nearer" in same.trouble
    with torch.no_grad():
        run.average.model.layernorm_post.weight.zero_()
    assert judge(original, run.average.model, ModelFolder.read(folder), held_out).trouble


def test_what_is_no_better_is_told() -> None:
    good = Gain(Fidelity(0.2, 0.9), Fidelity(0.1, 0.95), 10, 9, 0.1, 0.99, 1.0)
    assert good.trouble == ""
    assert "6 of 20" in dataclasses.replace(good, stretches=20, better=6).trouble
    assert "moved together" in dataclasses.replace(good, spread=0.1).trouble
    assert "forgot" in dataclasses.replace(good, agreement=0.5).trouble


def test_few_stretches_or_a_foreign_state_are_refused(
    drawn: list[Stretch], folder: Path, tmp_path: Path
) -> None:
    model, manifest = OneVisionEncoder.from_pretrained(folder, offline=True), ModelFolder.read(folder)
    with pytest.raises(TrainingError, match="watch longer"):
        Adapter(model, manifest, drawn[:3], AdaptOptions(), tmp_path)
    adapter(drawn, folder, tmp_path).save()
    other = dataclasses.replace(manifest, digest="0" * 16)
    with pytest.raises(TrainingError, match="another model"):
        Adapter(model, other, drawn, AdaptOptions(), tmp_path)


def test_the_saved_state_holds_weights_and_no_pixels(
    drawn: list[Stretch], folder: Path, tmp_path: Path
) -> None:
    run = adapter(drawn, folder, tmp_path, steps=2)
    list(run.run())
    run.save()
    state = torch.load(tmp_path / STATE_NAME, weights_only=True)
    assert sorted(state) == ["average", "digest", "model", "step"]
    shapes = {key: value.shape for key, value in run.model.state_dict().items()}
    for part in ("model", "average"):
        assert {key: value.shape for key, value in state[part].items()} == shapes
    assert_no_pixels([tmp_path / STATE_NAME], drawn)


def assert_no_pixels(files: Sequence[Path], stretches: Sequence[Stretch]) -> None:
    """No file holds a row of a patch, neither as bytes nor as the numbers that the model was given."""
    assert files
    rows = np.concatenate([one.pixels.reshape(-1, 14) for one in stretches[:8]])
    rows = rows[[len(set(row.tolist())) > 6 for row in rows]][::7]
    assert len(rows) > 20
    for path in files:
        content = path.read_bytes()
        for row in rows:
            assert row.tobytes() not in content
            assert (row.astype(np.float32) / np.float32(255)).tobytes() not in content


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Paths opened for writing by Python code; temporary files and the working folder lie in `tmp_path`."""
    global opened_for_writing
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.chdir(tmp_path / "tmp")
    sys.addaudithook(_listen)
    opened_for_writing = []
    yield opened_for_writing
    opened_for_writing = None


def test_two_cameras_adapt_a_model_and_leave_no_picture(
    clip: Path, folder: Path, tmp_path: Path, written: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Stretch] = []
    forget = Reservoir.forget

    def spy(self: Reservoir) -> None:
        kept.extend(dataclasses.replace(one, pixels=one.pixels.copy()) for one in self.training)
        forget(self)

    monkeypatch.setattr(Reservoir, "forget", spy)
    out = tmp_path / "mine"
    with rtsp_server() as server:
        done = call(
            folder, out, server.url("/live"), str(clip), "--hours", "0.002", "--steps", "5", "--force"
        )
    assert done.exit_code == 0, done.output
    assert "kept from the training" in done.output
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.parent for path in files} == {out / "model"}
    assert len(kept) >= 4
    assert_no_pixels(files, kept)
    strangers = [path for path in written if not path.startswith((str(out), "/dev/")) and ".pyc" not in path]
    assert strangers == []
    found = list(ovstream.iterate(clip, model=str(out / "model")))
    assert np.isfinite(found[-1].vector).all()
    manifest = ModelFolder.read(out / "model")
    assert manifest.digest != ModelFolder.read(folder).digest
    assert "tiny" in manifest.licence


def call(folder: Path, out: Path, *words: str) -> Result:
    sources = [word for url in words if "/" in url for word in ("--source", url)]
    others = [word for word in words if "/" not in word]
    command = ["adapt", *sources, "--out", str(out), "--model", str(folder), *others]
    return CliRunner().invoke(app, command)


def test_a_model_that_is_no_better_is_not_written(clip: Path, folder: Path, tmp_path: Path) -> None:
    def useless(self: Adapter) -> Iterator[dict[str, float]]:
        yield from ()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Adapter, "run", useless)
        done = call(folder, tmp_path / "mine", str(clip))
    assert done.exit_code == 1
    assert "not written" in done.output
    assert not any((tmp_path / "mine").iterdir())


def test_ctrl_c_while_learning_saves_and_resume_goes_on(
    clip: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, step = tmp_path / "mine", Adapter._one_step

    def interrupted(self: Adapter) -> dict[str, float]:
        if self.step == 2:
            signal.raise_signal(signal.SIGINT)
        return step(self)

    monkeypatch.setattr(Adapter, "_one_step", interrupted)
    done = call(folder, out, str(clip), "--steps", "4")
    assert (done.exit_code, "--resume" in done.output) == (130, True), done.output
    assert [path.name for path in out.iterdir()] == [STATE_NAME]
    assert isinstance(call(folder, out, str(clip)).exception, ConfigError)
    monkeypatch.setattr(Adapter, "_one_step", step)
    done = call(folder, out, str(clip), "--steps", "4", "--resume", "--force")
    assert done.exit_code == 0, done.output
    assert [path.name for path in out.iterdir()] == ["model"]
    assert isinstance(call(folder, out, str(clip), "--resume").exception, ConfigError)


@pytest.mark.parametrize("on_stop", ["adapt", "discard"])
def test_ctrl_c_while_watching(
    folder: Path, tmp_path: Path, on_stop: str, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer = Reservoir.offer

    def enough(self: Reservoir, stretch: Stretch, *, held_out: bool) -> None:
        offer(self, stretch, held_out=held_out)
        if self.offered == 8:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Reservoir, "offer", enough)
    out = tmp_path / "mine"
    words = ("--steps", "2", "--force", "--on-stop", on_stop)
    done = call(folder, out, str(clip), "synthetic:/", *words)  # the clip gives enough, the camera never ends
    assert done.exit_code == (0 if on_stop == "adapt" else 130), done.output
    assert out.exists() is (on_stop == "adapt")


def test_what_lies_under_a_mask_is_never_kept(clip: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "cameras.yaml").write_text(
        f"streams:\n- {{stream_id: door, url: '{clip}', plan: {{masks: [[[0, 0], [0.5, 0], [0.5, 1], [0, 1]]]}}}}\n"
    )
    (camera,) = load_config(tmp_path / "cameras.yaml").streams
    reservoir = Reservoir(most=24)
    assert asyncio.run(watch([camera], reservoir, model=folder, seconds=60)) == {}
    assert len(reservoir.training) > 4
    grey = np.rint(np.array(ModelFolder.read(folder).mean) * 255).astype(np.uint8).reshape(3, 1, 1)
    for stretch in reservoir.training:
        columns = stretch.slots % stretch.grid[1]
        assert (stretch.pixels[columns < stretch.grid[1] // 2] == grey).all()
        assert (stretch.pixels[columns > stretch.grid[1] // 2] != grey).any(axis=(1, 2, 3)).all()


def test_cameras_of_a_file_are_watched_with_their_masks(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cameras.yaml").write_text(
        "streams:\n- {stream_id: door, url: a.mp4, plan: {masks: [[[0, 0], [1, 0], [1, 1]]]}}\n"
    )
    seen: list[Any] = []

    async def fake(cameras: list[Any], reservoir: Reservoir, **others: Any) -> dict[str, str]:
        seen.extend(cameras)
        return {}

    monkeypatch.setattr("ovstream.training.watch.watch", fake)
    words = ["adapt", "--out", str(tmp_path / "mine"), "--model", str(folder)]
    done = CliRunner().invoke(app, [*words, "--config", str(tmp_path / "cameras.yaml"), "--source", "b.mp4"])
    assert isinstance(done.exception, TrainingError)  # nothing came
    assert seen[0] == "b.mp4"
    assert len(seen[1].plan.masks) == 1
    assert "--config" in str(CliRunner().invoke(app, words).exception)


async def test_the_time_begins_with_the_first_picture_of_a_publisher(folder: Path, tmp_path: Path) -> None:
    options = {"g": "30", "x264-params": "bframes=0:scenecut=0", "tune": "zerolatency"}
    clip = make_clip(tmp_path / "clip.264", width=160, height=128, frames=90, options=options)
    units = await load_units(clip)
    reservoir, times = Reservoir(most=8), list[float]()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"whip://127.0.0.1:{port}/cam1"
    tasks = [asyncio.create_task(watch([url], reservoir, model=folder, seconds=1e9, progress=times.append))]
    try:
        await until(lambda: len(times) >= 3 or tasks[0].done(), seconds=40)
        assert times[:3] == [0.0] * 3  # nobody publishes yet
        async with Publisher(f"http://127.0.0.1:{port}/cam1", units) as publisher:
            await publisher.connect()
            tasks.append(asyncio.create_task(publisher.play()))
            await until(lambda: (reservoir.offered and times[-1]) or tasks[0].done(), seconds=60)
            assert not tasks[0].done()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert reservoir.offered


def test_a_lost_camera_ends_only_itself(clip: Path, folder: Path, tmp_path: Path) -> None:
    reservoir = Reservoir(most=8)
    missing = str(tmp_path / "none.mp4")
    failed = asyncio.run(watch([missing, str(clip)], reservoir, model=folder, seconds=60))
    assert list(failed) == [missing]
    assert reservoir.offered > 4
    with pytest.raises(SourceError):
        asyncio.run(watch([missing], reservoir, model=folder, seconds=60))
