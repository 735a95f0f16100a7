"""Every example runs offline, as a process of its own, and says what its docstring promises."""

from __future__ import annotations

import os
import re
import runpy
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "examples"
QUIET = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error"}


def start(name: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(FOLDER / name), *arguments]
    return subprocess.Popen(
        command, env=QUIET, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=FOLDER.parent
    )


def finish(process: subprocess.Popen[str]) -> str:
    """Waits for the end and returns what was printed; an error or a warning fails the test."""
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, err
    assert not err
    return out


def free_endpoint() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


def test_inspect_file() -> None:
    lines = finish(start("inspect_file.py", "synthetic:?seconds=1&width=320&height=192")).splitlines()
    pictures = [line for line in lines if re.match(r" +\d+  [IPB]", line)]
    assert len(pictures) == 25
    assert pictures[0].split()[1:3] == ["I", "key"]
    drawn = lines[len(pictures) :]
    assert [len(line) for line in drawn] == [2 * 320 // 16] * (192 // 16)
    assert "@" in "".join(drawn), "the place with the most motion is the darkest"


def test_metadata_only(tmp_path: Path) -> None:
    archive = tmp_path / "planes.npz"
    url = "synthetic:?seconds=2&width=320&height=192"
    lines = finish(start("metadata_only.py", url, str(archive))).splitlines()
    read = [line for line in lines if re.match(r" +\d+ P  bits", line)]
    unread = re.fullmatch(r"(\d+) pictures were left unread", lines[-2])
    assert unread is not None
    assert len(read) + int(unread[1]) == 50
    assert len(read) <= 11
    with np.load(archive) as planes:
        assert planes["bit_cost"].shape == (12, 20)
        assert planes["mv"].shape == (2, 48, 80, 2)


def test_iterate() -> None:
    lines = finish(start("iterate.py", "synthetic:?seconds=2&width=320&height=192")).splitlines()
    assert re.search(r"0\.00 s  +(\d+) of \1 patches  \(keyframe\)", "\n".join(lines))
    assert re.fullmatch(r"50 pictures: \d+% decoded, \d+\.\d% of the patches encoded", lines[-1])


def test_publisher_and_subscriber_in_two_processes() -> None:
    endpoint = free_endpoint()
    subscriber = start("subscriber.py", endpoint)
    try:
        assert subscriber.stdout is not None
        assert subscriber.stdout.readline() == f"listening on {endpoint}\n"
        published = finish(start("publisher.py", endpoint, "synthetic:?seconds=4&width=320&height=192"))
    finally:
        heard = finish(subscriber)
    assert "published 100 embeddings" in published
    found = re.search(r"received (\d+), lost (\d+)$", heard.strip())
    assert found, heard
    # The subscriber joins a running stream: what was sent before it came is not lost, only not heard.
    assert 0 < int(found[1]) <= 100
    assert int(found[2]) == 0
    last = [line for line in heard.splitlines() if line.startswith("example #")][-1]
    assert 0 <= float(last.split()[2]) < 1


def test_own_model() -> None:
    pytest.importorskip("torch", reason="the extra 'torch' is not installed")
    printed = finish(start("own_model.py"))
    assert re.search(
        r"mine [0-9a-f]{16}: 128 numbers per embedding, \d+ patches encoded in 25 pictures", printed
    )


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_examples_stay_small_and_are_tested(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 60
    assert f'"{path.name}"' in Path(__file__).read_text()


def test_monitoring_calls_the_webhook() -> None:
    lines = finish(
        start("monitoring.py", "synthetic:?seconds=5&speed=4&width=320&height=192&fps=10")
    ).splitlines()
    told = [line for line in lines if line.startswith("webhook: ")]
    assert told[0].startswith("webhook: someone there: start: motion")
    assert "in 'left half'" in told[0]
    assert lines[-1] == "50 pictures"


def test_the_robot_takes_the_newest_only() -> None:
    lines = finish(start("robot.py", "synthetic:?seconds=2&speed=6&fps=20&width=320&height=192")).splitlines()
    assert re.match(r"turn to 0\.\d\d, 0\.\d\d \(\d+ patches\)", lines[0])
    found = re.fullmatch(r"(\d+) events, acted on (\d+), skipped (\d+), too late (\d+)", lines[-1])
    assert found is not None
    came, acted, skipped, late = map(int, found.groups())
    assert came == acted + skipped + late
    assert acted == len(lines) - 1 > 0


def test_the_robot_says_why_its_camera_failed() -> None:
    process = start("robot.py", "no-such-file.mp4")
    try:
        _, told = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 1
    assert "SourceNotFound" in told
    assert "never retrieved" not in told


def test_monitoring_goes_on_while_the_webhook_is_away() -> None:
    nobody = free_endpoint().replace("tcp", "http")
    process = start("monitoring.py", "synthetic:?seconds=2&speed=4&width=320&height=192&fps=10", nobody)
    try:
        told, complaint = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, complaint
    assert told.splitlines()[-1] == "20 pictures"
    assert "not told: someone there: start" in complaint


def test_the_service_in_somebody_elses_app() -> None:
    from starlette.testclient import TestClient

    module = runpy.run_path(str(FOLDER / "embed_service.py"))
    with TestClient(module["make_app"](), base_url="http://127.0.0.1:8000") as client:
        assert [one["id"] for one in client.get("/cameras/api/streams").json()] == ["door"]
        assert client.get("/door").json()["state"] in ("starting", "live", "waiting")
        assert "ovstream" in client.get("/cameras/").text
        foreign = {"origin": "https://elsewhere.example"}
        assert client.post("/cameras/api/streams/door/pause", headers=foreign).status_code == 403
        assert client.get("/cameras/api/streams", headers={"host": "rebound.example"}).status_code == 421


def test_similar_finds_the_moment_itself_first() -> None:
    lines = finish(
        start("similar.py", "synthetic:?seconds=3&objects=5&speed=5&noise=1&width=320&height=192", "1.0")
    )
    found = [(float(when), float(like)) for when, like in re.findall(r"(\d+\.\d+) s +(-?\d\.\d{3})", lines)]
    assert found[0] == (1.0, 1.0)
    assert [like for _, like in found] == sorted((like for _, like in found), reverse=True)
    assert len(found) >= 3


def test_a_sink_of_ones_own() -> None:
    lines = finish(
        start("custom_sink.py", "synthetic:?seconds=2&speed=5&width=320&height=192&fps=10")
    ).splitlines()
    moved = [line.split(",") for line in lines if ",moved," in line]
    assert moved[0][:2] == ["door", "0"], "the first picture is new everywhere"
    assert all(float(line[3]) >= 0.02 for line in moved)
    assert any(line.startswith("door,,ended") or line.startswith("door,,connected") for line in lines)
    assert lines[-1] == "20 pictures"


def test_the_flight_recorder_of_a_robot(tmp_path: Path) -> None:
    pytest.importorskip("rerun", reason="the extra 'rerun' is not installed")
    url = "synthetic:?seconds=1&width=320&height=192"
    lines = finish(start("rerun_log.py", url, str(tmp_path))).splitlines()
    assert lines[-1] == "25 embeddings, 25 packets"
    (path,) = tmp_path.glob("arm-*.rrd")
    assert path.stat().st_size > 10_000
    assert lines[0].startswith(str(path))
