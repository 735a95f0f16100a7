"""`ovstream serve` from outside: streams come, go and change without disturbing the others."""

from __future__ import annotations

import asyncio
import io
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import ovstream
from ovstream.cli.app import app
from ovstream.errors import InsecureBindError
from ovstream.service.server import serve
from tests.service.running import TOKEN, Running, camera_clip, service, stream, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("service")


@pytest.fixture(scope="module")
def clip(folder: Path) -> Path:
    return camera_clip(folder)


@pytest.fixture(scope="module")
def running(folder: Path, clip: Path) -> Iterator[Running]:
    streams = [stream("steady", clip), stream("other", clip)]
    (folder / "state").mkdir()
    with service(folder, streams, state_folder=str(folder / "state")) as found:
        found.until_live("steady", "other")
        yield found


def test_a_stream_is_added_changed_paused_and_removed_and_the_others_do_not_notice(
    running: Running, clip: Path
) -> None:
    before = running.stream("steady")
    added = running.http.post("/api/streams", json=stream("third", clip))
    assert added.status_code == 201, added.text
    running.until_live("third")
    assert running.get("/api/service")["models_loaded"] == 1, "three streams share one model"
    assert running.http.post("/api/streams", json=stream("third", clip)).status_code == 409

    changed = running.http.patch("/api/streams/third", json={"plan": {"keep_ratio": 0.5}})
    assert changed.status_code == 200
    number = changed.json()["next_seq"]
    running.wait(lambda: running.stream("third")["next_seq"] > number)
    assert running.stream("third")["config"]["plan"]["keep_ratio"] == 0.5
    assert running.stream("third")["config"]["source"]["loop"] is True

    running.http.post("/api/streams/third/pause")
    paused = running.stream("third")
    assert paused["state"] == "paused"
    running.http.post("/api/streams/third/resume")
    running.until_live("third")
    resumed = running.stream("third")
    assert resumed["epoch"] == paused["epoch"] + 1
    assert resumed["next_seq"] >= paused["next_seq"]

    assert running.http.delete("/api/streams/third").status_code == 204
    assert running.http.get("/api/streams/third").status_code == 404
    after = running.stream("steady")
    assert (after["epoch"], after["restarts"]) == (before["epoch"], 0)
    assert after["next_seq"] > before["next_seq"]


def test_the_file_is_read_again_and_only_what_changed_is_touched(running: Running, clip: Path) -> None:
    before = {name: running.stream(name) for name in ("steady", "other")}
    options = {"http": {"port": 0}, "state_folder": str(running.config.parent / "state")}
    other = stream("other", clip, plan={"keep_ratio": 0.25})
    write(running.config, [stream("steady", clip), other, stream("new", clip)], **options)
    running.until_live("new")
    running.wait(lambda: running.stream("other")["epoch"] > before["other"]["epoch"])
    assert running.stream("steady")["epoch"] == before["steady"]["epoch"]

    running.config.write_text("streams: [{url: x, stream_id: a b}]\n")
    wrong = running.wait(
        lambda: [one for one in running.get("/api/events") if "nothing was changed" in one["detail"]]
    )
    assert "ovstream.yaml:1" in wrong[0]["detail"]
    assert running.stream("steady")["state"] == "live"

    write(running.config, [stream("steady", clip), stream("other", clip)], **options)
    running.wait(lambda: "new" not in [one["id"] for one in running.get("/api/streams")])


def test_a_camera_that_cannot_be_read_is_told_about_and_alone(running: Running) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there
        url = f"rtsp://viewer:hush-hush@127.0.0.1:{taken.getsockname()[1]}/x"
        running.http.post("/api/streams", json={"url": url, "stream_id": "gone"})
        seen = running.wait(lambda: (one := running.stream("gone"))["detail"] and one)
    assert seen["state"] == "waiting"
    assert (
        "hush-hush" not in running.http.get("/api/streams/gone").text + running.http.get("/api/events").text
    )
    assert running.get("/ready") == {"ready": True}
    running.http.delete("/api/streams/gone")


def test_wrong_options_are_answered_with_their_place(running: Running, clip: Path) -> None:
    answer = running.http.post("/api/streams", json=stream("x", clip, plan={"keep_ration": 1}))
    assert answer.status_code == 422
    assert "plan.keep_ration" in answer.json()["detail"]
    assert "keep_ratio" in answer.json()["detail"]
    answer = running.http.patch("/api/streams/steady", json={"stream_id": "renamed"})
    assert answer.status_code == 422
    assert running.http.post("/api/streams", json={"url": "x"}).status_code == 422


def test_files_elsewhere_cannot_be_named_through_the_api(
    running: Running, clip: Path, tmp_path: Path
) -> None:
    sink = {"type": "jsonl", "path": str(tmp_path / "x.jsonl")}
    for method, path, body in (
        ("POST", "/api/streams", stream("x", clip, sinks=[sink])),
        ("POST", "/api/streams", {"url": "/etc/hostname", "stream_id": "x"}),
        ("PATCH", "/api/streams/steady", {"record": {"path": str(tmp_path)}}),
        ("POST", "/api/probe", {"url": "rtsp://127.0.0.1:9/", "password_file": "/etc/hostname"}),
    ):
        answer = running.http.request(method, path, json=body)
        assert answer.status_code == 422, path
        assert "service.http.allowed_paths" in answer.json()["detail"]
    assert list(tmp_path.iterdir()) == []


def test_pictures_overlay_and_timeline(running: Running) -> None:
    overlay = running.get("/api/streams/steady/overlay")
    rows, cols = overlay["grid"]
    assert len(overlay["ages"]) == rows * cols
    answer = running.http.get("/api/streams/steady/snapshot.jpg?width=160")
    image = np.asarray(Image.open(io.BytesIO(answer.content)))
    assert image.shape == (96, 160, 3)
    assert image.std() > 5
    points = running.wait(lambda: len(found := running.get("/api/streams/steady/timeline")) > 3 and found)
    assert sum(point["skip"] + point["sparse"] + point["dense"] for point in points) > 10
    running.wait(lambda: any(running.get("/api/streams/steady/overlay")["vectors"] for _ in range(5)))


def test_a_mask_hides_the_picture_too(running: Running, clip: Path) -> None:
    mask = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]
    running.http.post("/api/streams", json=stream("masked", clip, plan={"masks": [mask]}))
    running.until_live("masked")
    image = np.asarray(Image.open(io.BytesIO(running.http.get("/api/streams/masked/snapshot.jpg").content)))
    left = image[:, : image.shape[1] // 2 - 8].astype(float)
    assert left.std() < 4
    assert image[:, image.shape[1] // 2 + 20 :].std() > 5
    running.http.delete("/api/streams/masked")


def test_metrics_are_what_prometheus_reads(running: Running) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    running.wait(lambda: running.stream("steady")["next_seq"] > 10)
    families = {one.name: one for one in text_string_to_metric_families(running.http.get("/metrics").text)}
    parsed = {one.labels["stream"]: one.value for one in families["ovstream_frames_parsed"].samples}
    assert parsed["steady"] > 10
    live = [
        one.labels["stream"]
        for one in families["ovstream_state"].samples
        if one.labels["state"] == "live" and one.value
    ]
    assert {"steady", "other"} <= set(live)
    buckets = [
        one.value
        for one in families["ovstream_latency_seconds"].samples
        if one.name.endswith("_bucket") and one.labels["stream"] == "steady"
    ]
    assert buckets == sorted(buckets)
    assert buckets[-1] > 10
    documented = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    missing = [name for name in families if f"`{name}" not in documented]
    assert not missing, f"docs/operations.md does not tell of {missing}"


def test_rules_become_events_of_the_service(running: Running, clip: Path) -> None:
    rules = [{"name": "busy", "when": "motion", "above": 0.01}]
    running.http.post("/api/streams", json=stream("ruled", clip, watch={"rules": rules}))
    event = running.wait(
        lambda: [one for one in running.get("/api/events?stream_id=ruled") if one["kind"] == "rule"]
    )[0]
    assert event["detail"].startswith("busy: start: motion")
    running.http.delete("/api/streams/ruled")


def test_updates_come_as_server_sent_events(running: Running) -> None:
    kinds = set()
    with running.http.stream("GET", "/api/live?focus=steady") as answer:
        for line in answer.iter_lines():
            if line.startswith("event: "):
                kinds.add(line.removeprefix("event: "))
            if kinds >= {"state", "overlay"}:
                break


def test_the_api_describes_itself(running: Running) -> None:
    paths = running.get("/api/openapi.json")["paths"]
    assert {"/api/streams", "/api/streams/{stream_id}", "/api/live", "/metrics", "/ready"} <= paths.keys()
    assert running.get("/api/config/schema")["title"] == "ovstream"


def test_a_camera_can_be_probed_before_it_is_added(running: Running, clip: Path) -> None:
    found = running.http.post("/api/probe", json={"url": str(clip)}).json()
    assert (found["codec"], found["width"], found["height"]) == ("h264", 320, 192)
    assert found["findings"]
    assert running.http.post("/api/probe", json={"url": "/no/such/file.mp4"}).status_code == 422


def test_wrong_options_of_a_probe_are_answered(running: Running, clip: Path) -> None:
    for body in ({"seconds": "x"}, {"seconds": 1e9}, {"on_progress": 1}, {"source": "x", "pace": "fast"}):
        assert running.http.post("/api/probe", json={"url": str(clip), **body}).status_code == 422, body
    assert running.http.post("/api/probe", json={"url": str(clip), "seconds": 1}).json()["pictures"] < 20


def test_top_shows_the_streams(running: Running) -> None:
    result = CliRunner().invoke(app, ["top", running.address, "--once"], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert "CPU" in result.output
    assert re.search(r"^ *steady +live +\d", result.output, re.M)


def test_browsers_of_other_sites_get_nothing(running: Running) -> None:
    assert running.http.get("/api/streams", headers={"host": "evil.example"}).status_code == 421
    evil = {"origin": "http://evil.example"}
    assert running.http.post("/api/streams", json={}, headers=evil).status_code == 403
    page = running.http.get("/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
    assert running.http.post("/api/streams", content=b"x" * 300_000).status_code == 413


def test_tokens(folder: Path, clip: Path) -> None:
    reader = "fedcba9876543210-read"
    http = {"host": "0.0.0.0", "token": TOKEN, "read_token": reader}
    (folder / "tokens").mkdir()
    with service(folder / "tokens", [stream("one", clip)], http=http) as found:
        address = found.address.replace("0.0.0.0", "127.0.0.1")
        found.http.base_url = address
        found.until_live("one")

        def ask(token: str | None, method: str = "GET", path: str = "/api/streams") -> int:
            headers = {"authorization": f"Bearer {token}" if token else ""}
            return found.http.request(method, path, headers=headers).status_code

        assert [ask(None), ask("wrong"), ask(reader), ask(TOKEN)] == [401, 401, 200, 200]
        assert ask(reader, "DELETE", "/api/streams/one") == 403
        assert ask(None, path="/metrics") == 401
        assert [ask(None, path=path) for path in ("/", "/live", "/startup", "/page/app.js")] == [200] * 4
        assert TOKEN not in found.http.get("/api/openapi.json").text
        printed = found.stop()
        assert TOKEN not in printed


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7"])
def test_without_a_token_the_door_stays_on_this_machine(host: str, tmp_path: Path) -> None:
    config = tmp_path / "o.yaml"
    config.write_text(f"streams: []\nservice: {{http: {{host: '{host}', port: 0}}}}\n")
    with pytest.raises(InsecureBindError, match=r"service\.http\.token"):
        asyncio.run(serve(config))


@pytest.mark.timeout(300)
def test_numbers_go_on_after_a_restart_and_no_epoch_is_used_twice(folder: Path, clip: Path) -> None:
    """A subscriber sees every number once, over a clean stop and over a kill."""
    home = folder / "restart"
    home.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    heard: list[tuple[int, int]] = []
    enough = threading.Event()

    async def listen() -> None:
        async with ovstream.subscribe(endpoint, policy="lossless") as events:
            async for event in events:
                if isinstance(event, ovstream.Embedding):
                    heard.append((event.epoch, event.seq))
                if enough.is_set():
                    return

    listener = threading.Thread(target=lambda: asyncio.run(listen()), daemon=True)
    listener.start()
    streams = [stream("one", clip, publish={"endpoint": endpoint})]
    options = {"state_folder": str(home / "state")}
    stops = []
    for number, end in enumerate(("stop", "kill")):
        with service(home, streams, **options) as found:
            found.until_live("one")
            if number == 0:
                added = found.http.post("/api/streams", json=stream("kept", camera_clip(home)))
                assert added.status_code == 201, added.text
            have = len(heard)
            found.wait(lambda have=have: len(heard) > have + 10)
            assert {one["id"] for one in found.get("/api/streams")} == {"one", "kept"}, (
                "what the API added stays"
            )
            if end == "stop":
                found.stop()
            else:
                found.process.kill()
                found.process.wait()
        stops.append(heard[-1])
    with service(home, streams, **options) as found:
        have = len(heard)
        found.wait(lambda: len(heard) > have + 3)
        enough.set()
        found.stop()
    listener.join(20)
    assert len(set(heard)) == len(heard), "a number was used twice"
    epochs = sorted({epoch for epoch, _ in heard})
    first = {epoch: min(seq for one, seq in heard if one == epoch) for epoch in epochs}
    last = {epoch: max(seq for one, seq in heard if one == epoch) for epoch in epochs}
    for epoch in epochs:
        numbers = [seq for one, seq in heard if one == epoch]
        assert numbers == list(range(first[epoch], last[epoch] + 1))
    clean = stops[0][0]
    after = next(epoch for epoch in epochs if epoch > clean)
    assert first[after] - last[clean] <= 8, (
        "clean stop: goes on where it stood, less what the late joiner missed"
    )
