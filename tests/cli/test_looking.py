"""Verbs that people look at: demo, inspect, doctor."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ovstream as ovstream_package
from ovstream.cli.doctor import _pipeline
from ovstream.cli.drawing import Tile, contact_sheet, heat, heat_maps, highlight
from ovstream.publish import Publisher
from ovstream.sources.scene import Scene
from tests.cli.programs import ovstream, running
from tests.clips import make_clip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("looking") / "clip.mp4", frames=30)


def test_the_demo_shows_the_whole_way(tmp_path: Path) -> None:
    told = ovstream("demo", "--seconds", "3", "--out", str(tmp_path))
    assert "75 of 75 embeddings came back over ZeroMQ, 0 lost" in told
    assert "untrained" not in told
    assert "less CPU" in told
    with Image.open(tmp_path / "contact-sheet.png") as sheet:
        pixels = np.asarray(sheet.convert("L"))
    assert pixels.shape[1] > 1000
    assert pixels.std() > 10


def test_inspect_tells_and_exports(clip: Path, tmp_path: Path) -> None:
    jsonl, npz, png = tmp_path / "frames.jsonl", tmp_path / "planes.npz", tmp_path / "maps"
    told = ovstream(
        "inspect", str(clip), "--jsonl", str(jsonl), "--npz", str(npz), "--png", str(png), "--every", "10"
    )
    assert "30 pictures, h264 320x240" in told
    assert "read without decoding: 100%" in told
    lines = [json.loads(line) for line in jsonl.read_text().splitlines()]
    assert [line["number"] for line in lines] == list(range(30))
    assert lines[0]["keyframe"]
    assert lines[0]["intra_share"] == 1.0
    assert all(not isinstance(value, (list, dict)) for line in lines for value in line.values())
    with np.load(npz) as planes:
        assert planes["bit_cost"].shape == (30, 15, 20)
        assert planes["bit_cost"].sum() > 0
    assert len(list(png.glob("*.png"))) == 3


@pytest.mark.parametrize("codec", ["h264", "h265", "vp8"])
def test_heat_maps_show_every_codec(codec: str) -> None:
    options = "width=160&height=96&noise=1&speed=6&seconds=0.2"
    frames = list(ovstream_package.inspect(f"synthetic:?codec={codec}&{options}"))
    assert [frame.slice_type for frame in frames] == ["I", "P", "P", "P", "P"]
    first, later = (np.asarray(heat_maps(frame)) for frame in (frames[0], frames[4]))
    assert first.shape == later.shape
    # Class, motion, residual, bits, intra modes: none of them is the same in both; only the quantiser may be.
    for top, left in ((66, 14), (66, 428), (360, 14), (360, 428), (360, 842)):
        before, after = (sheet[top : top + 240, left : left + 400] for sheet in (first, later))
        assert (before != after).any(axis=2).mean() > 0.02


def test_inspect_stops_where_it_is_told(clip: Path) -> None:
    assert "7 pictures" in ovstream("inspect", str(clip), "--frames", "7")


def test_the_doctor_finds_this_installation_well() -> None:
    told = ovstream("doctor")
    assert "broken" not in told
    assert "whole pipeline" in told
    assert ovstream("doctor", "--quick") == ""


def test_the_doctor_leaves_the_endpoint_of_the_environment_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container it stands beside the service, with the same environment."""
    taken = f"ipc://{tmp_path}/e.ipc"
    monkeypatch.setenv("OVSTREAM_PUBLISH__ENDPOINT", taken)
    monkeypatch.setenv("OVSTREAM_SINKS", json.dumps([{"type": "jsonl", "path": f"{tmp_path}/e.jsonl"}]))
    monkeypatch.setenv("OVSTREAM_RECORD__PATH", f"{tmp_path}/e.ovr")
    with Publisher(taken):
        before = (tmp_path / "e.ipc").stat().st_ino
        assert _pipeline().endswith("from the embedded camera")
        assert (tmp_path / "e.ipc").stat().st_ino == before
    assert {path.name for path in tmp_path.iterdir()} <= {"e.ipc", "e.ipc.replay"}


def test_highlight_keeps_encoded_patches_bright() -> None:
    rgb = np.full((40, 80, 3), 200, np.uint8)
    encoded = np.zeros((2, 4), np.bool_)
    encoded[1, 2] = True
    drawn = highlight(rgb, encoded)
    assert (drawn[25:35, 45:55] == 200).all()
    assert drawn[5, 5].max() < 100


def test_heat_is_dark_to_bright() -> None:
    colours = heat(np.array([[0.0, 1.0]]), top=1.0)
    assert colours[0, 0].sum() < colours[0, 1].sum()


def test_sheets_hold_every_tile() -> None:
    tile = Tile(np.full((10, 20, 3), 255, np.uint8), "title", "detail")
    sheet = np.asarray(contact_sheet([tile] * 5, title="t", subtitle="s", columns=2).convert("L"))
    bright = (sheet == 255).sum()
    assert bright >= 5 * 200


def test_export_writes_a_folder_that_runs(tmp_path: Path) -> None:
    source = Path(ovstream_package.__file__).parent / "models" / "ov-nano"
    told = ovstream("export", str(source), str(tmp_path / "mine"), "--model-id", "mine", "--weights", "int8")
    assert "mine" in told
    assert "exact" in told
    ran = ovstream("run", "synthetic:?seconds=0.4&width=320&height=192", "--model", str(tmp_path / "mine"))
    assert "10 embeddings" in ran


def test_inspect_counts_sizes_and_refuses_planes_that_do_not_stack(tmp_path: Path) -> None:
    one = make_clip(tmp_path / "one.264", frames=4)
    two = make_clip(tmp_path / "two.264", frames=4, scene=Scene(160, 96))
    both = tmp_path / "both.264"
    both.write_bytes(one.read_bytes() + two.read_bytes())
    assert "h264 320x240, then h264 160x96" in ovstream("inspect", str(both))
    assert "another size" in ovstream("inspect", str(both), "--npz", str(tmp_path / "x.npz"), status=1)
    assert "cannot write" in ovstream("inspect", str(one), "--jsonl", str(tmp_path / "no" / "x"), status=1)


def test_the_demo_of_an_endless_camera_ends_and_hides_its_password(tmp_path: Path) -> None:
    told = ovstream(
        "demo", "--seconds", "2", "--url", "synthetic:?width=320&height=192", "--out", str(tmp_path)
    )
    assert "less CPU" in told
    refused = ovstream("demo", "--url", "rtsp://admin:s3cret@127.0.0.1:9/x", "--out", str(tmp_path), status=1)
    assert "s3cret" not in refused


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_an_endless_inspection_with_totals(signum: signal.Signals, tmp_path: Path) -> None:
    lines = tmp_path / "pictures.jsonl"
    with running("inspect", "synthetic:?width=320&height=192", "--jsonl", str(lines)) as process:
        assert process.stdout is not None
        for _ in range(5):
            process.stdout.readline()
        process.send_signal(signum)
        told, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    # Four are shown; the last of them may not have been written when the signal came.
    assert len([json.loads(line) for line in lines.read_text().splitlines()]) >= 3
    assert "stopped" in told
    assert "read without decoding: 100%" in told
    assert "Traceback" not in told


def test_a_full_disk_is_one_clear_sentence() -> None:
    told = ovstream("inspect", "synthetic:?seconds=1&width=320&height=192", "--jsonl", "/dev/full", status=1)
    assert "error  cannot write: No space left on device" in told
    assert "Traceback" not in told
